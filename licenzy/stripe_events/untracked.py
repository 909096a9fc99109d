"""Untracked checkouts: completed sessions that Licenzy did not open, kept for an operator to adopt."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, or_, select, update
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_first
from licenzy.db.upsert import insert_unless_there
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_gateway.shapes import Reading


def keep_untracked(
    db: Session,
    scope: Scope,
    *,
    connection_id: str,
    reading: Reading,
    purchase_key: str,
    event_id: str,
    completed_at: datetime,
    now: datetime,
) -> bool:
    """Keep a completed session as an untracked checkout; False when another project sold it.

    A session that is told again only brings its payment status up to date.
    """
    data = reading.data
    if data["status"] != "complete" or data["project"] not in {None, scope.project_id}:
        return False
    row = {
        "id": new_id("unt"),
        "project_id": scope.project_id,
        "mode": scope.mode,
        "connection_id": connection_id,
        "session_id": reading.object_id,
        "purchase_key": purchase_key,
        "recurring": data["mode"] == "subscription",
        "payment_status": data["payment_status"],
        "amount_total": data["amount_total"],
        "currency": data["currency"],
        "customer": data["customer"],
        "email": data["email"],
        "reference": data["reference"],
        "event_id": event_id,
        "completed_at": completed_at,
        "kept_at": now,
    }
    if not insert_unless_there(db, UntrackedCheckout, row) and data["payment_status"] != "unpaid":
        db.exec(
            update(UntrackedCheckout)
            .where(
                col(UntrackedCheckout.project_id) == scope.project_id,
                col(UntrackedCheckout.mode) == scope.mode,
                col(UntrackedCheckout.session_id) == reading.object_id,
            )
            .values(payment_status=data["payment_status"])
        )
    return True


def untracked_page(
    db: Session, scope: Scope, *, adopted: bool = False, place: Place = NEWEST
) -> Page[UntrackedCheckout]:
    """The untracked checkouts of one side that wait for somebody, or those adopted; the last kept first."""
    at = col(UntrackedCheckout.adopted_at)
    statement = select(UntrackedCheckout).where(
        UntrackedCheckout.project_id == scope.project_id,
        UntrackedCheckout.mode == scope.mode,
        at.is_not(None) if adopted else at.is_(None),
    )
    return read_page(db, statement, col(UntrackedCheckout.id), place)


@read_first
def untracked_by_id(scope: Scope, *, untracked_id: str) -> SelectOfScalar[UntrackedCheckout]:
    """One untracked checkout, adopted or not."""
    return select(UntrackedCheckout).where(
        UntrackedCheckout.project_id == scope.project_id,
        UntrackedCheckout.mode == scope.mode,
        UntrackedCheckout.id == untracked_id,
    )


def untracked_of_event(db: Session, scope: Scope, *, object_id: str | None) -> UntrackedCheckout | None:
    """The untracked checkout that an event's object is, or whose subscription it is."""
    if object_id is None:
        return None
    return _untracked_about(db, scope, object_id=object_id)


@read_first
def _untracked_about(scope: Scope, *, object_id: str) -> SelectOfScalar[UntrackedCheckout]:
    return select(UntrackedCheckout).where(
        UntrackedCheckout.project_id == scope.project_id,
        UntrackedCheckout.mode == scope.mode,
        or_(UntrackedCheckout.session_id == object_id, UntrackedCheckout.purchase_key == object_id),
    )
