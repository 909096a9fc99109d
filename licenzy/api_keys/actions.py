"""Verbs on API keys."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import update
from sqlmodel import Session, col

from licenzy.api_keys import queries, rules
from licenzy.api_keys.models import ApiKey, KeyScope
from licenzy.errors import InvalidRequest
from licenzy.kit.clock import rfc3339
from licenzy.kit.ids import new_id
from licenzy.projects.queries import refuse_archived
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


def create_key(
    db: Session,
    scope: Scope,
    *,
    name: str,
    scopes: Iterable[str] = (KeyScope.RUNTIME,),
    created_by: str | None,
    expires_at: datetime | None = None,
    ip: str | None = None,
    now: datetime,
) -> tuple[ApiKey, str]:
    """Make a key. The second value is the key itself: show it once, it is stored nowhere.

    Raises InvalidRequest with `fields`, ProjectArchived and NotFound.
    """
    refuse_archived(db, project_id=scope.project_id)
    name, words = rules.checked_name(name), rules.checked_scopes(scopes)
    if expires_at is not None and expires_at <= now:
        raise InvalidRequest("The expiry date is in the past.", fields={"expires": "must be in the future"})
    key, token = _add_key(
        db, scope, name=name, scopes=words, created_by=created_by, expires_at=expires_at, now=now
    )
    record(
        db,
        actor=Actor(created_by, ip),
        action="api_key.created",
        project_id=scope.project_id,
        mode=scope.mode,
        about=key.id,
        after=_recorded(key),
        now=now,
    )
    return key, token


class Rotation(NamedTuple):
    """A key that was replaced, and what replaces it."""

    old: ApiKey
    new: ApiKey
    token: str
    """The new key itself: show it once, it is stored nowhere."""


def rotate_key(
    db: Session, scope: Scope, *, key_id: str, overlap: timedelta, actor: Actor, now: datetime
) -> Rotation:
    """Replace a key by one with the same name, scopes and lifetime. Both work until the overlap is over.

    An old key whose own end comes first keeps it. Raises NotFound, ProjectArchived, and InvalidRequest for a
    key that has ended or was replaced.
    """
    refuse_archived(db, project_id=scope.project_id)  # Before the key, as whoever archives locks them.
    old = queries.key(db, scope, key_id=key_id, for_update=True)
    if not rules.is_alive(old, now):
        raise InvalidRequest("This key has ended, so there is nothing to replace.", hint="Create a new key.")
    if old.replaced_by is not None:
        raise InvalidRequest(
            "This key was replaced already.",
            hint="Revoke it to end it now, or rotate the key that replaced it.",
        )
    before = _recorded(old)
    new, token = _add_key(
        db,
        scope,
        name=old.name,
        scopes=old.scopes,
        created_by=actor.user_id,
        expires_at=rules.successor_expires_at(old, now),
        now=now,
    )
    old.replaced_by, old.expires_at = new.id, rules.ends_after(old, overlap, now)
    db.add(old)
    db.flush()
    record(
        db,
        actor=actor,
        action="api_key.rotated",
        project_id=scope.project_id,
        mode=scope.mode,
        about=old.id,
        before=before,
        after={**_recorded(old), "replaced_by": new.id, "new_key": rules.masked(scope.mode, new.last_four)},
        now=now,
    )
    return Rotation(old, new, token)


def note_used(db: Session, *, key_id: str, now: datetime) -> None:
    """Remember that a key was used. Callers note it now and then, not on every call."""
    db.execute(update(ApiKey).where(col(ApiKey.id) == key_id).values(last_used_at=now))


def revoke_key(db: Session, scope: Scope, *, key_id: str, actor: Actor, now: datetime) -> ApiKey:
    """End a key for good; one that is revoked already stays as it is. Raises NotFound."""
    key = queries.key(db, scope, key_id=key_id, for_update=True)
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
        before=_recorded(key),
        now=now,
    )
    return key


def _add_key(
    db: Session,
    scope: Scope,
    *,
    name: str,
    scopes: str,
    created_by: str | None,
    expires_at: datetime | None,
    now: datetime,
) -> tuple[ApiKey, str]:
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
        scopes=scopes,
    )
    db.add(key)
    db.flush()
    return key, token


def _recorded(key: ApiKey) -> dict[str, str | None]:
    """What the audit log says of a key."""
    return {
        "name": key.name,
        "key": rules.masked(key.mode, key.last_four),
        "scopes": key.scopes,
        "expires_at": rfc3339(key.expires_at) if key.expires_at is not None else None,
    }
