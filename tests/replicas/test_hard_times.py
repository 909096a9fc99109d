"""A database that goes away for a while, and a Stripe that does not answer."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from licenzy.db import migrate
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.factory import load_models
from licenzy.kit.secret_box import SecretBox
from tests.replicas.conftest import Started
from tests.support.cast import make_cast, make_connection, make_key, make_product, make_subject
from tests.support.databases import SqliteFiles, durable_postgres
from tests.support.ports import wait_until
from tests.support.purchases import make_entitlement
from tests.support.silence import silent_server

pytestmark = pytest.mark.slow

ENCRYPTION_KEY = "UoAYSIhGbKOEoyuLvo4Ss7Yv2BFQYt3CPqTmmCyCeMM="
THREADS = 4


def stock(url: str) -> str:
    """A subject `user_1` who may proceed, a product and a connection; gives an API key."""
    load_models()
    database, now = Database(make_engine(url)), datetime.now(UTC)
    migrate.upgrade(database.engine)
    with database.write() as db:
        project_id = make_cast(db, now=now).project_id
        _key, token = make_key(db, project_id=project_id, now=now)
        make_connection(db, project_id=project_id, secret_box=SecretBox((ENCRYPTION_KEY,)), now=now)
        make_product(db, project_id=project_id, now=now)
        subject = make_subject(db, project_id=project_id, subject_ref="user_1", now=now)
        make_entitlement(db, subject=subject, starts_at=now, ends_at=None)
    database.close()
    return token


def check(client: httpx.Client) -> httpx.Response:
    return client.post("/v1/access/check", json={"subject_ref": "user_1"})


@pytest.mark.postgres
def test_a_restarted_database_is_found_again_without_restarting_the_app(
    start: Started, tmp_path: Path
) -> None:
    with durable_postgres() as server:
        name = server.empty()
        token = stock(server.url(name))
        address = start(server.url(name), LICENZY_ENCRYPTION_KEYS=ENCRYPTION_KEY)
        told: Counter[int] = Counter()
        stop = threading.Event()

        def ask_on() -> None:
            with httpx.Client(
                base_url=address, headers={"Authorization": f"Bearer {token}"}, timeout=30
            ) as client:
                while not stop.is_set():
                    answer = check(client)
                    told[answer.status_code] += 1
                    assert answer.status_code == 200 or answer.json()["error"] == "database_unavailable"

        with ThreadPoolExecutor(3) as pool, httpx.Client(base_url=address) as client:
            asking = [pool.submit(ask_on) for _ in range(3)]
            wait_until(lambda: told[200] > 50, seconds=30, what="checks are answered")
            server.stop_at_once()
            wait_until(lambda: told[503] > 5, seconds=30, what="the outage is told")
            assert client.get("/healthz").status_code == 200
            server.start_again()
            before = told[200]
            wait_until(lambda: told[200] > before + 50, seconds=30, what="checks are answered again")
            stop.set()
            for each in asking:
                each.result()
        assert set(told) == {200, 503}, "never allowed by mistake, and never a 500"


def test_checks_go_on_while_stripe_hangs_on_as_many_checkouts_as_there_are_threads(
    start: Started, tmp_path: Path, sqlite_files: SqliteFiles
) -> None:
    url = sqlite_files.fresh(tmp_path)
    token = stock(url)
    with silent_server() as (stripe, came):
        address = start(
            url,
            LICENZY_ENCRYPTION_KEYS=ENCRYPTION_KEY,
            LICENZY_STRIPE_API_BASE=stripe,
            LICENZY_THREADS=str(THREADS),
        )
        headers = {"Authorization": f"Bearer {token}"}
        with (
            httpx.Client(base_url=address, headers=headers, timeout=30) as client,
            ThreadPoolExecutor(THREADS) as pool,
        ):
            buying = [pool.submit(_buy, client, number) for number in range(THREADS)]
            wait_until(lambda: came, seconds=20, what="Stripe is asked")
            began = time.monotonic()
            answers = [check(client) for _ in range(200)]
            hanging = [each for each in buying if not each.done()]
            assert {answer.status_code for answer in answers} == {200}
            assert hanging, f"no checkout hung for the {time.monotonic() - began:.1f} s of the checks"
            told = [each.result() for each in buying]
    assert {answer.status_code for answer in told} <= {503, 504}
    # Half of the threads may wait for Stripe; who waits for one of those gets a refusal of its own.
    assert {answer.json()["error"] for answer in told} <= {
        "stripe_unavailable",
        "stripe_timeout",
        "overloaded",
    }
    assert all("Retry-After" in answer.headers for answer in told)


def test_idle_connections_keep_nobody_out(start: Started, tmp_path: Path, sqlite_files: SqliteFiles) -> None:
    """Clients keep connections open between their calls, and proxies keep many."""
    url = sqlite_files.fresh(tmp_path)
    token = stock(url)
    address = urlsplit(start(url, LICENZY_CONNECTIONS="512"))
    with ExitStack() as idle:
        for _ in range(412):
            idle.enter_context(socket.create_connection((address.hostname or "", address.port or 0)))
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=address.geturl(), headers=headers, timeout=5) as client:
            assert check(client).status_code == 200


def _buy(client: httpx.Client, number: int) -> Any:
    return client.post(
        "/v1/checkout/session",
        json={"subject_ref": f"buyer_{number}", "product_code": "PRO_MONTHLY"},
        headers={"Idempotency-Key": f"order-{number}"},
    )
