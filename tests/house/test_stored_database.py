"""A database of an older version with real data is upgraded, and nothing changes for anybody."""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Connection, Engine, MetaData, Table, inspect
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.db import migrate, schema
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import WebhookEndpoint
from licenzy.factory import create_app
from licenzy.kit.clock import to_micros
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.queries import events_page
from licenzy.stripe_events.replay import replay_purchases
from licenzy.usage.models import Closing, Reservation
from licenzy.worker.loop import make_sender, run_job
from tests.conftest import make_settings
from tests.support.clock import StandingClock
from tests.support.hotpath import Incoming, called
from tests.support.purchases import signed
from tests.support.receivers import receiver
from tests.support.sending import drain
from tests.support.stored_installation import FOLDER, Call, Json, SentEvent, StoredInstallation

STORED = StoredInstallation(FOLDER / "0016")

MOVED = {
    "stripe_price_id": "stripe_price_id",
    "stripe_product_id": "stripe_product_id",
    "stripe_product_name": "stripe_product_name",
    "unit_amount": "unit_amount",
    "currency": "currency",
    "interval": "interval",
    "interval_count": "interval_count",
    "lookup_key": "lookup_key",
    "price_livemode": "livemode",
    "price_active": "active",
    "product_active": "product_active",
    "checked_at": "checked_at",
}
"""Columns of `products`, and where they stand in `product_prices`."""

GONE = {
    "audit_log": {"workspace_id"},
    "products": set(MOVED),
    # A number that the database gave, which nothing else refers to.
    "stripe_events": {"sequence"},
}
"""Columns that later migrations drop or move."""

FILLED = {"entitlements": {"stripe_price_id"}}
"""Columns that the first projection fills, because the older version did not keep what stands there."""

CORRECTED = {
    "sub_due_in_grace": "2026-11-27T10:18:42Z",
    "sub_due_over": "2026-11-27T12:19:30Z",
}
"""Until when these have access once Stripe reports them again.

Their renewals failed ahead of time, and what was paid before lasts as long as it was paid for. The older
version let the grace begin at the failure.
"""

_MADE_HERE = re.compile(r"(?:ent|fct)_[0-9a-z]{26}")

DIFFERENT: dict[str, str] = {}
"""Calls that are answered otherwise on purpose, as `str(call)`, and the reason."""


@dataclass
class Upgraded:
    """The stored installation at the schema of this version, and this version's application on it."""

    app: Flask
    clock: StandingClock
    base_url: str

    @property
    def database(self) -> Database:
        database: Database = self.app.extensions["licenzy"].database
        return database

    def answer(self, call: Call) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {STORED.facts['api_keys'][call.side]}"}
        if call.key is not None:
            headers["Idempotency-Key"] = call.key
        answer = self.app.test_client().open(
            call.path, method=call.method, headers=headers, base_url=self.base_url, json=call.body
        )
        return answer.status_code, answer.get_json()

    def send(self, sent: SentEvent) -> int:
        """Deliver an event as Stripe does; the status of the answer."""
        secret = STORED.facts["webhook_secrets"][sent.connection_id]
        body, headers = signed(sent.event, secret, at=self.clock())
        address = f"/v1/webhooks/stripe/{sent.connection_id}"
        answer = self.app.test_client().post(address, data=body, headers=headers, base_url=self.base_url)
        return answer.status_code

    def rows(self) -> dict[str, list[Json]]:
        """Every row of every table."""
        with self.database.engine.connect() as connection:
            names = inspect(connection).get_table_names()
            return {name: _rows(connection, name) for name in names}


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database with the stored rows, and the schema that they were written in."""
    server = name = None
    if request.param == "sqlite":
        (tmp_path / "stored.sqlite3").touch()
        made = make_engine(f"sqlite:///{tmp_path / 'stored.sqlite3'}")
    else:
        server = request.getfixturevalue("postgres")
        name = server.empty()
        made = make_engine(server.url(name))
    STORED.insert_into(made)
    yield made
    made.dispose()
    if server is not None:
        server.drop(name)


@pytest.fixture
def upgraded(engine: Engine, tmp_path: Path) -> Iterator[Upgraded]:
    assert migrate.upgrade(engine).revision == schema.head()
    base_url = STORED.facts["base_url"]
    settings = make_settings(
        tmp_path / "instance",
        engine.url.set(drivername=engine.dialect.name).render_as_string(hide_password=False),
        base_url=base_url,
        secret_key=STORED.facts["secret_key"],
        encryption_keys=(STORED.facts["encryption_keys"],),
        allow_private_webhooks=True,
    )
    clock = StandingClock(STORED.now)
    app = create_app(settings, clock=clock)
    yield Upgraded(app, clock, base_url)
    app.extensions["licenzy"].database.close()


def test_every_row_outlasts_the_upgrade(upgraded: Upgraded) -> None:
    present = upgraded.rows()
    for stored in STORED.tables:
        names, now = set(stored.rows[0]), present[stored.name]
        shared = names & set(now[0])
        if stored.name == "audit_log":
            shared.remove("workspace_id")  # Of what was done in a project it is filled.
            projects = {row["id"]: row["workspace_id"] for row in present["projects"]}
            of_projects = [row for row in now if row["project_id"] is not None]
            assert of_projects
            assert all(row["workspace_id"] == projects[row["project_id"]] for row in of_projects)
        assert names - shared <= GONE.get(stored.name, set()), f"columns of {stored.name} are lost"
        assert _counted(now, shared) == _counted(stored.rows, shared), stored.name
    prices = {row["product_id"]: row for row in present["product_prices"]}
    assert len(prices) == len(present["product_prices"]) == len(STORED.rows("products"))
    for product in STORED.rows("products"):
        price = prices[product["id"]]
        assert {name: price[new] for name, new in MOVED.items()} == {name: product[name] for name in MOVED}
        assert (price["label"], price["retired_at"]) == ("default", None)


def test_what_was_consumed_before_was_consumed_without_naming_a_unit(upgraded: Upgraded) -> None:
    """So the default unit of those sides is fixed, and of no others."""
    used = {
        (row["project_id"], row["mode"])
        for table in ("usage_ledger", "usage_reservations")
        for row in STORED.rows(table)
    }
    sides = {(row["project_id"], row["mode"]): row for row in upgraded.rows()["project_sides"]}
    assert used < set(sides)
    for side, row in sides.items():
        assert row["default_unit"] == "units"
        assert (row["default_unit_used_at"] is not None) == (side in used)
    assert {row["unit"] for row in upgraded.rows()["entitlements"]} == {"units"}


def test_trials_of_before_are_remembered_and_offered_as_before(upgraded: Upgraded) -> None:
    present = upgraded.rows()
    tried = {
        row["purchase_key"]
        for row in STORED.rows("facts")
        if row["kind"] == "subscription" and "trialing" in json.dumps(row["data"])
    }
    remembered = {row["key"] for row in present["purchases"] if row["trialed_at"] is not None}
    of_subjects = {row["key"] for row in present["purchases"] if row["subject_id"] is not None}
    assert remembered == tried & of_subjects != set()
    assert all(row["trialed_products"] for row in present["purchases"] if row["key"] in remembered)
    assert not any(row["trial_once"] for row in present["products"])


def test_events_stay_in_the_order_of_their_arrival(upgraded: Upgraded) -> None:
    stored = sorted(STORED.rows("stripe_events"), key=lambda row: -row["sequence"])
    for project_id, mode in {(row["project_id"], row["mode"]) for row in stored}:
        with upgraded.database.read() as db:
            page = events_page(db, Scope(project_id, Mode(mode)))
        of_it = [row["event_id"] for row in stored if (row["project_id"], row["mode"]) == (project_id, mode)]
        newest = [row.event_id for row in page.rows]
        assert newest
        assert newest == of_it[: len(newest)]


def test_a_replay_of_everything_changes_nothing(upgraded: Upgraded) -> None:
    before = upgraded.rows()
    replayed = dict(replay_purchases(upgraded.database, clock=upgraded.clock))
    assert {key: changes for key, changes in replayed.items() if changes} == {}
    assert len(replayed) > 80
    after = upgraded.rows()
    assert {name: rows for name, rows in after.items() if rows != before[name]}.keys() <= FILLED.keys()
    for name, columns in FILLED.items():
        filled = {row["id"]: row for row in after[name]}
        for row in before[name]:
            missing = {column for column in columns if row[column] is None}
            assert row == filled[row["id"]] | dict.fromkeys(missing)


def test_everybody_is_answered_as_before(upgraded: Upgraded) -> None:
    wrong = [each for call in STORED.calls for each in _differences(call, *upgraded.answer(call))]
    wrong += _wrong_on_the_loop(upgraded)
    assert not wrong, "\n".join(wrong)


def test_what_happens_next_has_the_same_results(upgraded: Upgraded) -> None:
    """Reservations that were open are closed, packs are consumed, and Stripe reports on old purchases."""
    wrong: list[str] = []
    for continuation in STORED.continuations:
        for step in continuation.steps:
            if isinstance(step, SentEvent):
                assert upgraded.send(step) == 200, continuation.name
            else:
                wrong += _differences(step, *upgraded.answer(step))
        for call in continuation.answers:
            found = _differences(call, *upgraded.answer(call))
            wrong += [f"{continuation.name}: {each}" for each in found]
    assert not wrong, "\n".join(wrong)
    changed = [key for key, found in replay_purchases(upgraded.database, clock=upgraded.clock) if found]
    assert changed == []


def test_what_stripe_reports_again_is_read_beside_the_old_facts(upgraded: Upgraded) -> None:
    """Every subscription and invoice as it was last reported, in a new event."""
    reported = list(_reported_again())
    assert len(reported) > 60
    for event in reported:
        assert upgraded.send(event) == 200
    wrong: list[str] = []
    for call in STORED.calls:
        reads = call.path.startswith("/v1/customer/access/") or call.path == "/v1/access/check"
        if reads and not any(ref in str(call) for ref in CORRECTED):
            wrong += _differences(call, *upgraded.answer(call))
    assert not wrong, "\n".join(wrong)
    for ref, until in CORRECTED.items():
        (call,) = (
            call
            for call in STORED.calls
            if call.path == f"/v1/customer/access/{ref}" and call.side == "first test"
        )
        (entitlement,) = upgraded.answer(call)[1]["entitlements"]
        assert (entitlement["status"], entitlement["valid_until"]) == ("past_due", until)


def _reported_again() -> Iterator[SentEvent]:
    last = {
        row["object_id"]: row
        for row in STORED.rows("stripe_events")
        if row["status"] == "applied" and row["type"].startswith(("customer.subscription.", "invoice."))
    }
    for row in last.values():
        event = json.loads(row["payload"])
        event["id"] += "_again"
        if event["data"]["object"]["object"] == "subscription":
            event["created"] = int(STORED.now.timestamp())
            event["data"].pop("previous_attributes", None)
        yield SentEvent(row["connection_id"], event)


def test_webhooks_are_signed_with_the_stored_secret(upgraded: Upgraded) -> None:
    """The purchase is reported to the endpoint that was there, which knows its secret."""
    hooks = STORED.facts["hooks"]
    (bought,) = (each for each in STORED.continuations if each.name == "an open checkout is paid")
    with receiver() as endpoint:
        with upgraded.database.write() as db:
            row = db.exec(select(WebhookEndpoint).where(WebhookEndpoint.id == hooks["endpoint"])).one()
            row.url = endpoint.url
        (event,) = (step for step in bought.steps if isinstance(step, SentEvent))
        assert upgraded.send(event) == 200
        sent = drain(make_sender(upgraded.app.extensions["licenzy"]))
    (request,) = endpoint.requests
    assert sent == 1
    signature = request.headers["webhook-signature"].removeprefix("v1,")
    key = base64.b64decode(hooks["secret"].removeprefix("whsec_"))
    stamped = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    assert base64.b64decode(signature) == hmac.digest(key, stamped + request.body, "sha256")
    assert json.loads(request.body)["type"] == "purchase.finalized"


def test_the_worker_goes_on_where_it_was(upgraded: Upgraded) -> None:
    """A reservation whose time is up is closed, and events that failed are tried again."""
    parts = upgraded.app.extensions["licenzy"]
    expired = {
        row["id"]
        for row in STORED.rows("usage_reservations")
        if row["closed_at"] is None and row["expires_at"] <= to_micros(STORED.now)
    }
    failed = {
        row["event_id"]: row["tries"] for row in STORED.rows("stripe_events") if row["status"] == "failed"
    }
    assert run_job(parts, "return expired units") == len(expired) == 1
    assert run_job(parts, "apply due events") == len(failed) == 2
    with upgraded.database.read() as db:
        closed = db.exec(select(Reservation).where(Reservation.closed_as == Closing.EXPIRED)).all()
        tried = db.exec(select(StripeEvent).where(col(StripeEvent.event_id).in_(failed))).all()
    assert expired < {row.id for row in closed}
    assert {row.event_id: row.tries - 1 for row in tried} == failed
    # What cannot be read and was not sold through Licenzy is ignored by now.
    assert {row.status for row in tried} == {EventStatus.FAILED, EventStatus.IGNORED}


def _wrong_on_the_loop(upgraded: Upgraded) -> list[str]:
    """The access checks once more, on the event loop, where processes answer them."""
    checks = [call for call in STORED.calls if call.path == "/v1/access/check" and call.status == 200]
    incoming = [
        Incoming(STORED.facts["api_keys"][call.side], call.path, json.dumps(call.body).encode())
        for call in checks
    ]
    wrong: list[str] = []
    answered = 0
    for call, reply in zip(checks, called(upgraded.app, *incoming), strict=True):
        if reply is not None:
            wrong += _differences(call, reply.status, json.loads(reply.body))
            answered += 1
    assert answered > len(checks) * 0.9, "the others are left to Flask"
    return wrong


def _differences(call: Call, status: int, answer: Any) -> list[str]:
    """What is answered otherwise than before, one sentence each. Fields may be new."""
    new, old = _comparable(answer), _comparable(call.answer)
    same = status == call.status and _contains(new, old)
    if same or str(call) in DIFFERENT:
        return []
    return [f"{call}: {status} {json.dumps(new)} instead of {call.status} {json.dumps(old)}"]


def _comparable(answer: Any) -> Any:
    """An answer without the sentences of a refusal; of the ids of new rows, only the prefix."""
    if isinstance(answer, dict):
        prose = {"message", "hint"} if "error" in answer else set()
        return {name: _comparable(value) for name, value in answer.items() if name not in prose}
    if isinstance(answer, list):
        return [_comparable(each) for each in answer]
    if isinstance(answer, str) and _MADE_HERE.fullmatch(answer) and answer not in _stored_ids():
        return answer.partition("_")[0]
    return answer


@cache
def _stored_ids() -> set[str]:
    return {row["id"] for name in ("facts", "entitlements") for row in STORED.rows(name)}


def _contains(new: Any, old: Any) -> bool:
    """Whether an answer has everything that the old one has."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(name in new and _contains(new[name], old[name]) for name in old)
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(_contains, new, old))
    return type(new) is type(old) and bool(new == old)


def _rows(connection: Connection, name: str) -> list[Json]:
    table = Table(name, MetaData(), autoload_with=connection, resolve_fks=False)
    rows = [dict(row) for row in connection.execute(table.select()).mappings()]
    return sorted(rows, key=_text)


def _counted(rows: list[Json], names: set[str]) -> Counter[str]:
    return Counter(_text({name: row[name] for name in names}) for row in rows)


def _text(row: Json) -> str:
    return json.dumps(row, sort_keys=True)
