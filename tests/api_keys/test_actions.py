from __future__ import annotations

import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys import actions, queries
from licenzy.api_keys.rules import presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest, NotFound
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast
from tests.support.clock import StandingClock


def test_a_key_is_found_by_its_hash_and_kept_as_hash_only(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    with database.write() as db:
        key, token = actions.create_key(
            db,
            Scope(cast.project_id, Mode.TEST),
            name=" backend ",
            created_by=cast.owner.user_id,
            ip="192.0.2.1",
            now=clock(),
        )
    with database.read() as db:
        found = queries.key_by_hash(db, presented_hash(token))
        assert found is not None
        assert (found.id, found.name, found.last_four) == (key.id, "backend", token[-4:])
        stored = repr([found.model_dump(), *(entry.model_dump() for entry in db.exec(select(AuditEntry)))])
    assert token not in stored
    assert token[8:-4] not in stored


def test_making_and_revoking_are_each_one_line_of_the_audit_log(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    actor = Actor(cast.owner.user_id, "192.0.2.1")
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        key, _ = actions.create_key(db, scope, name="k", created_by=cast.owner.user_id, now=clock())
    for _ in range(2):
        with database.write() as db:
            actions.revoke_key(db, scope, key_id=key.id, actor=actor, now=clock.advance(minutes=1))
    with database.read() as db:
        entries = db.exec(select(AuditEntry).order_by(col(AuditEntry.at))).all()
        revoked = queries.key(db, scope, key_id=key.id)
    assert [entry.action for entry in entries] == ["api_key.created", "api_key.revoked"]
    assert revoked.revoked_at == entries[1].at


def test_a_key_of_the_other_mode_or_another_project_is_not_found(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    with database.write() as db:
        key, _ = actions.create_key(
            db, Scope(cast.project_id, Mode.TEST), name="k", created_by=None, now=clock()
        )
    for project_id, mode in ((cast.project_id, Mode.LIVE), (cast.stranger.project_id, Mode.TEST)):
        with database.write() as db, pytest.raises(NotFound):
            actions.revoke_key(db, Scope(project_id, mode), key_id=key.id, actor=Actor(), now=clock())
        with database.read() as db:
            assert queries.keys(db, Scope(project_id, mode)) == []


def test_a_key_that_has_expired_already_is_not_made(
    database: Database, cast: Cast, clock: StandingClock
) -> None:
    with database.write() as db, pytest.raises(InvalidRequest):
        actions.create_key(
            db, Scope(cast.project_id, Mode.TEST), name="k", created_by=None, expires_at=clock(), now=clock()
        )


def test_use_is_noted(database: Database, cast: Cast, clock: StandingClock) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    with database.write() as db:
        key, _ = actions.create_key(db, scope, name="k", created_by=None, now=clock())
    with database.write() as db:
        actions.note_used(db, key_id=key.id, now=clock.advance(minutes=5))
    with database.read() as db:
        assert queries.key(db, scope, key_id=key.id).last_used_at == clock()
