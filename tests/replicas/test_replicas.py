"""Several processes of the product on one Postgres, straight and through a pooler, are one product."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import pytest
from sqlmodel import select

from licenzy.api_keys.models import ApiKey
from licenzy.catalog.models import Kind
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.factory import load_models
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_events.models import StripeEvent
from tests.replicas.conftest import pooler, starting
from tests.support.cast import (
    make_connection,
    make_key,
    make_product,
    make_project,
    make_subject,
    make_workspace,
)
from tests.support.databases import PostgresServer
from tests.support.purchases import event, make_attempt, make_entitlement, session_object, signed

pytestmark = pytest.mark.slow

SECRET = "whsec_of_the_replicas_0123456789abcdef"
ENCRYPTION_KEY = "UoAYSIhGbKOEoyuLvo4Ss7Yv2BFQYt3CPqTmmCyCeMM="


@dataclass(frozen=True, slots=True)
class Pair:
    """Two processes that serve one database."""

    database: Database
    addresses: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Shop:
    """A project with a pack of 30 units and an open checkout, and two processes that serve it."""

    database: Database
    replicas: tuple[httpx.Client, httpx.Client]
    key_id: str
    connection_id: str
    paid: dict[str, object]
    """The event that completes the open checkout."""


@pytest.fixture(scope="module", params=["straight", "through a pooler"])
def pair(
    request: pytest.FixtureRequest, postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    load_models()
    folder = tmp_path_factory.mktemp("replicas")
    settings = {"LICENZY_ENCRYPTION_KEYS": ENCRYPTION_KEY}
    with ExitStack() as running:
        served_url = url = running.enter_context(postgres.lent())
        if request.param != "straight":
            served_url = running.enter_context(pooler(url, folder))
            settings["LICENZY_PREPARED_STATEMENTS"] = "off"
        start = running.enter_context(starting(folder))
        addresses = start(served_url, **settings), start(served_url, **settings)
        database = Database(make_engine(url))
        running.callback(database.close)
        yield Pair(database, addresses)


@pytest.fixture
def shop(pair: Pair) -> Iterator[Shop]:
    now = datetime.now(UTC)
    with pair.database.write() as db:
        project_id = make_project(db, workspace_id=make_workspace(db, now=now), now=now)
        key, token = make_key(db, project_id=project_id, now=now)
        connection = make_connection(
            db, project_id=project_id, secret_box=SecretBox((ENCRYPTION_KEY,)), webhook_secret=SECRET, now=now
        )
        product = make_product(db, project_id=project_id, kind=Kind.TIME_PASS, now=now)
        buyer = make_subject(db, project_id=project_id, subject_ref="buyer", now=now)
        attempt = make_attempt(db, connection=connection, subject=buyer, product=product, now=now)
        holder = make_subject(db, project_id=project_id, subject_ref="holder", now=now)
        make_entitlement(
            db, subject=holder, kind=Kind.USAGE_PACK, starts_at=now, ends_at=None, granted_units=30
        )
    paid = event("checkout.session.completed", session_object(attempt), at=now)
    with ExitStack() as clients:
        one, other = (
            clients.enter_context(
                httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30)
            )
            for address in pair.addresses
        )
        yield Shop(pair.database, (one, other), key.id, connection.id, paid)


def effects(shop: Shop) -> tuple[int, int]:
    """How many repeats of the one event were counted, and how many passes it has given."""
    with shop.database.read() as db:
        told = db.exec(select(StripeEvent).where(StripeEvent.connection_id == shop.connection_id)).one()
        passes = select(Entitlement).where(
            Entitlement.project_id == told.project_id, Entitlement.kind == Kind.TIME_PASS
        )
        return told.duplicates, len(db.exec(passes).all())


def allowed(replica: httpx.Client, ref: str) -> bool:
    answer = replica.post("/v1/access/check", json={"subject_ref": ref})
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["allowed"])


def consume(replica: httpx.Client, key: str) -> httpx.Response:
    return replica.post(
        "/v1/usage/consume", json={"subject_ref": "holder", "units": 1}, headers={"Idempotency-Key": key}
    )


def test_what_one_is_told_the_other_knows(shop: Shop) -> None:
    one, other = shop.replicas
    assert [allowed(each, "buyer") for each in shop.replicas] == [False, False]
    body, headers = signed(shop.paid, SECRET, at=datetime.now(UTC))
    for replica in (one, other, one):
        answer = replica.post(f"/v1/webhooks/stripe/{shop.connection_id}", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
    assert [allowed(each, "buyer") for each in shop.replicas] == [True, True]
    assert effects(shop) == (2, 1)


def test_one_event_at_both_at_once_has_one_effect(shop: Shop) -> None:
    body, headers = signed(shop.paid, SECRET, at=datetime.now(UTC))
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda number: shop.replicas[number % 2].post(
                    f"/v1/webhooks/stripe/{shop.connection_id}", content=body, headers=headers
                ),
                range(24),
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    assert effects(shop) == (23, 1)


def test_units_are_never_sold_twice(shop: Shop) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: consume(shop.replicas[number % 2], f"k{number}"), range(48)))
    assert sorted(answer.status_code for answer in answers) == [200] * 30 + [409] * 18
    again = [consume(shop.replicas[(number + 1) % 2], f"k{number}") for number in range(48)]
    assert [(each.status_code, each.text) for each in again] == [
        (each.status_code, each.text) for each in answers
    ]
    assert {each.headers["Idempotent-Replayed"] for each in again} == {"true"}
    with shop.database.read() as db:
        project_id = db.get_one(ApiKey, shop.key_id).project_id
        of_packs = select(Entitlement).where(
            Entitlement.project_id == project_id, Entitlement.kind == Kind.USAGE_PACK
        )
        pack = db.exec(of_packs).one()
        assert (pack.used_units, pack.granted_units) == (30, 30)


def test_a_revoked_key_is_refused_by_both_in_the_next_answer(shop: Shop) -> None:
    assert [allowed(each, "holder") for each in shop.replicas] == [True, True]
    with shop.database.write() as db:
        db.get_one(ApiKey, shop.key_id).revoked_at = datetime.now(UTC)
    for replica in shop.replicas:
        answer = replica.post("/v1/access/check", json={"subject_ref": "holder"})
        assert answer.json()["error"] == "api_key_revoked"
