"""Reading API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import Select, SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKey, ApiKeyRefusal
from licenzy.api_keys.rules import REFUSALS_KEPT
from licenzy.connections.models import Connection
from licenzy.db.reads import read_all, read_first
from licenzy.errors import NotFound
from licenzy.projects.scope import Scope


@read_all
def keys(scope: Scope) -> SelectOfScalar[ApiKey]:
    """All keys of the project and mode, newest first, revoked ones included."""
    return (
        select(ApiKey)
        .where(ApiKey.project_id == scope.project_id, ApiKey.mode == scope.mode)
        .order_by(col(ApiKey.created_at).desc(), col(ApiKey.id).desc())
    )


def key(db: Session, scope: Scope, *, key_id: str, for_update: bool = False) -> ApiKey:
    """One key. Raises NotFound, also for a key of another project or of the other mode."""
    statement = select(ApiKey).where(
        ApiKey.project_id == scope.project_id, ApiKey.mode == scope.mode, ApiKey.id == key_id
    )
    if for_update:
        statement = statement.with_for_update().execution_options(populate_existing=True)
    found = db.exec(statement).first()
    if found is None:
        raise NotFound("This API key does not exist in this mode.")
    return found


def scope_of_key(db: Session, *, key_id: str) -> Scope:
    """The side of a key, for the command line, which works for all of them. Raises NotFound."""
    found = db.get(ApiKey, key_id)
    if found is None:
        raise NotFound("There is no API key with this ID.")
    return Scope(found.project_id, found.mode)


@read_all
def refusals(scope: Scope, *, key_id: str) -> SelectOfScalar[ApiKeyRefusal]:
    """The refused calls of a key that are kept, newest first."""
    return (
        select(ApiKeyRefusal)
        .where(
            ApiKeyRefusal.project_id == scope.project_id,
            ApiKeyRefusal.mode == scope.mode,
            ApiKeyRefusal.key_id == key_id,
        )
        .order_by(col(ApiKeyRefusal.request_id).desc())
        .limit(REFUSALS_KEPT)
    )


@read_first
def refusal_of_request(scope: Scope, *, request_id: str) -> SelectOfScalar[ApiKeyRefusal]:
    """The refused call with this request id, whichever key it had."""
    return select(ApiKeyRefusal).where(
        ApiKeyRefusal.project_id == scope.project_id,
        ApiKeyRefusal.mode == scope.mode,
        ApiKeyRefusal.request_id == request_id,
    )


class PresentedKey(NamedTuple):
    """What authentication knows of a key: its side and how far its clock is ahead, and how long it lives."""

    id: str
    project_id: str
    mode: Mode
    revoked_at: datetime | None
    expires_at: datetime | None
    scopes: str
    clock_offset_seconds: int | None

    @property
    def scope(self) -> Scope:
        """The side that the key stands for."""
        return Scope(self.project_id, self.mode, timedelta(seconds=self.clock_offset_seconds or 0))


def presented_key(db: Session, *, key_hash: str) -> PresentedKey | None:
    """The key with this hash, whatever its project, mode or state: only authentication asks so."""
    found = _presented(db, key_hash=key_hash)
    if found is None:
        return None
    key, offset = found
    return PresentedKey(key.id, key.project_id, key.mode, key.revoked_at, key.expires_at, key.scopes, offset)


@read_first
def _presented(*, key_hash: str) -> Select[ApiKey, int]:
    return (
        select(ApiKey, Connection.clock_offset_seconds)
        .outerjoin(
            Connection,
            and_(
                col(Connection.project_id) == col(ApiKey.project_id),
                col(Connection.mode) == col(ApiKey.mode),
            ),
        )
        .where(ApiKey.key_hash == key_hash)
    )


def key_by_hash(db: Session, key_hash: str) -> ApiKey | None:
    """The key with this hash, whatever its project, mode or state: only authentication asks so."""
    return db.exec(select(ApiKey).where(ApiKey.key_hash == key_hash)).first()
