"""Taking a row's lease: the condition in SQL is the rule in Python, and of many that try one gets it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlmodel import Session, col, select, update

from licenzy.db import leases
from licenzy.db.unit_of_work import Database
from licenzy.kit.lease import Lease, is_free
from licenzy.observations.models import StripeProbe
from licenzy.reconciliation.models import Reconciliation
from licenzy.runtime import Runtime
from licenzy.setup.stripe_probe import claim_due_probe
from tests.support.cast import Cast, make_connection, make_project
from tests.support.clock import START, StandingClock

LEASE = Lease(timedelta(minutes=1))


@pytest.fixture
def connection_id(runtime: Runtime, cast: Cast) -> str:
    """A connection whose account was never walked or asked."""
    with runtime.database.write() as db:
        return make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box).id


def set_lease(database: Database, connection_id: str, leased_until: datetime | None) -> None:
    with database.write() as db:
        db.merge(Reconciliation(connection_id=connection_id, leased_until=leased_until, report={}))


@pytest.mark.parametrize("seconds", [None, -1, 0, 1])
def test_what_is_free_in_python_is_free_in_sql(
    database: Database, connection_id: str, seconds: int | None
) -> None:
    leased_until = None if seconds is None else START + timedelta(seconds=seconds)
    set_lease(database, connection_id, leased_until)
    free = is_free(leased_until, START)
    column = col(Reconciliation.leased_until)
    with database.write() as db:
        found = db.exec(select(Reconciliation.connection_id).where(leases.is_free(column, START))).all()
        taken = leases.take_lease(db, Reconciliation, {"connection_id": connection_id}, LEASE, now=START)
    assert (bool(found), taken) == (free, free)
    with database.read() as db:
        row = db.get_one(Reconciliation, connection_id)
    assert row.leased_until == (LEASE.until(START) if free else leased_until)


def test_there_is_no_lease_on_a_row_that_does_not_exist(database: Database) -> None:
    with database.write() as db:
        assert not leases.take_lease(db, Reconciliation, {"connection_id": "con_x"}, LEASE, now=START)


def how_many(database: Database, take: Callable[[Session], bool]) -> int:
    """How many of eight that begin together get it."""
    together = threading.Barrier(8)

    def try_it() -> bool:
        together.wait(10)
        return database.retrying(take)

    with ThreadPoolExecutor(together.parties) as pool:
        return sum(each.result() for each in [pool.submit(try_it) for _ in range(together.parties)])


def test_of_many_that_try_at_once_one_has_the_lease(database: Database, connection_id: str) -> None:
    set_lease(database, connection_id, None)
    for turn in range(5):
        key, now = {"connection_id": connection_id}, START + turn * LEASE.lasts
        take = partial(leases.take_lease, model=Reconciliation, key=key, lease=LEASE, now=now)
        assert how_many(database, take) == 1


def test_of_many_workers_one_has_the_first_look_at_a_connection(
    database: Database, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    """Nothing is kept of a connection that was never looked at: all of them find no row, and make one."""
    for turn in range(5):
        with database.write() as db:
            project_id = make_project(db, workspace_id=cast.owner.workspace_id, name=f"Project {turn}")
            make_connection(db, project_id=project_id, secret_box=runtime.secret_box, now=clock())
        now = clock.advance(hours=2)

        def claims(db: Session, now: datetime = now) -> bool:
            return claim_due_probe(db, now=now) is not None

        assert how_many(database, claims) == 1
        with database.write() as db:
            db.exec(update(StripeProbe).values(due_at=now + timedelta(days=30)))
