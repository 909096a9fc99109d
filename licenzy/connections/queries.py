"""Reading Stripe connections."""

from __future__ import annotations

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.facts import ConnectionFacts
from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection
from licenzy.connections.rules import facts_of
from licenzy.db.reads import read_first


@read_first
def connection_of(*, project_id: str, mode: Mode) -> SelectOfScalar[Connection]:
    """The project's connection in this mode; none before a key or a secret was first saved."""
    return select(Connection).where(Connection.project_id == project_id, Connection.mode == mode)


def connection_facts(db: Session, *, project_id: str, mode: Mode) -> ConnectionFacts | None:
    """The connection of this side without its secrets, as rules see it."""
    found = connection_of(db, project_id=project_id, mode=mode)
    return None if found is None else facts_of(found)


@read_first
def connection_by_id(*, connection_id: str) -> SelectOfScalar[Connection]:
    """The connection that an address names. For the webhook door only, which knows no project yet."""
    return select(Connection).where(Connection.id == connection_id)


def connections_for_tenant_webhook(
    db: Session, *, mode: Mode, project_id: str | None, most: int
) -> list[Connection]:
    """The connections whose secret may have signed an event that names no connection, `most` at the most.

    For the webhook door only, which knows no project yet; `project_id` narrows it where the body names one.
    """
    statement = select(Connection).where(
        Connection.mode == mode, col(Connection.webhook_secret_sealed).is_not(None)
    )
    if project_id is not None:
        statement = statement.where(Connection.project_id == project_id)
    return list(
        db.exec(statement.order_by(col(Connection.created_at).desc(), col(Connection.id).desc()).limit(most))
    )


def connected(db: Session, *, project_id: str | None) -> list[Connection]:
    """Every connection with a key, of one project or of all; for the command line, which sees them all."""
    statement = select(Connection).where(col(Connection.key_sealed).is_not(None))
    if project_id is not None:
        statement = statement.where(Connection.project_id == project_id)
    return list(db.exec(statement.order_by(col(Connection.created_at), col(Connection.id))))
