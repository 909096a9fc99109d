"""Guessing passwords is slow, and keeps nobody else out; on both databases."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.workspace import actions, rules
from licenzy.workspace.actions import Actor
from licenzy.workspace.models import AuditEntry, AuditRepeat
from licenzy.workspace.passwords import Passwords
from licenzy.workspace.sign_in_models import PasswordTries, SignInSession
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.support.sizes import sizes
from tests.workspace.people import HASHER, device_of, guess, session_of, sign_in

MINUTE = timedelta(minutes=1)
STRANGERS = [f"192.0.2.{number}" for number in range(100)]


class NeverAsked(Passwords):
    def matches(self, stored: str | None, password: str) -> bool:
        raise AssertionError("the password was looked at")


def entries(database: Database, action: str) -> list[AuditEntry]:
    with database.read() as db:
        found = db.exec(select(AuditEntry).where(AuditEntry.action == action).order_by(col(AuditEntry.id)))
        return list(found)


def test_a_try_past_the_limit_is_refused_before_any_hashing_with_the_time_to_wait(
    database: Database, cast: Cast
) -> None:
    assert guess(database, *STRANGERS[:7]) == ["invalid_request"] * 5 + ["rate_limited"] * 2
    later = START + timedelta(seconds=18)
    with pytest.raises(actions.TooManyTries) as refusal:
        sign_in(database, "owner@example.com", hasher=NeverAsked(cheap=True), now=later)
    assert refusal.value.retry_after == 42
    assert refusal.value.hint == "Try again in 42 seconds."
    assert refusal.value.account


def test_waiting_as_long_as_told_is_enough_however_much_others_guess_on(
    database: Database, cast: Cast
) -> None:
    guess(database, *STRANGERS)
    for second in range(60):
        assert guess(database, STRANGERS[second], now=START + timedelta(seconds=second)) == ["rate_limited"]
    sign_in(database, "owner@example.com", ip="203.0.113.9", now=START + MINUTE)


def test_a_known_device_is_let_in_whatever_strangers_do(database: Database, cast: Cast) -> None:
    known = device_of(database, cast.owner.user_id)
    guess(database, *STRANGERS, *["198.51.100.7"] * 100)
    for _ in range(30):
        sign_in(database, "owner@example.com", ip="198.51.100.7", known=known)
        sign_in(database, "owner@example.com", ip=STRANGERS[0], known=known)
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", ip="198.51.100.7")


def test_a_stolen_device_cookie_is_worth_few_guesses_and_its_owner_waits_a_minute_at_the_most(
    database: Database, cast: Cast
) -> None:
    stolen = device_of(database, cast.owner.user_id)
    outcomes = guess(database, *["203.0.113.66"] * 30, known=stolen)
    assert outcomes == ["invalid_request"] * 25 + ["rate_limited"] * 5
    with pytest.raises(actions.TooManyTries) as refusal:
        sign_in(database, "owner@example.com", known=stolen)
    assert refusal.value.retry_after == 60
    sign_in(database, "owner@example.com", known=stolen, now=START + MINUTE)
    other = device_of(database, cast.owner.user_id)
    sign_in(database, "owner@example.com", known=other)


def test_a_known_device_is_none_for_another_account_another_password_or_after_a_year(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    known = device_of(database, cast.owner.user_id)
    guess(database, *STRANGERS)
    guess(database, *STRANGERS, email="colleague@example.com")
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "colleague@example.com", known=known)
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", known=replace(known, stamp="x" * 32))
    actions.reset_password(
        database,
        actor=Actor(),
        email="owner@example.com",
        password="an entirely new one",
        hasher=HASHER,
        now=START,
    )
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", "an entirely new one", known=known)
    known, late = device_of(database, cast.owner.user_id), START + rules.DEVICE_LIFE
    guess(database, *STRANGERS, now=late)
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", "an entirely new one", known=known, now=late)


def test_wrong_tries_on_unknown_names_do_not_count_against_colleagues(database: Database, cast: Cast) -> None:
    for number in range(50):
        assert guess(database, "198.51.100.7", email=f"nobody{number}@example.com") == ["invalid_request"]
    sign_in(database, "owner@example.com", ip="198.51.100.7")
    sign_in(database, "colleague@example.com", ip="198.51.100.7")


def test_a_busy_address_keeps_a_new_device_waiting_for_seconds_and_a_known_one_not_at_all(
    database: Database, cast: Cast
) -> None:
    names = itertools.count()

    def spray(now: datetime) -> None:
        while guess(database, "198.51.100.7", email=f"n{next(names)}@example.com", now=now) == [
            "invalid_request"
        ]:
            continue

    waited = []
    for second in range(0, 60, 5):
        now = START + timedelta(seconds=second)
        spray(now)
        with pytest.raises(actions.TooManyTries) as refusal:
            sign_in(database, "owner@example.com", ip="198.51.100.7", now=now)
        assert not refusal.value.account
        waited.append(refusal.value.retry_after or 0)
        sign_in(database, "owner@example.com", now=now, known=device_of(database, cast.owner.user_id))
        sign_in(database, "owner@example.com", ip="203.0.113.9", now=now)
    assert max(waited) <= 20
    assert next(names) <= 130


def test_unknown_accounts_are_throttled_exactly_like_known_ones(database: Database, cast: Cast) -> None:
    def tried(email: str) -> list[tuple[str, object]]:
        outcomes: list[tuple[str, object]] = []
        for number in range(12):
            now = START + timedelta(seconds=13 * number)
            try:
                sign_in(database, email, "not the password", now=now)
            except (InvalidRequest, actions.TooManyTries) as refused:
                outcomes.append((f"{refused.message} {refused.hint}", refused.retry_after))
        return outcomes

    sign_in(database, "owner@example.com")  # That somebody signs in there makes no difference, either.
    assert tried("owner@example.com") == tried("nobody@example.com")


def test_right_passwords_use_up_nothing(database: Database, cast: Cast) -> None:
    for number in range(25):
        sign_in(database, "owner@example.com", ip=f"203.0.113.{number % 3}")
    with database.read() as db:
        assert [row.tries for row in db.exec(select(PasswordTries))] == [[]] * 4


def test_a_right_password_does_not_forget_the_wrong_ones(database: Database, cast: Cast) -> None:
    guess(database, *STRANGERS[:4])
    sign_in(database, "owner@example.com")
    assert guess(database, *STRANGERS[:2]) == ["invalid_request", "rate_limited"]


def test_giving_the_password_once_more_is_counted_for_the_session_alone(
    database: Database, cast: Cast
) -> None:
    here, there = (session_of(database, sign_in(database, "owner@example.com")) for _ in range(2))
    guess(database, *STRANGERS, *["198.51.100.7"] * 200)

    def confirm(session_id: str, password: str, **changes: Any) -> None:
        given: dict[str, Any] = {"hasher": HASHER, "now": START, **changes}
        actor = Actor(cast.owner.user_id, "198.51.100.7")
        actions.confirm_password(database, actor=actor, session_id=session_id, password=password, **given)

    confirm(here.session_id, PASSWORD)
    for _ in range(20):
        with pytest.raises(InvalidRequest):
            confirm(here.session_id, "wrong")
    with pytest.raises(actions.TooManyTries) as refusal:
        confirm(here.session_id, PASSWORD, hasher=NeverAsked(cheap=True))
    assert refusal.value.retry_after == 60
    confirm(there.session_id, PASSWORD)
    confirm(here.session_id, PASSWORD, now=START + MINUTE)
    assert len(entries(database, "password.throttled")) == 1
    # And guessing there does not help, or harm, who signs in.
    sign_in(database, "owner@example.com", now=START + MINUTE)


def test_parallel_tries_do_not_slip_past_the_limit(database: Database, cast: Cast) -> None:
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def run() -> None:
        start.wait()
        for _ in range(5):
            outcomes.extend(guess(database, "192.0.2.1"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("invalid_request") == 5
    assert outcomes.count("rate_limited") == 35
    assert len(entries(database, "sign_in.throttled")) == 1


def test_throttled_tries_are_one_row_for_each_account_network_and_hour(
    database: Database, cast: Cast
) -> None:
    guess(database, *STRANGERS[:6])
    rows = entries(database, "sign_in.throttled")
    assert [(row.about, row.ip, row.actor_user_id, row.after) for row in rows] == [
        ("owner@example.com", STRANGERS[5], cast.owner.user_id, {"limit": "account"})
    ]
    guess(database, *STRANGERS)
    assert len(entries(database, "sign_in.throttled")) == 1
    guess(database, *STRANGERS, email="colleague@example.com")
    assert len(entries(database, "sign_in.throttled")) == 2
    guess(database, *STRANGERS[:10], now=START + timedelta(hours=1))
    assert len(entries(database, "sign_in.throttled")) == 3
    for number in range(70):
        guess(database, "198.51.100.7", email=f"nobody{number}@example.com")
    row = entries(database, "sign_in.throttled")[-1]
    assert (row.about, row.after) == ("198.51.100.7", {"limit": "address"})
    with database.read() as db:
        everything = [each.model_dump() for each in db.exec(select(AuditEntry))]
    assert "not the password" not in str(everything)


def test_what_no_longer_counts_is_thrown_away(database: Database, cast: Cast) -> None:
    guess(database, *STRANGERS, *["198.51.100.7"] * 70)
    later = START + timedelta(days=2)
    guess(database, *STRANGERS[:6], now=later)
    with database.read() as db:
        assert {row.forget_at > later for row in db.exec(select(PasswordTries))} == {True}
        assert len(db.exec(select(PasswordTries)).all()) == 1 + 5
        assert len(db.exec(select(AuditRepeat)).all()) == 1


@pytest.mark.slow
@sizes("guesses", sqlite=(10_000,), postgres=(2_000,))
def test_of_thousands_of_guesses_by_several_processes_60_an_hour_are_looked_at(
    database: Database, database_url: str, cast: Cast, guesses: int
) -> None:
    """From 100 addresses within an hour, by two processes: their limits are in the database alone."""
    known, workers = device_of(database, cast.owner.user_id), 2
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.workspace.guessing", database_url]
            + [str(each) for each in (number, workers, guesses)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(workers)
    ]
    ends_at, signed_in = time.monotonic() + 180, 0
    while any(process.poll() is None for process in running) and time.monotonic() < ends_at:
        sign_in(database, "owner@example.com", ip="192.0.2.7", known=known, now=START + 30 * MINUTE)
        signed_in += 1
        time.sleep(0.1)
    looked_at = [int(process.communicate(timeout=10)[0]) for process in running]
    assert [process.returncode for process in running] == [0] * workers
    assert signed_in > 3
    assert 5 < sum(looked_at) <= 60
    tried = [row.at for row in entries(database, "sign_in.failed")]
    assert len(tried) == sum(looked_at)
    assert len(entries(database, "sign_in.throttled")) == 1
    last_guess = START + timedelta(hours=1)
    sign_in(database, "owner@example.com", ip="203.0.113.9", now=last_guess + MINUTE)
    with database.read() as db:
        assert len(db.exec(select(SignInSession)).all()) == signed_in + 1
