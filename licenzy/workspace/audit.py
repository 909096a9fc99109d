"""The audit log: one row for each thing done, added and never changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert as postgres_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.db.reads import read_first
from licenzy.kit.ids import new_id
from licenzy.workspace.models import AuditEntry, AuditRepeat

REPEAT_AFTER = timedelta(hours=1)
"""How long something that can be made to happen again and again is not recorded once more."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, and from where. Without a user it is the command line, or a stranger."""

    user_id: str | None = None
    ip: str | None = None


def record(
    db: Session,
    *,
    actor: Actor,
    action: str,
    about: str,
    now: datetime,
    workspace_id: str | None = None,
    project_id: str | None = None,
    mode: Mode | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Add one row to the audit log. Secrets in `before` and `after` must be masked by the caller."""
    db.add(
        AuditEntry(
            id=new_id("aud"),
            at=now,
            actor_user_id=actor.user_id,
            ip=actor.ip,
            action=action,
            workspace_id=workspace_id,
            project_id=project_id,
            mode=mode,
            about=about,
            before=before,
            after=after,
        )
    )
    db.flush()


def is_repeat(db: Session, *, action: str, about: str, now: datetime) -> bool:
    """Whether the same was recorded less than REPEAT_AFTER ago, by whatever process.

    Whoever is refused may try again as often as they like. So that they cannot fill the database, a kind
    of refusal is recorded once an hour for what it is `about`, and repeating it costs this look alone.
    """
    until = _repeated_until(db, key=_repeat_key(action, about))
    return until is not None and now < until


def begins_repeat(db: Session, *, action: str, about: str, now: datetime) -> bool:
    """Whether it is to be recorded now: exactly one of those who ask at the same time is told so."""
    on_sqlite = db.get_bind().dialect.name == "sqlite"
    insert = sqlite_insert if on_sqlite else postgres_insert
    statement = insert(AuditRepeat).values(key=_repeat_key(action, about), until=now + REPEAT_AFTER)
    begun = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"until": statement.excluded.until},
        where=col(AuditRepeat.until) <= now,
    ).returning(col(AuditRepeat.key))
    if db.execute(begun).first() is None:
        return False
    old = select(AuditRepeat.key).where(col(AuditRepeat.until) <= now).with_for_update(skip_locked=True)
    db.execute(delete(AuditRepeat).where(col(AuditRepeat.key).in_(old.limit(100))))
    return True


@read_first
def _repeated_until(*, key: str) -> SelectOfScalar[datetime]:
    return select(AuditRepeat.until).where(AuditRepeat.key == key)


def _repeat_key(action: str, about: str) -> str:
    return hashlib.sha256(f"{action} {about}".encode("utf-8", "surrogatepass")).hexdigest()
