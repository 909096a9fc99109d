"""Receipt and the worker on a Postgres where a stranger takes the same rows in the opposite order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlmodel import col, select

from licenzy.catalog.models import Kind
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import State
from licenzy.kit import deadline
from licenzy.runtime import Runtime
from licenzy.stripe_events import receive
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.stripe_events.pipeline import apply_event
from tests.entitlements.fixtures_purchases import Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock
from tests.support.databases import PostgresServer
from tests.support.ports import wait_until
from tests.support.threads import join, somebody_waits
from tests.support.worker import work_once


@pytest.fixture(params=["postgres"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Postgres alone: SQLite has one writer, so that no two can wait for each other."""
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.fresh()
    engine = make_engine(server.url(name))
    with engine.begin() as db:
        # So long may it take the stranger to see that the product waits.
        db.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '1s'"))
    engine.dispose()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    return Storefront(app.test_client(), runtime.database, connection)


class Stranger:
    """Holds the subject's row, then asks for the purchase's, the opposite of what the product does."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.asks = threading.Event()
        self.holds = threading.Event()
        self.thread = threading.Thread(target=self._cross)

    def __enter__(self) -> Stranger:
        self.thread.start()
        assert self.holds.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.asks.set()
        join(self.thread, seconds=20)

    def _cross(self) -> None:
        with self.database.write() as db:
            # It is the product that finds out first, and has to give way.
            db.execute(text("SET LOCAL deadlock_timeout = '30s'"))
            db.execute(text("SELECT 1 FROM subjects FOR UPDATE"))
            self.holds.set()
            assert self.asks.wait(10)
            db.execute(text("SELECT 1 FROM purchases FOR UPDATE"))


def deadlocks(database: Database) -> int:
    with database.read() as db:
        db.execute(text("SELECT pg_stat_clear_snapshot()"))
        return int(
            db.execute(
                text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            ).scalar_one()
        )


def assert_somebody_gave_way(database: Database, before: int) -> None:
    """Without it a test proves nothing."""
    database.engine.dispose()  # Postgres counts at the latest when a connection ends.
    wait_until(lambda: deadlocks(database) > before, seconds=10, what="somebody has given way")


def ask_once_it_waits(stranger: Stranger) -> None:
    """Let the stranger go on once the product's transaction stands waiting for the subject's row."""

    def watch() -> None:
        for _ in range(500):
            if somebody_waits(stranger.database):
                break
            threading.Event().wait(0.01)
        stranger.asks.set()

    threading.Thread(target=watch).start()


def test_a_received_event_that_has_to_give_way_is_applied_all_the_same(storefront: Storefront) -> None:
    product, before = storefront.product(Kind.SUBSCRIPTION), deadlocks(storefront.database)
    sale = storefront.sell(product)
    sale.subscription("incomplete", event_name="created")
    with Stranger(storefront.database) as stranger:
        ask_once_it_waits(stranger)
        row = sale.subscription("trialing")
    assert (row.status, row.tries, row.duplicates) == (EventStatus.APPLIED, 1, 0)
    assert sale.row().state is State.TRIALING
    assert_somebody_gave_way(storefront.database, before)


def test_a_due_event_that_has_to_give_way_is_applied_by_the_worker(
    storefront: Storefront, runtime: Runtime, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, before = storefront.product(Kind.SUBSCRIPTION), deadlocks(storefront.database)
    sale = storefront.sell(product)
    sale.subscription("incomplete", event_name="created")

    def refuse(*_: Any, **__: Any) -> None:
        raise LookupError("not yet")

    monkeypatch.setattr(receive, "apply_event", refuse)
    assert sale.subscription("trialing").status is EventStatus.FAILED
    monkeypatch.setattr(receive, "apply_event", apply_event)
    clock.advance(seconds=60)
    with Stranger(storefront.database) as stranger:
        ask_once_it_waits(stranger)
        work_once(runtime)
    with storefront.database.read() as db:
        rows = db.exec(select(StripeEvent).order_by(col(StripeEvent.id))).all()
    assert [(row.status, row.tries) for row in rows][-1] == (EventStatus.APPLIED, 2)
    assert sale.row().state is State.TRIALING
    assert_somebody_gave_way(storefront.database, before)


def test_a_row_held_for_long_leaves_the_event_with_us_or_with_stripe(
    storefront: Storefront, runtime: Runtime, clock: StandingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "WAIT_SECONDS", 0.3)
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))
    with Stranger(storefront.database):
        assert sale.session().status is EventStatus.FAILED
    clock.advance(seconds=60)
    work_once(runtime)
    assert sale.row().granted_units == 1000
