"""Verbs on API keys."""

from __future__ import annotations

import secrets
from datetime import datetime

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.api_keys import queries, rules
from licenzy.api_keys.models import ApiKey
from licenzy.errors import InvalidRequest
from licenzy.kit.ids import new_id
from licenzy.projects.queries import refuse_archived
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


def create_key(
    db: Session,
    scope: Scope,
    *,
    name: str,
    created_by: str | None,
    expires_at: datetime | None = None,
    ip: str | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key. The second value is the key itself: show it once, it is stored nowhere.

    Raises InvalidRequest with `fields`, ProjectArchived and NotFound.
    """
    refuse_archived(db, project_id=scope.project_id)
    name = rules.checked_name(name)
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("The expiry date is in the past.", fields={"expires": "must be in the future"})
    token = rules.make_key(scope.mode, secrets.token_bytes(rules.SECRET_BYTES))
    key = ApiKey(
        id=new_id("key"),
        project_id=scope.project_id,
        mode=scope.mode,
        name=name,
        key_hash=rules.presented_hash(token),
        last_four=token[-4:],
        created_by=created_by,
        created_at=now,
        expires_at=expires_at,
    )
    db.add(key)
    db.flush()
    record(
        db,
        actor=Actor(created_by, ip),
        action="api_key.created",
        project_id=scope.project_id,
        mode=scope.mode,
        about=key.id,
        after={"name": name, "key": rules.masked(scope.mode, key.last_four)},
        now=now,
    )
    return key, token


def note_used(db: Session, *, key_id: str, now: datetime) -> None:
    """Remember that a key was used. Callers note it now and then, not on every call."""
    db.execute(update(ApiKey).where(col(ApiKey.id) == key_id).values(last_used_at=now))


def revoke_key(db: Session, scope: Scope, *, key_id: str, actor: Actor, now: datetime) -> ApiKey:
    """End a key for good; one that is revoked already stays as it is. Raises NotFound."""
    key = queries.key(db, scope, key_id=key_id)
    if key.revoked_at is not None:
        return key
    key.revoked_at = now
    db.add(key)
    db.flush()
    record(
        db,
        actor=actor,
        action="api_key.revoked",
        project_id=scope.project_id,
        mode=scope.mode,
        about=key.id,
        before={"name": key.name, "key": rules.masked(scope.mode, key.last_four)},
        now=now,
    )
    return key
