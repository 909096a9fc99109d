"""Replacing a key by another one: both work for a while, and exactly one thing is recorded."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pytest
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys import actions, queries
from licenzy.api_keys.models import ApiKey, KeyScope
from licenzy.api_keys.rules import last_moment, presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.clock import LAST_INSTANT
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_key
from tests.support.clock import START, StandingClock
from tests.support.threads import run_in_overlapping_transactions

DAY = timedelta(days=1)


@pytest.fixture
def scope(cast: Cast) -> Scope:
    return Scope(cast.project_id, Mode.TEST)


def rotate(
    database: Database, scope: Scope, key: ApiKey, clock: StandingClock, *, overlap: timedelta = DAY
) -> actions.Rotation:
    with database.write() as db:
        return actions.rotate_key(
            db, scope, key_id=key.id, overlap=overlap, actor=Actor("usr_x", "192.0.2.1"), now=clock()
        )


def made(database: Database, scope: Scope, **columns: Any) -> ApiKey:
    with database.write() as db:
        return make_key(db, project_id=scope.project_id, **columns)[0]


def test_the_successor_has_the_name_the_scopes_and_the_lifetime(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    old = made(database, scope, name="backend", scopes="read audit", expires_at=START + 30 * DAY)
    clock.advance(days=10)
    rotated = rotate(database, scope, old, clock)
    with database.read() as db:
        before, after = (queries.key(db, scope, key_id=each.id) for each in (rotated.old, rotated.new))
    assert (after.name, after.scopes, after.expires_at) == ("backend", "read audit", START + 40 * DAY)
    assert after.key_hash == presented_hash(rotated.token)
    assert (before.replaced_by, before.expires_at) == (after.id, START + 11 * DAY)
    assert before.revoked_at is None


@pytest.mark.parametrize(
    ("expires_at", "overlap", "ends_at"),
    [
        (None, timedelta(0), START),
        (None, 7 * DAY, START + 7 * DAY),
        (START + DAY, 7 * DAY, START + DAY),
        (START + 9 * DAY, 7 * DAY, START + 7 * DAY),
    ],
)
def test_the_old_key_ends_with_the_overlap_or_before(
    database: Database, scope: Scope, clock: StandingClock, expires_at: Any, overlap: timedelta, ends_at: Any
) -> None:
    old = made(database, scope, expires_at=expires_at)
    assert rotate(database, scope, old, clock, overlap=overlap).old.expires_at == ends_at


def test_a_rotation_is_one_line_of_the_audit_log_without_any_key(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    old = made(database, scope)
    rotated = rotate(database, scope, old, clock)
    with database.read() as db:
        (entry,) = db.exec(select(AuditEntry)).all()
    assert (entry.action, entry.about, entry.actor_user_id) == ("api_key.rotated", old.id, "usr_x")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["expires_at"], entry.after["replaced_by"]) == (None, rotated.new.id)
    assert rotated.token not in repr(entry)
    assert rotated.token[8:-4] not in repr(entry)


def test_an_ended_and_a_replaced_key_are_not_rotated(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    replaced = rotate(database, scope, made(database, scope), clock).old
    ended = [made(database, scope, revoked_at=START), made(database, scope, expires_at=START), replaced]
    for key in ended:
        with pytest.raises(InvalidRequest):
            rotate(database, scope, key, clock)
    with database.read() as db:
        assert len(queries.keys(db, scope)) == 4


def test_a_key_without_a_last_year_is_replaced_by_such_a_key(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    old = made(database, scope, expires_at=last_moment(date.max))
    clock.advance(days=1)
    assert rotate(database, scope, old, clock).new.expires_at == LAST_INSTANT


def test_of_two_who_revoke_a_key_at_once_one_is_recorded(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    key = made(database, scope)

    def revoke(db: Session) -> object:
        return actions.revoke_key(db, scope, key_id=key.id, actor=Actor("usr_x"), now=clock())

    run_in_overlapping_transactions(database, revoke, revoke)
    with database.read() as db:
        assert list(db.exec(select(AuditEntry.action))) == ["api_key.revoked"]


def test_of_rotations_at_the_same_time_one_makes_a_key(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    old = made(database, scope)

    def attempt(_number: int) -> bool:
        try:
            rotate(database, scope, old, clock)
        except InvalidRequest:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(attempt, range(4))) == [False, False, False, True]
    with database.read() as db:
        assert len(queries.keys(db, scope)) == 2
        rows = db.exec(select(AuditEntry).where(col(AuditEntry.action) == "api_key.rotated")).all()
    assert len(rows) == 1


def test_a_key_that_is_revoked_twice_at_once_is_revoked_by_the_first(
    database: Database, scope: Scope, clock: StandingClock
) -> None:
    key = made(database, scope)

    def revoke(number: int) -> None:
        with database.write() as db:
            now = START + number * DAY
            actions.revoke_key(db, scope, key_id=key.id, actor=Actor(f"usr_{number}"), now=now)
            time.sleep(0.05)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(revoke, range(3)))
    with database.read() as db:
        [row] = db.exec(select(AuditEntry).where(col(AuditEntry.action) == "api_key.revoked")).all()
        revoked_at = queries.key(db, scope, key_id=key.id).revoked_at
    assert revoked_at == row.at


def test_a_key_of_elsewhere_is_not_found(
    database: Database, scope: Scope, cast: Cast, clock: StandingClock
) -> None:
    old = made(database, scope)
    for elsewhere in (Scope(cast.project_id, Mode.LIVE), Scope(cast.stranger.project_id, Mode.TEST)):
        with pytest.raises(NotFound):
            rotate(database, elsewhere, old, clock)


@pytest.mark.parametrize("words", [[], ["write"], ["runtime", "admin"], [""]])
def test_unknown_scopes_are_refused(
    database: Database, scope: Scope, clock: StandingClock, words: list[str]
) -> None:
    with database.write() as db, pytest.raises(InvalidRequest) as refused:
        actions.create_key(db, scope, name="k", scopes=words, created_by=None, now=clock())
    assert set(refused.value.fields) == {"scopes"}


def test_scopes_are_kept_in_one_order(database: Database, scope: Scope, clock: StandingClock) -> None:
    with database.write() as db:
        words = [KeyScope.AUDIT, KeyScope.READ, KeyScope.AUDIT]
        key, _ = actions.create_key(db, scope, name="k", scopes=words, created_by=None, now=clock())
    assert key.scopes == "read audit"
