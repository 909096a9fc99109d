"""The audit log: one row for each thing done, added and never changed, unless a customer is erased."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import column, delete, table
from sqlalchemy import select as sql_select
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

_PROJECTS = table("projects", column("id"), column("workspace_id"))
"""Named and not imported: projects build upon workspaces."""


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
    """Add one row to the audit log. Secrets in `before` and `after` must be masked by the caller.

    What is done in a project is noted for its workspace too, which outlives it.
    """
    if workspace_id is None and project_id is not None:
        workspace_id = db.scalar(sql_select(_PROJECTS.c.workspace_id).where(_PROJECTS.c.id == project_id))
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


def is_recorded(db: Session, *, action: str, key: str, now: datetime) -> bool:
    """Whether `record_once` would record nothing now; it only reads."""
    until = _recorded_until(db, key=_hashed(action, key))
    return until is not None and now < until


def record_once(
    db: Session, *, actor: Actor, action: str, key: str, about: str, now: datetime, **more: Any
) -> None:
    """`record` something that can be made to happen at will: once an hour for each `key`, by all processes.

    Whoever is refused may come again as often as they like, and must not fill the database by it. Exactly
    one of those who come at the same time is recorded. Where many come, ask `is_recorded` first.
    """
    on_sqlite = db.get_bind().dialect.name == "sqlite"
    insert = sqlite_insert if on_sqlite else postgres_insert
    statement = insert(AuditRepeat).values(key=_hashed(action, key), until=now + REPEAT_AFTER)
    begun = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"until": statement.excluded.until},
        where=col(AuditRepeat.until) <= now,
    ).returning(col(AuditRepeat.key))
    if db.execute(begun).first() is None:
        return
    record(db, actor=actor, action=action, about=about, now=now, **more)
    old = select(AuditRepeat.key).where(col(AuditRepeat.until) <= now).with_for_update(skip_locked=True)
    db.execute(delete(AuditRepeat).where(col(AuditRepeat.key).in_(old.limit(100))))


@read_first
def _recorded_until(*, key: str) -> SelectOfScalar[datetime]:
    return select(AuditRepeat.until).where(AuditRepeat.key == key)


def _hashed(action: str, key: str) -> str:
    return hashlib.sha256(f"{action} {key}".encode("utf-8", "surrogatepass")).hexdigest()
