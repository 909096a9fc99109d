"""Idempotency keys: one runs, the others wait or are given its outcome."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.errors import IdempotencyInProgress, IdempotencyKeyReused
from licenzy.idempotency.actions import (
    KEPT,
    LEASE,
    Begun,
    CallKey,
    begin,
    bind_attempt,
    finish,
    forget_old,
    free,
)
from licenzy.idempotency.models import CHECKOUT, IdempotencyKey
from licenzy.idempotency.outcome import Outcome
from licenzy.projects.scope import Scope
from tests.support.cast import Cast
from tests.support.clock import START

DONE = Outcome(201, '{"url":"https://example.com/é"}')
LATER = LEASE.until(START) + timedelta(microseconds=1)


@pytest.fixture
def call_key(cast: Cast) -> CallKey:
    return CallKey(Scope(cast.project_id, Mode.TEST), "POST /v1/checkout/session", "key-1")


def start(database: Database, call_key: CallKey, body: str = "hash", now: object = START) -> Begun:
    with database.write() as db:
        return begin(db, call_key, body_hash=body, now=now)  # type: ignore[arg-type]


def end(database: Database, call_key: CallKey, begun: Begun, outcome: Outcome = DONE) -> None:
    with database.write() as db:
        finish(db, call_key, holder=begun.holder, outcome=outcome)


def let_go(database: Database, call_key: CallKey, begun: Begun) -> None:
    with database.write() as db:
        free(db, call_key, holder=begun.holder)


def row(database: Database, call_key: CallKey) -> IdempotencyKey:
    with database.read() as db:
        return db.exec(select(IdempotencyKey).where(IdempotencyKey.key == call_key.key)).one()


def test_the_first_call_runs_and_its_outcome_is_given_for_ever(database: Database, call_key: CallKey) -> None:
    begun = start(database, call_key)
    assert (begun.replay, begun.attempt_id) == (None, None)
    end(database, call_key, begun)
    for now in (START, LATER, START + timedelta(days=400)):
        assert start(database, call_key, now=now).replay == DONE
    assert row(database, call_key).leased_until is None


def test_only_the_holder_may_say_how_it_ended(database: Database, call_key: CallKey) -> None:
    """A call that outlived its lease must not speak for the one that took the key after it."""
    late = start(database, call_key)
    second = start(database, call_key, now=LATER)
    with pytest.raises(IdempotencyInProgress):
        end(database, call_key, late, Outcome(201, "late"))
    assert row(database, call_key).holder == second.holder
    end(database, call_key, second)
    for each in (late, second):
        with pytest.raises(IdempotencyInProgress):
            end(database, call_key, each, Outcome(500, "later"))
    assert start(database, call_key).replay == DONE


def test_a_second_call_waits_while_the_first_runs(database: Database, call_key: CallKey) -> None:
    start(database, call_key)
    for now in (START, LEASE.until(START) - timedelta(microseconds=1)):
        with pytest.raises(IdempotencyInProgress) as refused:
            start(database, call_key, now=now)
    assert refused.value.retry_after == 2


@pytest.mark.parametrize("state", ["running", "finished", "freed", "lapsed"])
def test_another_body_is_refused_in_every_state(database: Database, call_key: CallKey, state: str) -> None:
    begun = start(database, call_key)
    if state == "finished":
        end(database, call_key, begun)
    if state == "freed":
        let_go(database, call_key, begun)
    with pytest.raises(IdempotencyKeyReused):
        start(database, call_key, body="other", now=LATER if state == "lapsed" else START)


def test_a_freed_key_runs_again(database: Database, call_key: CallKey) -> None:
    first = start(database, call_key)
    let_go(database, call_key, first)
    second = start(database, call_key)
    assert second.replay is None
    assert second.holder != first.holder
    with pytest.raises(IdempotencyInProgress):
        start(database, call_key)


def test_a_crash_is_cured_by_the_leases_end(database: Database, call_key: CallKey) -> None:
    first = start(database, call_key)
    second = start(database, call_key, now=LATER)
    assert second.replay is None
    with pytest.raises(IdempotencyInProgress):
        start(database, call_key, now=LATER + timedelta(seconds=1))
    let_go(database, call_key, first)
    with pytest.raises(IdempotencyInProgress):
        start(database, call_key, now=LATER + timedelta(seconds=1))
    let_go(database, call_key, second)
    assert start(database, call_key, now=LATER + timedelta(seconds=1)).replay is None


def test_a_key_stays_bound_to_its_attempt(database: Database, call_key: CallKey) -> None:
    begun = start(database, call_key)
    with database.write() as db:
        bind_attempt(db, call_key, attempt_id="att_1")
    let_go(database, call_key, begun)
    assert start(database, call_key).attempt_id == "att_1"
    last = start(database, call_key, now=LATER)
    assert last.attempt_id == "att_1"
    end(database, call_key, last)
    assert start(database, call_key).attempt_id == "att_1"


def test_a_begin_that_is_rolled_back_leaves_nothing(database: Database, call_key: CallKey) -> None:
    with database.write() as db:
        begin(db, call_key, body_hash="hash", now=START)
        db.rollback()
    assert start(database, call_key, body="another").replay is None


def test_the_same_word_elsewhere_is_another_key(database: Database, call_key: CallKey, cast: Cast) -> None:
    end(database, call_key, start(database, call_key))
    for other in (
        replace(call_key, scope=Scope(cast.stranger.project_id, Mode.TEST)),
        replace(call_key, scope=Scope(cast.project_id, Mode.LIVE)),
        replace(call_key, endpoint="POST /v1/usage/consume"),
        replace(call_key, key="KEY-1"),
        replace(call_key, key="key-1 "),
    ):
        begun = start(database, other, body="other")
        assert begun.replay is None
        let_go(database, other, begun)
        with database.write() as db:
            bind_attempt(db, other, attempt_id="att_other")
    assert start(database, call_key).replay == DONE
    assert start(database, call_key).attempt_id is None


@pytest.mark.parametrize("state", ["new", "freed", "lapsed"])
def test_of_twenty_racing_calls_one_runs(database: Database, call_key: CallKey, state: str) -> None:
    racers = 20
    if state != "new":
        begun = start(database, call_key)
        if state == "freed":
            let_go(database, call_key, begun)
    line = threading.Barrier(racers)

    def race(_: int) -> str:
        line.wait(20)
        try:
            return start(database, call_key, now=LATER).holder
        except IdempotencyInProgress:
            return "waits"

    with ThreadPoolExecutor(racers) as pool:
        results = list(pool.map(race, range(racers)))
    assert results.count("waits") == racers - 1
    assert row(database, call_key).holder == next(result for result in results if result != "waits")


def test_racing_calls_of_many_keys_each_run_once(database: Database, call_key: CallKey) -> None:
    scopes = [replace(call_key, key=f"key-{number % 5}") for number in range(20)]

    def race(each: CallKey) -> bool:
        try:
            return start(database, each).replay is None
        except IdempotencyInProgress:
            return False

    with ThreadPoolExecutor(10) as pool:
        assert sum(pool.map(race, scopes)) == 5


def test_keys_of_checkouts_are_forgotten_one_day_and_those_of_consumption_never(
    database: Database, call_key: CallKey
) -> None:
    checkout = replace(call_key, endpoint=CHECKOUT)
    kept = [replace(call_key, endpoint="usage/consume"), replace(call_key, endpoint="usage/reserve")]
    for each in (checkout, *kept):
        end(database, each, start(database, each))
    for after, forgotten in ((timedelta(hours=24), 0), (KEPT, 1), (timedelta(days=4000), 0)):
        with database.write() as db:
            assert forget_old(db, now=START + after) == forgotten
    assert start(database, checkout).replay is None
    for each in kept:
        assert start(database, each, now=START + timedelta(days=4000)).replay == DONE
