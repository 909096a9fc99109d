"""The units that the default product includes: everybody's who has no subscription, time pass or grant.

They come in windows of the calendar, in UTC. Nothing is written for who only asks. The first call that draws
them writes one row, the source of which is `default`: it is no entitlement, and holds the windows that were
opened. The present terms apply, so that the row of earlier ones is fitted to them before it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, select

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import default_product
from licenzy.entitlements.actions import give_purchase
from licenzy.entitlements.decision import hides_default, only_entitlements
from licenzy.entitlements.models import DEFAULT, Entitlement, State, UsageWindow
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import entitlements_and_overrides_of
from licenzy.entitlements.window_counters import granted, own_spent
from licenzy.entitlements.windows import FOR_GOOD, Steps, UnitWindows, Window, included_of, whole_seconds
from licenzy.kit.clock import EPOCH, from_unix
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.usage.default_terms import DefaultUnits
from licenzy.usage.grants import WindowGrant, is_due, window_grants
from licenzy.usage.window_queries import open_windows_of, window_grants_of, windows_as_of

_FIRST_MONDAY = 4 * 86_400
"""1970-01-05, from which weeks are counted; days and months are from 1970-01-01."""


def default_units(db: Session, scope: Scope) -> DefaultUnits | None:
    """What the default product of the side includes; None where there is none, or it includes nothing."""
    product = default_product(db, scope)
    return _of_product(product) if product is not None and product.included else None


def _of_product(product: Product) -> DefaultUnits:
    return DefaultUnits(product.product_code, product.terms_version, product.included)


def purchase_key(subject_id: str) -> str:
    """The lock under which the row of a subject is written."""
    return f"default:{subject_id}"


def is_hidden(owned: Iterable[Entitlement], now: datetime) -> bool:
    """Whether something of what a subject has takes the place of the default product."""
    return any(hides_default(each, now) for each in only_entitlements(list(owned)))


def row_of(owned: Iterable[Entitlement]) -> Entitlement | None:
    """The row that holds the subject's windows, once a call has drawn them."""
    return next((each for each in owned if each.source == DEFAULT), None)


def needs_opening(default: DefaultUnits, row: Entitlement | None, now: datetime) -> bool:
    """Whether the row or a window of it is written before a call at `now` draws these units."""
    return row is None or not default.is_of(row) or is_due(row, now)


def grants_with_default(
    db: Session, scope: Scope, owned: Sequence[Entitlement], *, now: datetime
) -> list[WindowGrant]:
    """The windows of all that a subject has, those of the default product included unless it is hidden.

    `owned` is everything of one subject, or empty for a subject that nobody knows. Nothing is written.
    """
    grants = window_grants_of(db, scope, only_entitlements(owned), now=now)
    default = default_units(db, scope)
    if default is None or is_hidden(owned, now):
        return grants
    row = row_of(owned)
    if row is None:
        return [*grants, *window_grants([_new_row(scope, "", default, now)], {}, now)]
    rows = open_windows_of(db, scope, holder_id=[row.id])
    windows_as_of(db, scope, rows, [row], now=now)
    if not default.is_of(row):
        row = Entitlement(**row.model_dump() | _terms(default) | {"windows_due_at": now})
        copies = [UsageWindow(**each.model_dump()) for each in rows]
        rows = [each for each in copies if _fits(row, each, now)]
    return [*grants, *window_grants([row], {row.id: rows}, now)]


def hold_row(
    db: Session, scope: Scope, purchase: LockedPurchase, *, subject_id: str, now: datetime
) -> Entitlement | None:
    """The subject's row, written by the present terms; None where it draws none of these units now.

    `purchase` is the one of `purchase_key`, locked. Windows are fitted by `fit_windows` once they are locked.
    """
    default = default_units(db, scope)
    owned = entitlements_and_overrides_of(db, scope, subject_id=subject_id)
    if default is None or is_hidden(owned, now):
        return None
    row = row_of(owned)
    if row is None:
        if purchase.subject_id is None:
            give_purchase(db, purchase, subject_id=subject_id)
        row = _new_row(scope, subject_id, default, now)
        db.add(row)
    elif not default.is_of(row):
        for name, value in _terms(default).items():
            setattr(row, name, value)
        row.windows_due_at, row.updated_at = now, now
    db.flush()
    return row


def fit_windows(
    db: Session, row: Entitlement, open_rows: Sequence[UsageWindow], now: datetime
) -> list[UsageWindow]:
    """Give the locked open windows of a row their present sizes; those that stay open.

    One that is no window of the present terms is closed. Where its time was counted before by the steps that
    are in force again, the window of then is opened again.
    """
    kept: list[UsageWindow] = []
    for each in open_rows:
        if _fits(row, each, now):
            kept.append(each)
            continue
        each.spent_at_end = own_spent(each)
        db.flush()
        earlier = _closed_window(db, row, each.unit, now)
        if earlier is not None:
            earlier.spent_at_end = None
            _fits(row, earlier, now)
            kept.append(earlier)
    return kept


def _closed_window(db: Session, row: Entitlement, unit: str, now: datetime) -> UsageWindow | None:
    """The present window of a unit, where it was opened and closed before."""
    present = _present(row, unit, now)
    if present is None:
        return None
    found = db.exec(
        select(UsageWindow)
        .where(
            UsageWindow.project_id == row.project_id,
            UsageWindow.mode == row.mode,
            UsageWindow.entitlement_id == row.id,
            UsageWindow.unit == unit,
        )
        .with_for_update()
    ).all()
    return next((each for each in found if whole_seconds(each.starts_at) == present.starts_at), None)


def _fits(row: Entitlement, window: UsageWindow, now: datetime) -> bool:
    """Give an open window its present size; False where the present terms have another window instead."""
    present = _present(row, window.unit, now)
    if present is None:
        window.granted_units = granted(0, window)
        return True
    start = whole_seconds(window.starts_at)
    same = next((each for each in included_of(row.included) if each.unit == window.unit), None)
    sized = same.sized(start) if same is not None else None
    if sized is None or (present.starts_at != start and sized.ends_at != whole_seconds(window.ends_at)):
        return False
    window.granted_units = granted(sized.units, window)
    window.ends_at = from_unix(sized.ends_at)
    return True


def _present(row: Entitlement, unit: str, now: datetime) -> Window | None:
    found = (each for each in included_of(row.included) if each.unit == unit)
    return next((each.at(whole_seconds(now)).present for each in found), None)


def _new_row(scope: Scope, subject_id: str, default: DefaultUnits, now: datetime) -> Entitlement:
    return Entitlement(
        id=new_id("ent"),
        project_id=scope.project_id,
        mode=scope.mode,
        subject_id=subject_id,
        purchase_key=purchase_key(subject_id),
        kind=Kind.FREE,
        source=DEFAULT,
        state=State.ACTIVE,
        # A call that was read before this row was written draws it, too.
        starts_at=EPOCH,
        windows_due_at=now,
        created_at=now,
        updated_at=now,
        **_terms(default),
    )


def _terms(default: DefaultUnits) -> dict[str, Any]:
    return {
        "product_code": default.product_code,
        "terms_version": default.terms_version,
        "included": [_windows(line).to_json() for line in default.lines],
    }


def _windows(line: Mapping[str, Any]) -> UnitWindows:
    """The windows of a line: the calendar's days, weeks from Monday, or months, for good."""
    anchor = _FIRST_MONDAY if line["every"] == "week" else 0
    steps = Steps(line["every"], anchor, FOR_GOOD, line["units"], 0)
    return UnitWindows(line["unit"], line.get("low_units"), (steps.window(0),), steps)
