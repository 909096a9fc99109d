"""Signing in and out: sessions and refusals, on both databases."""

from __future__ import annotations

import pytest
from sqlmodel import select

from licenzy.db.unit_of_work import Database
from licenzy.errors import NotFound
from licenzy.workspace import actions, queries, rules
from licenzy.workspace.actions import Actor
from licenzy.workspace.models import User
from licenzy.workspace.passwords import Passwords
from licenzy.workspace.sign_in_models import SignInSession
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import START, StandingClock
from tests.workspace.people import HASHER, actions_recorded, sign_in


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


def test_a_password_that_is_changed_meanwhile_opens_nothing(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    """The old one was right when it was looked at; the change has ended the sessions opened with it."""

    class Overtaken(Passwords):
        def matches(self, stored: str | None, password: str) -> bool:
            right = super().matches(stored, password)
            actions.reset_password(
                database,
                actor=Actor(),
                email="owner@example.com",
                password="an entirely new one",
                hasher=HASHER,
                now=clock.advance(seconds=1),
            )
            return right

    with pytest.raises(actions.SignInRefused):
        sign_in(database, "owner@example.com", hasher=Overtaken(cheap=True))
    with database.read() as db:
        assert queries.sessions_of(db, user_id=cast.owner.user_id, now=clock()) == []


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


def test_sessions_used_at_the_same_moment_list_the_newest_first(database: Database, cast: Cast) -> None:
    for _ in range(5):
        sign_in(database, "owner@example.com")
    with database.read() as db:
        listed = [each.id for each in queries.sessions_of(db, user_id=cast.owner.user_id, now=START)]
    assert len(listed) == 5
    assert listed == sorted(listed, reverse=True)


def test_nobody_ends_the_session_of_another(database: Database, cast: Cast) -> None:
    sign_in(database, "owner@example.com")
    with database.write() as db:
        session = queries.sessions_of(db, user_id=cast.owner.user_id, now=START)[0]
        with pytest.raises(NotFound):
            actions.end_session(db, actor=Actor(cast.colleague.user_id), session_id=session.id, now=START)
    with database.read() as db:
        assert len(queries.sessions_of(db, user_id=cast.owner.user_id, now=START)) == 1
