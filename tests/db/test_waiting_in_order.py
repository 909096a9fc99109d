"""Who waits for a row holds none that stands behind it in the order of locks; on Postgres."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements import grants
from licenzy.entitlements.actions import begin_purchase
from licenzy.entitlements.grants import OperatorContext
from licenzy.projects.scope import Scope
from licenzy.settings import Settings
from licenzy.subjects.actions import lock_customer
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast
from tests.support.clock import START, StandingClock
from tests.support.ports import wait_until
from tests.support.threads import WAITING_FOR_LOCKS, join, somebody_waits
from tests.usage.buying import Customer, customer_with, post, reserve

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
DAY = timedelta(days=1)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


@contextmanager
def waiting_for(url: str, statement: str, key: str, work: Callable[[], object]) -> Iterator[Any]:
    """While `work` waits for the rows of a statement with this key; gives a third party's connection."""
    with psycopg.connect(url) as first, psycopg.connect(url, autocommit=True) as other:
        first.execute(statement.encode(), [key])
        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_until(
                lambda: other.execute(WAITING_FOR_LOCKS).fetchone() != (0,), seconds=5, what="somebody waits"
            )
            yield other
        finally:
            first.rollback()
            join(thread, seconds=20)


def is_free(other: Any, entitlement_id: str) -> bool:
    """Whether nobody has the entitlement locked."""
    wanted = "SELECT 1 FROM entitlements WHERE id = %s FOR UPDATE SKIP LOCKED"
    return other.execute(wanted, [entitlement_id]).fetchone() is not None


PACK, SUBJECT = (f"SELECT 1 FROM {table} WHERE id = %s FOR UPDATE" for table in ("entitlements", "subjects"))


@pytest.mark.parametrize("then", ["reserve", "commit", "release"])
def test_packs_of_reservations_that_are_over_are_locked_with_all_others(
    client: FlaskClient, settings: Settings, customer: Customer, clock: StandingClock, then: str
) -> None:
    """The second pack's reservation is over; whoever needs the first pack too waits for that one alone."""
    first, second = customer.buys(10), customer.buys(10, ends_at=START + DAY)
    assert reserve(client, customer, 10, ttl_seconds=5).status_code == 201
    made = reserve(client, customer, 10, ttl_seconds=60).get_json()["reservation_id"]
    clock.advance(seconds=6)
    told: list[int] = []

    def call() -> None:
        if then == "reserve":
            told.append(reserve(client, customer, 5).status_code)
        else:
            body = {"units": 1} if then == "commit" else {}
            told.append(post(client, customer, f"/v1/usage/reservations/{made}/{then}", body).status_code)

    with waiting_for(settings.database_url, PACK, first, call) as other:
        assert is_free(other, second)
    assert told == [201 if then == "reserve" else 200]


def test_an_operators_act_waits_for_the_subject_before_it_locks_the_entitlement(
    database: Database, settings: Settings, cast: Cast, customer: Customer
) -> None:
    """An event of a sibling pass holds the subject, and lays all its passes anew."""
    held = customer.buys(0, kind=Kind.TIME_PASS, ends_at=START + DAY)
    hand = OperatorContext(
        Scope(cast.project_id, Mode.TEST), Actor(cast.owner.user_id, "127.0.0.1"), "by phone", START
    )

    def act() -> None:
        database.retrying(lambda db: grants.revoke(db, hand, entitlement_id=held))

    with waiting_for(settings.database_url, SUBJECT, customer.subject.id, act) as other:
        assert is_free(other, held)


def test_two_first_purchases_of_a_subject_at_once_do_not_wait_for_each_other_in_a_circle(
    database: Database, cast: Cast, customer: Customer
) -> None:
    """Each has written the subject's id into its purchase before it takes the subject."""
    scope = Scope(cast.project_id, Mode.TEST)
    both, tries = threading.Barrier(2), {"one": 0, "two": 0}
    first = threading.Lock()

    def begin(name: str) -> None:
        def work(db: Session) -> None:
            tries[name] += 1
            begin_purchase(db, scope, key=f"sub_{name}", subject_id=customer.subject.id, now=START)
            if tries[name] == 1:
                both.wait(10)
            lock_customer(db, scope, subject_id=customer.subject.id)
            if first.acquire(blocking=False):
                wait_until(lambda: somebody_waits(database), seconds=10, what="the other waits for it")

        database.retrying(work)

    threads = [threading.Thread(target=begin, args=(name,)) for name in tries]
    for thread in threads:
        thread.start()
    join(*threads, seconds=20)
    assert tries == {"one": 1, "two": 1}, "neither was broken off for the other's sake"
