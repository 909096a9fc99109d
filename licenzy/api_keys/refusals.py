"""Keeping the refused calls of each key: the newest ones, without what callers sent."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import delete
from sqlmodel import Session, col, select

from licenzy.api_keys.models import ApiKeyRefusal
from licenzy.api_keys.rules import REFUSALS_KEPT
from licenzy.db.upsert import insert_or_change
from licenzy.projects.scope import Scope


class RefusedCall(NamedTuple):
    """One answer with an error body."""

    request_id: str
    at: datetime
    status: int
    code: str
    method: str
    path: str
    """The route, in which no customer is named."""


def keep_refusals(db: Session, scope: Scope, *, key_id: str, calls: Sequence[RefusedCall]) -> None:
    """Add these, and forget all but the newest of the key. Others may add some at the same time."""
    whose = {"project_id": scope.project_id, "mode": scope.mode, "key_id": key_id}
    insert_or_change(db, ApiKeyRefusal, *(whose | call._asdict() for call in calls), replaced=("at",))
    of_key: tuple[Any, ...] = (
        ApiKeyRefusal.project_id == scope.project_id,
        ApiKeyRefusal.mode == scope.mode,
        ApiKeyRefusal.key_id == key_id,
    )
    # Ids of requests rise with time, so that their order is that of the calls.
    ids = select(ApiKeyRefusal.request_id).where(*of_key)
    newest_first = ids.order_by(col(ApiKeyRefusal.request_id).desc())
    newest_too_old = newest_first.offset(REFUSALS_KEPT).limit(1).scalar_subquery()
    # What another process is just removing is left to it: nobody waits for the other.
    too_old = ids.where(col(ApiKeyRefusal.request_id) <= newest_too_old).with_for_update(skip_locked=True)
    db.execute(delete(ApiKeyRefusal).where(*of_key, col(ApiKeyRefusal.request_id).in_(too_old)))
