"""Many consumes of one Postgres transaction: exact with others at the same rows, and not held up by them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import func, select

from licenzy.api_keys.rules import presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.consume import Answered, ConsumeRequest
from licenzy.hotpath.consumer import Committer, make_committer
from licenzy.hotpath.postgres_batches import PostgresBatches
from licenzy.settings import Settings
from licenzy.usage.models import LedgerRow
from tests.hotpath.process import SUBJECTS, request
from tests.support.cast import Cast
from tests.support.ports import wait_until
from tests.support.threads import join, somebody_waits
from tests.usage.buying import Customer, customer_with

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@pytest.fixture
def customers(database: Database, cast: Cast) -> list[Customer]:
    made = [customer_with(database, cast, ref=f"user_{number}") for number in range(SUBJECTS)]
    for each in made:
        for _ in range(3):
            each.buys(1_000_000)
    return made


@pytest.fixture
def committer(database: Database) -> Committer:
    return make_committer(database, prepares=True)


@contextmanager
def row_locked(url: str, customer: Customer) -> Iterator[None]:
    """A third party has a pack of the customer's locked."""
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM entitlements WHERE subject_id = %s FOR UPDATE", [customer.subject.id])
        yield
        other.rollback()


def asked(customer: Customer, key: str, units: int = 1) -> ConsumeRequest:
    key_hash = presented_hash(customer.token)
    name = f"{key}-{time.monotonic_ns()}"
    return request(key_hash, name, subject=customer.subject.subject_ref, units=units, key=key)


def outcome(committer: Committer, request: ConsumeRequest, seconds: float = 5.0) -> Any:
    result = committer.run(request, ends_at=time.monotonic() + seconds)
    assert isinstance(result, Answered)
    return result


def used(database: Database) -> int:
    """What packs and ledger agree on."""
    with database.read() as db:
        packs = int(db.exec(select(func.sum(Entitlement.used_units))).one())
        assert int(db.exec(select(func.sum(LedgerRow.units))).one() or 0) == packs
    return packs


def test_two_processes_and_a_row_that_is_held(
    database: Database, settings: Settings, customers: list[Customer]
) -> None:
    """Calls on other rows are answered within a second, no deadlock reaches a caller, and all is exact."""
    seconds, key_hash = 8, presented_hash(customers[0].token)
    with row_locked(settings.database_url, customers[3]):
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.hotpath.process",
                    settings.database_url,
                    key_hash,
                    name,
                    "7",
                    str(seconds),
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            for name in ("one", "two")
        ]
        heard = [
            json.loads(line) for each in processes for line in each.communicate(timeout=60)[0].splitlines()
        ]
    assert [each.returncode for each in processes] == [0, 0]
    held = customers[3].subject.subject_ref
    there, elsewhere = ([each for each in heard if (each[1] == held) is here] for here in (True, False))
    assert {each[3] for each in there} == {"unavailable"}
    assert max(each[4] for each in there) < 6
    assert "unavailable" not in {each[3] for each in elsewhere}
    slowest = sorted(each[4] for each in elsewhere)
    assert slowest[-1] < 1, slowest[-5:]
    assert len(elsewhere) > 200
    by_key: dict[str, set[str]] = {}
    for key, _subject, _units, came, _took in elsewhere:
        by_key.setdefault(key, set()).add(came)
    assert {len(answers) for answers in by_key.values()} == {1}, "each key was answered in one way"
    assert used(database) == sum(int(key.split(" ")[1]) for key in by_key)


def test_calls_on_a_row_that_was_held_are_done_when_it_is_free(
    database: Database, settings: Settings, committer: Committer, customers: list[Customer]
) -> None:
    told: list[Any] = []

    def call(number: int) -> None:
        told.append(outcome(committer, asked(customers[number % 2], f"k{number}")))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    with row_locked(settings.database_url, customers[0]), row_locked(settings.database_url, customers[1]):
        for thread in threads:
            thread.start()
        began = time.monotonic()
        assert outcome(committer, asked(customers[2], "free")).replayed is False
        assert time.monotonic() - began < 1
        assert told == []
    for thread in threads:
        thread.join()
    assert len(told) == 20
    assert used(database) == 21


def test_of_two_calls_with_one_key_the_second_is_given_the_first_ones_outcome(
    database: Database, settings: Settings, committer: Committer, customers: list[Customer]
) -> None:
    """Another process is storing the very key while the batch runs."""
    first = customers[0]
    with psycopg.connect(settings.database_url) as other:
        other.execute(
            "INSERT INTO idempotency_keys (project_id, mode, endpoint, key, body_hash, response_status,"
            " response_body, created_at)"
            " VALUES (%s, 'test', 'usage/consume', 'same', 'user_0 1', 200, 'first', 0)",
            [first.subject.project_id],
        )
        told: list[Any] = []
        calls = [
            threading.Thread(target=lambda one=one: told.append(outcome(committer, one)))
            for one in (asked(first, "same"), asked(customers[1], "other"))
        ]
        for call in calls:
            call.start()
        wait_until(lambda: somebody_waits(database), seconds=10, what="the batch waits for the key")
        other.commit()
    join(*calls, seconds=30)
    assert Counter(each.outcome.body == "first" for each in told) == {True: 1, False: 1}
    assert next(each for each in told if each.outcome.body == "first").replayed
    assert used(database) == 1


def test_a_call_that_fails_harms_no_other(
    database: Database, committer: Committer, customers: list[Customer]
) -> None:
    """A rendering that breaks is its caller's alone, however many share its batch."""
    import dataclasses

    def broken(*_decided: Any) -> Any:
        raise RuntimeError("a mistake of the door's")

    told: list[Any] = []

    def call(number: int) -> None:
        one = asked(customers[number % SUBJECTS], f"k{number}")
        try:
            told.append(outcome(committer, dataclasses.replace(one, render=broken) if number == 7 else one))
        except RuntimeError as error:
            told.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, RuntimeError) for each in told) == 1
    assert used(database) == 19


@pytest.mark.parametrize("at", ["FOR UPDATE", "INSERT INTO usage_ledger"])
def test_a_backend_that_is_killed_before_it_could_commit(
    database: Database,
    committer: Committer,
    customers: list[Customer],
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    """The batch goes over another connection, or its key tells that it was not done."""
    outcome(committer, asked(customers[0], "before"))
    real, kill = PostgresBatches._run, [True]

    def run(batches: PostgresBatches, connection: Any, statement: str, parameters: Any) -> Any:
        if kill[0] and at in statement:
            kill[0] = False
            with database.engine.connect() as other:
                pid = connection.info.backend_pid
                other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        return real(batches, connection, statement, parameters)

    monkeypatch.setattr(PostgresBatches, "_run", run)
    with suppress(DatabaseUnavailable):
        outcome(committer, asked(customers[0], "k"))
    assert not kill[0]
    outcome(committer, asked(customers[0], "k"))
    assert used(database) == 2


def test_a_commit_whose_answer_is_lost_is_told_by_its_key(
    database: Database, committer: Committer, customers: list[Customer]
) -> None:
    outcome(committer, asked(customers[0], "before"))
    with database.write() as db:
        db.execute(
            text(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_sleep(1); RETURN NULL; END $$"
            )
        )
        db.execute(
            text(
                "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON idempotency_keys DEFERRABLE"
                " INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.key = 'slow') EXECUTE FUNCTION slow()"
            )
        )
    with pytest.raises(DatabaseUnavailable):
        outcome(committer, asked(customers[0], "slow"), seconds=0.3)
    again = outcome(committer, asked(customers[0], "slow"))
    assert used(database) == 2
    assert outcome(committer, asked(customers[0], "slow")).outcome == again.outcome


@pytest.mark.parametrize("code", ["40P01", "40001"])
def test_what_had_to_give_way_is_done_anew(
    database: Database,
    committer: Committer,
    customers: list[Customer],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    real, failures = PostgresBatches._run, iter([True] * 3)

    def run(batches: PostgresBatches, connection: Any, statement: str, parameters: Any) -> Any:
        if "INSERT INTO usage_ledger" in statement and next(failures, False):
            fails = f"DO $$ BEGIN RAISE EXCEPTION 'injected' USING ERRCODE = '{code}'; END $$"
            return connection.execute(fails)
        return real(batches, connection, statement, parameters)

    monkeypatch.setattr(PostgresBatches, "_run", run)
    assert not outcome(committer, asked(customers[0], "k")).replayed
    assert used(database) == 1


def test_closing_leaves_neither_threads_nor_connections(
    database: Database,
    settings: Settings,
    committer: Committer,
    customers: list[Customer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []
    real = PostgresBatches._connected

    def connected(batches: PostgresBatches) -> Any:
        connection = real(batches)
        opened.append(connection)
        return connection

    monkeypatch.setattr(PostgresBatches, "_connected", connected)
    with row_locked(settings.database_url, customers[0]):
        with pytest.raises(DatabaseUnavailable):
            outcome(committer, asked(customers[0], "held"), seconds=0.4)
        outcome(committer, asked(customers[1], "free"))
    assert len({id(each) for each in opened}) == 2
    database.close()
    assert not [each for each in threading.enumerate() if each.name.startswith("committer")]
    assert all(each.closed for each in opened)
