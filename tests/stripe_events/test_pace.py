"""Settling reads keep within what an account at Stripe allows, whoever makes them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, func, select

from licenzy.catalog.models import Kind, Product
from licenzy.connections.rate_limit import CALLS_A_SECOND, paced_access, pause_account, take_turn
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from licenzy.reconciliation.models import Reconciliation
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events import settling
from licenzy.stripe_events.models import SettlingRead
from licenzy.stripe_events.settling import request_read
from licenzy.worker.loop import run_worker
from tests.checkout.conftest import Shop
from tests.reconciliation.outage import Outage
from tests.support.clock import StandingClock
from tests.support.ports import wait_until
from tests.support.sizes import sizes
from tests.support.threads import join

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = 25
Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


def test_turns_are_evenly_spaced_whoever_takes_them(database: Database) -> None:
    taken: list[float] = []

    def take() -> None:
        for _ in range(10):
            waits = database.retrying(lambda db: take_turn(db, account="acct_1"))
            taken.append(time.monotonic() + waits)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.sort()
    assert taken[-1] - taken[0] >= (len(taken) - 3) / CALLS_A_SECOND
    assert database.retrying(lambda db: take_turn(db, account="acct_2")) == 0


def test_an_account_at_rest_is_left_alone(database: Database) -> None:
    database.retrying(lambda db: pause_account(db, account="acct_1", seconds=30))
    assert 29 < database.retrying(lambda db: take_turn(db, account="acct_1")) <= 30
    database.retrying(lambda db: pause_account(db, account="acct_1", seconds=1))
    assert database.retrying(lambda db: take_turn(db, account="acct_1")) > 29


def test_connections_of_one_account_share_its_bound(shop: Shop) -> None:
    parts = shop.runtime
    shop.connection.account_id = "acct_shared"
    at = paced_access(parts.database, parts.gateway, parts.secret_box, shop.connection)
    assert at.pace is not None
    parts.database.retrying(lambda db: pause_account(db, account="acct_shared", seconds=0.5))
    began = time.monotonic()
    at.pace.wait()
    assert time.monotonic() - began >= 0.4


def test_a_checkout_does_not_stand_in_line(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    account = shop.connection.account_id or shop.connection.id
    shop.runtime.database.retrying(lambda db: pause_account(db, account=account, seconds=60))
    began = time.monotonic()
    assert shop.checkout("k").status_code == 201
    assert time.monotonic() - began < 5


@pytest.mark.slow
@sizes("subscriptions", sqlite=(150,), postgres=(50,), soak=(500,))
def test_settling_reads_by_three_processes_stay_within_25_a_second(
    shop: Shop, sell: Sell, settings: Settings, subscriptions: int
) -> None:
    outage = Outage(shop, plans(sell))
    outage.sell(subscriptions, ago=60)
    ask_for_reads(shop, outage.bought)
    just_walked(shop)
    calls = watch(shop)
    shop.inject_faults(rate_limit_per_second=ALLOWED)
    with workers(settings, shop.runtime, processes=2):
        wait_until(lambda: not waiting(shop), seconds=240, what="all reads are done")
    shop.behave()
    with shop.runtime.database.read() as db:
        rows = db.exec(select(SettlingRead).where(col(SettlingRead.object_id).startswith("sub_"))).all()
    assert len(rows) == subscriptions
    assert [row.object_id for row in rows if row.read_at is None or row.problem] == []
    reads = [at for at, call, _ in calls if call.startswith("GET /v1/subscriptions/")]
    assert len(reads) >= subscriptions
    peak = most_within_a_second([at for at, _, _ in calls])
    refused = sum(status == 429 for _, _, status in calls)
    seconds = calls[-1][0] - calls[0][0]
    print(f"{len(reads)} reads in {seconds:.1f} s, at most {peak} within a second, {refused} refused")
    assert peak <= ALLOWED
    assert refused == 0


@pytest.mark.slow
def test_reads_that_stripe_refuses_for_their_number_are_made_later(shop: Shop, sell: Sell) -> None:
    outage = Outage(shop, plans(sell))
    outage.sell(12, ago=60)
    ask_for_reads(shop, outage.bought)
    calls = watch(shop)
    shop.inject_faults(rate_limit_per_second=4)
    stop = threading.Event()
    thread = threading.Thread(target=run_worker, args=(running(shop),), kwargs={"stop": stop})
    thread.start()
    wait_until(lambda: not waiting(shop), seconds=40, what="all reads are done")
    stop.set()
    join(thread, seconds=10)
    assert any(status == 429 for _, _, status in calls)
    with shop.runtime.database.read() as db:
        rows = db.exec(select(SettlingRead)).all()
    assert all(row.read_at is not None and row.problem is None for row in rows)


def plans(sell: Sell) -> list[Product]:
    return [
        sell("A", Kind.SUBSCRIPTION),
        sell("B", Kind.SUBSCRIPTION),
        sell("C", Kind.USAGE_PACK),
    ]


def ask_for_reads(shop: Shop, subscriptions: list[str]) -> None:
    past = datetime.now(UTC) - settling.SETTLE_AFTER
    with shop.runtime.database.write() as db:
        for each in subscriptions:
            request_read(
                db,
                Scope(shop.project_id, shop.connection.mode),
                connection_id=shop.connection.id,
                object_id=each,
                now=past,
            )


def just_walked(shop: Shop) -> None:
    """Let the hourly walk not be due, which would call Stripe as well."""
    with shop.runtime.database.write() as db:
        db.add(Reconciliation(connection_id=shop.connection.id, ran_at=datetime.now(UTC)))


def waiting(shop: Shop) -> int:
    with shop.runtime.database.read() as db:
        return db.exec(
            select(func.count()).select_from(SettlingRead).where(col(SettlingRead.due_at).is_not(None))
        ).one()


def running(shop: Shop) -> Runtime:
    """The same installation on real time."""
    parts = shop.runtime
    return Runtime(parts.settings, parts.database, parts.gateway, parts.secret_box, lambda: datetime.now(UTC))


def watch(shop: Shop) -> list[tuple[float, str, int]]:
    """Every call of Stripe's API from now on, as the sandbox sees it: when, what, and the answer."""
    calls: list[tuple[float, str, int]] = []
    inner = shop.sandbox.app.wsgi_app

    def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        began, call = time.monotonic(), f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"

        def note(status: str, *rest: Any) -> Any:
            if " /v1/" in call:
                calls.append((began, call, int(status.split()[0])))
            return start_response(status, *rest)

        return inner(environ, note)

    shop.sandbox.app.wsgi_app = counted
    return calls


def most_within_a_second(at: list[float]) -> int:
    at, most, first = sorted(at), 0, 0
    for last, now in enumerate(at):
        while at[first] <= now - 1:
            first += 1
        most = max(most, last - first + 1)
    return most


@contextmanager
def workers(settings: Settings, parts: Runtime, *, processes: int) -> Iterator[None]:
    """Real `licenzy worker` processes, and one worker in this process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
    environ = {
        **kept,
        "LICENZY_INSTANCE": str(settings.instance),
        "LICENZY_DATABASE_URL": settings.database_url,
        "LICENZY_PORT": str(settings.port),
        "LICENZY_SANDBOX": "on",
    }
    started = [
        subprocess.Popen([sys.executable, "-m", "licenzy", "worker"], cwd=ROOT, env=environ)
        for _ in range(processes)
    ]
    stop = threading.Event()
    here = Runtime(settings, parts.database, parts.gateway, parts.secret_box, lambda: datetime.now(UTC))
    thread = threading.Thread(target=run_worker, args=(here,), kwargs={"stop": stop})
    thread.start()
    try:
        yield
    finally:
        stop.set()
        for process in started:
            process.terminate()
        for process in started:
            process.wait(15)
        join(thread, seconds=15)
