"""Reading Stripe connections."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, exists
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.facts import ConnectionFacts
from licenzy.alignment.modes import Mode
from licenzy.connections.event_polls import fetch_facts
from licenzy.connections.models import Connection, Provider
from licenzy.connections.rules import facts_of
from licenzy.db.reads import read_first, read_row
from licenzy.db.upsert import table_of
from licenzy.projects.queries import is_there, is_worked_on
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Erasure

_CONNECTIONS = table_of(Connection).c


@read_first
def connection_of(scope: Scope) -> SelectOfScalar[Connection]:
    """The project's connection in this mode; none before a key or a secret was first saved."""
    return select(Connection).where(Connection.project_id == scope.project_id, Connection.mode == scope.mode)


def with_clock(db: Session, scope: Scope) -> Scope:
    """The same side with its clock as it was moved; with ours before it was connected."""
    found = connection_of(db, scope)
    return scope if found is None else found.scope


def connection_facts(db: Session, scope: Scope, *, has_trials: bool, base_url: str) -> ConnectionFacts | None:
    """The connection of this side without its secrets, as rules see it."""
    found = connection_of(db, scope)
    if found is None:
        return None
    return facts_of(found, has_trials=has_trials, fetch=fetch_facts(db, found, base_url=base_url))


@read_first
def connection_by_id(*, connection_id: str) -> SelectOfScalar[Connection]:
    """The connection with this id, of any project: for the worker, and for what comes in from Stripe."""
    return select(Connection).where(Connection.id == connection_id)


def account_of(db: Session, *, connection_id: str) -> str | None:
    """Stripe's id of the connection's account; None where its key may not read it."""
    row = _account_of(db, connection_id=connection_id)
    return row.account_id if row is not None else None


@read_row
def _account_of(*, connection_id: str) -> Select[Any]:
    return core_select(_CONNECTIONS.account_id).where(_CONNECTIONS.id == connection_id)


class Addressee(NamedTuple):
    """A connection as the webhook door needs it: whose events it takes, and what they are signed with."""

    id: str
    project_id: str
    mode: Mode
    provider: Provider
    proven_at: datetime | None
    webhook_secret_sealed: str | None
    previous_webhook_secret_sealed: str | None
    previous_webhook_secret_until: datetime | None
    has_erased: bool
    """Whether a customer of its side was erased."""


def addressee(db: Session, *, connection_id: str) -> Addressee | None:
    """The connection that an address names. For the webhook door only, which knows no project yet."""
    row = _addressee(db, connection_id=connection_id)
    return Addressee._make(row) if row is not None else None


@read_row
def _addressee(*, connection_id: str) -> Select[Any]:
    return _addressees().where(_CONNECTIONS.id == connection_id)


def _addressees() -> Select[Any]:
    erasures = table_of(Erasure).c
    has_erased = exists().where(
        erasures.project_id == _CONNECTIONS.project_id,
        erasures.mode == _CONNECTIONS.mode,
        erasures.subject_id > "",  # True of each, and has SQLite go by the whole key.
    )
    columns = (_CONNECTIONS[name] for name in Addressee._fields if name != "has_erased")
    return core_select(*columns, has_erased).where(is_there(_CONNECTIONS.project_id))


def addressees_at_tenant_webhook(
    db: Session, *, mode: Mode, project_id: str | None, most: int
) -> list[Addressee]:
    """The connections whose secret may have signed an event that names no connection, `most` at the most.

    For the webhook door only, which knows no project yet; `project_id` narrows it where the body names one.
    """
    statement = _addressees().where(
        _CONNECTIONS.mode == mode, _CONNECTIONS.webhook_secret_sealed.is_not(None)
    )
    if project_id is not None:
        statement = statement.where(_CONNECTIONS.project_id == project_id)
    newest = statement.order_by(_CONNECTIONS.created_at.desc(), _CONNECTIONS.id.desc())
    found = db.connection().execute(newest.limit(most))
    return [Addressee._make(row) for row in found]


def connected(db: Session, *, project_id: str | None) -> list[Connection]:
    """Every connection with a key, of one project or of all, archived ones left out; for the command line."""
    statement = select(Connection).where(
        col(Connection.key_sealed).is_not(None), is_worked_on(Connection.project_id)
    )
    if project_id is not None:
        statement = statement.where(Connection.project_id == project_id)
    return list(db.exec(statement.order_by(col(Connection.created_at), col(Connection.id))))
