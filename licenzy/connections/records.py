"""What the verbs on connections share: the row to write, its audit entry, a refused paste remembered."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session

from licenzy.connections import queries, rules
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.kit.ids import new_id
from licenzy.observations.actions import note_sighting
from licenzy.observations.models import Noticed
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


def connection_for_writing(db: Session, scope: Scope, *, now: datetime) -> Connection:
    """The connection of this side, made when there is none yet."""
    connection = queries.connection_of(db, scope)
    if connection is None:
        connection = Connection(
            id=new_id("con"), project_id=scope.project_id, mode=scope.mode, created_at=now, updated_at=now
        )
        db.add(connection)
        db.flush()
    return connection


def note_refused(
    database: Database, scope: Scope, refused: rules.CredentialRefused, *, now: datetime
) -> None:
    """Remember that something else was pasted, in a unit of work that the refusal does not undo."""
    if refused.reason in rules.NOTHING_PASTED:
        return
    with database.write() as db:
        note_sighting(
            db, scope, kind=Noticed.CREDENTIAL_REFUSED, about=refused.reason, detail=refused.field, now=now
        )


def audit_view(connection: Connection) -> dict[str, str | None]:
    """What the audit log may tell of a connection; secrets masked."""
    return {
        "provider": connection.provider.value,
        "stripe_key": connection.key_masked,
        "account_id": connection.account_id,
        "webhook_secret": connection.webhook_secret_masked,
        "webhook_endpoint_id": connection.webhook_endpoint_id,
    }


def record_change(
    db: Session,
    connection: Connection,
    action: str,
    *,
    actor: Actor,
    before: dict[str, str | None],
    now: datetime,
) -> None:
    """Add a change of the connection to the audit log."""
    record(
        db,
        actor=actor,
        action=action,
        project_id=connection.project_id,
        mode=connection.mode,
        about=connection.id,
        before=before,
        after=audit_view(connection),
        now=now,
    )
    db.flush()
