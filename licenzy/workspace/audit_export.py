"""Exporting the audit log: the act is recorded, then the entries are written line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlmodel import Session

from licenzy.kit.clock import rfc3339
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.audit_log import AuditFilter
from licenzy.workspace.audit_wording import in_words, kind_of_actor, who
from licenzy.workspace.models import AuditEntry
from licenzy.workspace.queries import names_of

COLUMNS = (
    "id",
    "at",
    "actor",
    "actor_user_id",
    "ip",
    "action",
    "in_words",
    "project_id",
    "mode",
    "about",
    "before",
    "after",
)
FORMATS = ("csv", "jsonl")
_NAMED_AT_ONCE = 500


def record_export(
    db: Session, *, actor: Actor, workspace_id: str, wanted: AuditFilter, format_: str, now: datetime
) -> None:
    """Note in the log who takes which of its entries away."""
    record(
        db,
        actor=actor,
        action="audit.exported",
        about=workspace_id,
        workspace_id=workspace_id,
        after={"format": format_, **described(wanted)},
        now=now,
    )


def described(wanted: AuditFilter) -> dict[str, Any]:
    """The filter as the log keeps it; what narrows nothing is left out."""
    filters = {
        "person": wanted.person,
        "actions": list(wanted.actions),
        "project_id": wanted.project_id,
        "mode": wanted.mode.value if wanted.mode is not None else None,
        "since": rfc3339(wanted.since) if wanted.since is not None else None,
        "until": rfc3339(wanted.until) if wanted.until is not None else None,
        "words": wanted.words,
    }
    return {name: value for name, value in filters.items() if value}


def as_json(entry: AuditEntry) -> dict[str, Any]:
    """One entry as programs get it."""
    return {
        "id": entry.id,
        "at": rfc3339(entry.at),
        "actor": {"type": kind_of_actor(entry), "user_id": entry.actor_user_id, "ip": entry.ip},
        "action": entry.action,
        "project_id": entry.project_id,
        "mode": entry.mode.value if entry.mode is not None else None,
        "about": entry.about,
        "before": entry.before,
        "after": entry.after,
    }


def json_lines(entries: Iterable[AuditEntry]) -> Iterator[str]:
    """One object a line."""
    for entry in entries:
        yield json.dumps(as_json(entry), ensure_ascii=False) + "\n"


def csv_lines(db: Session, entries: Iterable[AuditEntry]) -> Iterator[Sequence[object]]:
    """The entries in the columns of COLUMNS."""
    rest = iter(entries)
    while part := list(islice(rest, _NAMED_AT_ONCE)):
        names = names_of(db, user_ids={each.actor_user_id for each in part if each.actor_user_id is not None})
        for entry in part:
            yield (
                entry.id,
                rfc3339(entry.at),
                who(entry, names),
                entry.actor_user_id,
                entry.ip,
                entry.action,
                in_words(entry.action),
                entry.project_id,
                entry.mode,
                entry.about,
                _json(entry.before),
                _json(entry.after),
            )


def _json(value: dict[str, Any] | None) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False)
