"""The verb on windows of included units: open those that are due."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from licenzy.entitlements.actions import lock_purchase
from licenzy.entitlements.decision import only_entitlements
from licenzy.entitlements.models import Entitlement, UsageWindow
from licenzy.entitlements.window_counters import own_spent
from licenzy.entitlements.windows import included_of, whole_seconds
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import ensure_subject
from licenzy.usage.default_units import fit_windows, hold_row, purchase_key
from licenzy.usage.events import announce_granted
from licenzy.usage.grants import WindowGrant, due_of, is_due, opened_row
from licenzy.usage.window_queries import including, lock_windows


class WindowsDue(Exception):
    """A call has to wait until windows of its subject were opened, in a transaction before its own."""

    def __init__(self, subject_id: str | None) -> None:
        super().__init__(subject_id)
        self.subject_id = subject_id
        """None where they are of the default product: the subject may be new then."""


def require_open_windows(owned: Sequence[Entitlement], now: datetime) -> None:
    """Raises WindowsDue where windows of the entitlements of a subject are due at `now`."""
    for each in only_entitlements(owned):
        if is_due(each, now):
            raise WindowsDue(each.subject_id)


def open_windows(
    db: Session, scope: Scope, *, subject_id: str | None, subject_ref: str, now: datetime, called_at: datetime
) -> None:
    """Open what a call waits for: windows of a subject's, or without `subject_id` of the default product."""
    if subject_id is None:
        open_default_windows(db, scope, subject_ref=subject_ref, now=now, called_at=called_at)
    else:
        open_due_windows(db, scope, subject_id=subject_id, now=now, called_at=called_at)


def open_due_windows(
    db: Session, scope: Scope, *, subject_id: str, now: datetime, called_at: datetime
) -> None:
    """Open the subject's windows that are due at `now`, and close those before them.

    Whoever writes what a window is made of holds its purchase, and whoever draws it the window itself: both
    are locked, in this order. `called_at` is real time.
    """
    owned = only_entitlements(including(db, scope, subject_id=subject_id))
    keys = {each.purchase_key for each in owned if is_due(each, now)}
    for key in sorted(keys):
        lock_purchase(db, scope, key=key, now=called_at)
    # What their facts say, and whose they are, may have changed until their purchases were held.
    db.expire_all()
    locked = (each for each in including(db, scope, subject_id=subject_id) if each.purchase_key in keys)
    holders = [each for each in locked if is_due(each, now)]
    rows = lock_windows(db, scope, subject_id=subject_id)
    opened: list[WindowGrant] = []
    for entitlement in holders:
        theirs = [row for row in rows if row.holder_id == entitlement.id]
        opened += _open(db, entitlement, theirs, now)
    announce_granted(db, scope, opened=opened, called_at=called_at)


def open_default_windows(
    db: Session, scope: Scope, *, subject_ref: str, now: datetime, called_at: datetime
) -> None:
    """Open what the default product gives a subject now, which is made where it is new.

    Nobody is told of it: every subject has the default product, and only its use is news.
    """
    subject = ensure_subject(db, scope, subject_ref=subject_ref, now=called_at)
    purchase = lock_purchase(db, scope, key=purchase_key(subject.id), now=called_at)
    row = hold_row(db, scope, purchase, subject_id=subject.id, now=now)
    if row is None:
        return
    rows = lock_windows(db, scope, subject_id=subject.id)
    theirs = [each for each in rows if each.holder_id == row.id]
    _open(db, row, fit_windows(db, row, theirs, now), now)


def _open(
    db: Session, entitlement: Entitlement, open_rows: Sequence[UsageWindow], now: datetime
) -> list[WindowGrant]:
    """Open what is due of an entitlement whose purchase and open windows are locked."""
    opened: list[WindowGrant] = []
    theirs = list(open_rows)
    for due in due_of(entitlement, theirs, now):
        for row in due.closes:
            row.spent_at_end = own_spent(row)
        # Closed before the next one is there: of one unit at most one is open.
        db.flush()
        row = opened_row(due, now)
        db.add(row)
        opened.append(WindowGrant(entitlement, row))
        theirs = [each for each in theirs if each not in due.closes] + [row]
    entitlement.windows_due_at = _next_due(entitlement, theirs)
    db.flush()
    return opened


def _next_due(entitlement: Entitlement, open_rows: Sequence[UsageWindow]) -> datetime | None:
    begun = {row.unit: whole_seconds(row.starts_at) for row in open_rows}
    opens = (each.next_opening(begun.get(each.unit)) for each in included_of(entitlement.included))
    return min((from_unix(each) for each in opens if each is not None), default=None)
