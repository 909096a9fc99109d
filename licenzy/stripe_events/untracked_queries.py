"""Reads of what was bought past Licenzy."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ColumnElement, true
from sqlmodel import Session, and_, col, or_, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.db.paging import NEWEST, Page, Place, read_page
from licenzy.db.reads import read_first
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UntrackedCheckout


class Shown(StrEnum):
    """Which of them a list shows."""

    WAITING = "waiting"
    ADOPTED = "adopted"
    ENDED = "ended"
    """Subscriptions that ended before anybody adopted them."""


class PurchaseKind(StrEnum):
    """What they are."""

    SUBSCRIPTION = "subscription"
    ONE_TIME = "one_time"


def are_waiting(scope: Scope) -> tuple[ColumnElement[bool], ...]:
    """Conditions: what somebody still has to decide on."""
    return (
        col(UntrackedCheckout.project_id) == scope.project_id,
        col(UntrackedCheckout.mode) == scope.mode,
        col(UntrackedCheckout.adopted_at).is_(None),
        col(UntrackedCheckout.ended_at).is_(None),
        col(UntrackedCheckout.listed) == true(),
    )


def untracked_page(
    db: Session,
    scope: Scope,
    *,
    shown: Shown = Shown.WAITING,
    kind: PurchaseKind | None = None,
    search: str = "",
    place: Place = NEWEST,
) -> Page[UntrackedCheckout]:
    """What was bought past Licenzy on one side; the last kept first.

    `search` is a part of the e-mail address or reference, however it is cased, or the whole id of a session,
    subscription or customer of Stripe's.
    """
    row = UntrackedCheckout
    statement = select(row)
    if shown is Shown.WAITING:
        statement = statement.where(*are_waiting(scope))
    else:
        statement = statement.where(row.project_id == scope.project_id, row.mode == scope.mode)
        is_adopted = col(row.adopted_at).is_not(None)
        is_over = and_(col(row.adopted_at).is_(None), col(row.ended_at).is_not(None))
        statement = statement.where(is_adopted if shown is Shown.ADOPTED else is_over)
    if kind is not None:
        recurring = col(row.recurring)
        statement = statement.where(recurring if kind is PurchaseKind.SUBSCRIPTION else ~recurring)
    if search:
        named = (col(row.session_id), col(row.purchase_key), col(row.customer))
        statement = statement.where(
            or_(
                col(row.email).icontains(search, autoescape=True),
                col(row.reference).icontains(search, autoescape=True),
                *(column == search for column in named),
            )
        )
    return read_page(db, statement, col(row.id), place)


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
