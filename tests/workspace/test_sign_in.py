"""Signing in and out: sessions, refusals and the limits on guessing, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.errors import NotFound
from licenzy.workspace import actions, queries, rules
from licenzy.workspace.actions import Actor
from licenzy.workspace.models import (
    SignInSession,
    SignInTries,
    User,
)
from licenzy.workspace.passwords import Passwords
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START
from tests.workspace.people import actions_recorded, fail_from, sign_in


def test_signing_in_opens_a_session_whose_token_is_not_stored(database: Database, cast: Cast) -> None:
    opened = sign_in(database, " OWNER@Example.com ")
    again = sign_in(database, "owner@example.com")
    assert opened.token != again.token
    assert len(opened.token) >= 32
    with database.read() as db:
        stored = db.exec(select(SignInSession.token_hash)).all()
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
        assert queries.signed_in_by_token(db, token=opened.token + "x", now=START) is None
    assert rules.token_hash(opened.token) in stored
    assert opened.token not in stored
    assert found is not None
    assert found.user_id == cast.owner.user_id


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("owner@example.com", "not the password"),
        ("owner@example.com", PASSWORD.upper()),
        ("owner@example.com", ""),
        ("nobody@example.com", PASSWORD),
        ("no address at all", PASSWORD),
        ("colleague@example.com", "\ud800 surrogate"),
    ],
)
def test_wrong_and_unknown_are_refused_alike(
    database: Database, cast: Cast, email: str, password: str
) -> None:
    with pytest.raises(actions.SignInRefused) as refusal:
        sign_in(database, email, password)
    assert (refusal.value.message, refusal.value.hint, refusal.value.fields) == (
        actions.SignInRefused.message,
        actions.SignInRefused.hint,
        {},
    )
    assert actions_recorded(database) == ["sign_in.failed"]


def test_an_unknown_address_costs_a_hash_too(database: Database, cast: Cast) -> None:
    class Counting(Passwords):
        looked_at: list[bool]

        def matches(self, stored: str | None, password: str) -> bool:
            self.looked_at.append(stored is not None)
            return super().matches(stored, password)

    hasher = Counting(cheap=True)
    hasher.looked_at = []
    for email in ("owner@example.com", "nobody@example.com"):
        with pytest.raises(actions.SignInRefused):
            sign_in(database, email, "not the password", hasher=hasher)
    assert hasher.looked_at == [True, False]


def test_a_disabled_person_neither_signs_in_nor_stays_in(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "colleague@example.com")
    with database.write() as db:
        db.get_one(User, cast.colleague.user_id).disabled_at = START
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
    with pytest.raises(actions.SignInRefused):
        sign_in(database, "colleague@example.com")


def test_hashes_are_argon2id_of_the_advised_size_and_older_ones_are_renewed(
    database: Database, cast: Cast
) -> None:
    assert Passwords().hash("x" * 8).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    with database.read() as db:
        before = db.get_one(User, cast.owner.user_id).password_hash
    sign_in(database, "owner@example.com", hasher=Passwords())
    with database.read() as db:
        after = db.get_one(User, cast.owner.user_id).password_hash
    assert not before.startswith("$argon2id$v=19$m=19456,")
    assert after.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


def test_one_address_may_fail_twenty_times_an_hour(database: Database, cast: Cast) -> None:
    outcomes = [
        *fail_from(database, *["192.0.2.1"] * 12),
        *fail_from(database, *["192.0.2.1"] * 10, email="colleague@example.com"),
    ]
    assert outcomes == ["invalid_request"] * 20 + ["rate_limited"] * 2
    with pytest.raises(actions.TooManyTries) as refusal:
        sign_in(database, "owner@example.com", ip="192.0.2.1")
    assert refusal.value.retry_after is not None
    assert 0 < refusal.value.retry_after <= 3601
    # From elsewhere, and here after the hour, the password is looked at again.
    sign_in(database, "owner@example.com", ip="192.0.2.2")
    sign_in(database, "owner@example.com", ip="192.0.2.1", now=START + timedelta(hours=1))


def test_one_account_may_be_guessed_at_twenty_times_a_day_from_anywhere(
    database: Database, cast: Cast
) -> None:
    sign_in(database, "owner@example.com", ip="198.51.100.7")
    addresses = [f"192.0.2.{number}" for number in range(100)]
    outcomes = fail_from(database, *addresses)
    assert outcomes.count("invalid_request") == 20
    assert outcomes[20:] == ["rate_limited"] * 80
    with pytest.raises(actions.TooManyTries):
        sign_in(database, "owner@example.com", ip="203.0.113.9")
    # The owner, where they have signed in before, is not locked out by strangers.
    sign_in(database, "owner@example.com", ip="198.51.100.7")


def test_right_passwords_use_up_nothing(database: Database, cast: Cast) -> None:
    for _ in range(25):
        sign_in(database, "owner@example.com", ip="192.0.2.1")
    with database.read() as db:
        assert set(db.exec(select(SignInTries.tries))) == {0}


def test_parallel_tries_do_not_slip_past_the_limit(database: Database, cast: Cast) -> None:
    start = threading.Barrier(8)
    outcomes: list[str] = []

    def run() -> None:
        start.wait()
        for _ in range(5):
            outcomes.extend(fail_from(database, "192.0.2.1"))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("invalid_request") == 20
    assert outcomes.count("rate_limited") == 20


def test_old_counters_are_thrown_away(database: Database, cast: Cast) -> None:
    fail_from(database, "192.0.2.1", "192.0.2.2")
    with pytest.raises(actions.SignInRefused):
        sign_in(database, "owner@example.com", "wrong", now=START + timedelta(days=2))
    with database.read() as db:
        assert len(db.exec(select(SignInTries)).all()) == 2


def test_signing_out_ends_the_session_on_the_server(database: Database, cast: Cast) -> None:
    opened = sign_in(database, "owner@example.com")
    other = sign_in(database, "owner@example.com")
    with database.write() as db:
        found = queries.signed_in_by_token(db, token=opened.token, now=START)
        assert found is not None
        actions.sign_out(db, actor=Actor(found.user_id), session_id=found.session_id, now=START)
    with database.read() as db:
        assert queries.signed_in_by_token(db, token=opened.token, now=START) is None
        assert queries.signed_in_by_token(db, token=other.token, now=START) is not None


def test_nobody_ends_the_session_of_another(database: Database, cast: Cast) -> None:
    sign_in(database, "owner@example.com")
    with database.write() as db:
        session = queries.sessions_of(db, user_id=cast.owner.user_id, now=START)[0]
        with pytest.raises(NotFound):
            actions.end_session(db, actor=Actor(cast.colleague.user_id), session_id=session.id, now=START)
    with database.read() as db:
        assert len(queries.sessions_of(db, user_id=cast.owner.user_id, now=START)) == 1
