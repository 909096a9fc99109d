"""Reading API keys."""

from __future__ import annotations

from sqlalchemy import func
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKey
from licenzy.db.reads import read_all
from licenzy.errors import NotFound


@read_all
def keys(*, project_id: str, mode: Mode) -> SelectOfScalar[ApiKey]:
    """All keys of the project and mode, newest first, revoked ones included."""
    return (
        select(ApiKey)
        .where(ApiKey.project_id == project_id, ApiKey.mode == mode)
        .order_by(col(ApiKey.created_at).desc(), col(ApiKey.id).desc())
    )


def key(db: Session, *, project_id: str, mode: Mode, key_id: str) -> ApiKey:
    """One key. Raises NotFound, also for a key of another project or of the other mode."""
    found = db.exec(
        select(ApiKey).where(ApiKey.project_id == project_id, ApiKey.mode == mode, ApiKey.id == key_id)
    ).first()
    if found is None:
        raise NotFound("There is no such API key in this mode.")
    return found


def key_by_hash(db: Session, key_hash: str) -> ApiKey | None:
    """The key with this hash, whatever its project, mode or state: only authentication asks so."""
    return db.exec(select(ApiKey).where(ApiKey.key_hash == key_hash)).first()


def key_count(db: Session, *, project_id: str, mode: Mode) -> int:
    """How many keys of the project and mode are not revoked."""
    counted = select(func.count()).select_from(ApiKey)
    return db.exec(
        counted.where(ApiKey.project_id == project_id, ApiKey.mode == mode, col(ApiKey.revoked_at).is_(None))
    ).one()
