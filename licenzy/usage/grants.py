"""What a subject may draw: its packs, and the windows of what its subscriptions include.

A window that is due is opened by the first call that draws (`usage.windows`). Whoever only shows or decides
computes it here, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import DEFAULT, Entitlement, State, UsageWindow
from licenzy.entitlements.window_counters import (
    Opening,
    due_window,
    granted,
    opening,
    own_spent,
    size_now,
)
from licenzy.entitlements.windows import UnitWindows, included_of, whole_seconds
from licenzy.kit.clock import from_unix


@dataclass(slots=True, eq=False)
class WindowGrant:
    """A window with the entitlement that it belongs to: a `rules.Grant`. Its counters are the row's."""

    entitlement: Entitlement
    window: UsageWindow
    voided_at: None = None

    @property
    def kind(self) -> Kind:
        return self.entitlement.kind

    @property
    def id(self) -> str:
        return self.window.entitlement_id

    @property
    def unit(self) -> str:
        return self.window.unit

    @property
    def created_at(self) -> datetime:
        return self.window.starts_at

    @property
    def window_starts_at(self) -> datetime:
        return self.window.starts_at

    @property
    def window_ends_at(self) -> datetime:
        return self.window.ends_at

    @property
    def granted_units(self) -> int:
        """All that it began with: its own units and those carried over, less what was overdrawn before."""
        return self.window.granted_units + self.window.carried_units - self.window.overdrawn_units

    @property
    def used_units(self) -> int:
        return self.window.used_units

    @property
    def reserved_units(self) -> int:
        return self.window.reserved_units

    @property
    def product_code(self) -> str:
        return self.entitlement.product_code

    @property
    def features(self) -> Sequence[str]:
        return self.entitlement.features

    @property
    def state(self) -> State:
        return self.entitlement.state

    @property
    def reason(self) -> str | None:
        return self.entitlement.reason

    @property
    def starts_at(self) -> datetime:
        return self.entitlement.starts_at

    @property
    def ends_at(self) -> datetime | None:
        return self.entitlement.ends_at

    @property
    def ends_as(self) -> str | None:
        return self.entitlement.ends_as


GrantRow = Entitlement | WindowGrant
"""A pack, or a window."""


class DueWindow(NamedTuple):
    """A window to be opened, and the rows of those that it closes."""

    entitlement: Entitlement
    unit: str
    opening: Opening
    closes: Sequence[UsageWindow]


def is_due(entitlement: Entitlement, now: datetime) -> bool:
    """Whether a call at `now` has to open a window of an entitlement before it draws."""
    due_at = entitlement.windows_due_at
    return due_at is not None and due_at <= now and standing(entitlement, now).available


def due_of(entitlement: Entitlement, open_rows: Sequence[UsageWindow], now: datetime) -> list[DueWindow]:
    """The windows of an entitlement that a call at `now` has to open before it draws."""
    if not is_due(entitlement, now):
        return []
    found = []
    for included in included_of(entitlement.included):
        rows = [row for row in open_rows if row.unit == included.unit]
        last = max(rows, key=lambda row: row.starts_at, default=None)
        opens = due_window(included, last, now)
        if opens is not None:
            if entitlement.source == DEFAULT:
                # An edit that lowers what everybody has takes nothing off the windows that follow it.
                opens = opens._replace(overdrawn_units=0)
            found.append(DueWindow(entitlement, included.unit, opens, rows))
    return found


def opened_row(due: DueWindow, now: datetime) -> UsageWindow:
    """The row of a window as it is when it is opened at `now`."""
    window, entitlement = due.opening.window, due.entitlement
    own = max(window.units, due.opening.overdrawn_units - due.opening.carried_units)
    return UsageWindow(
        project_id=entitlement.project_id,
        mode=entitlement.mode,
        entitlement_id=entitlement.id,
        unit=due.unit,
        starts_at=from_unix(window.starts_at),
        ends_at=from_unix(window.ends_at),
        subject_id=entitlement.subject_id,
        holder_id=entitlement.id,
        granted_units=own,
        carried_units=due.opening.carried_units,
        overdrawn_units=due.opening.overdrawn_units,
        opened_at=now,
    )


def window_grants(
    owned: Iterable[Entitlement], open_rows: Mapping[str, Sequence[UsageWindow]], now: datetime
) -> list[WindowGrant]:
    """The windows that are usable at `now`, those that are due as they will be opened.

    `open_rows` are those that were opened, by the entitlement that holds them.
    """
    found: list[WindowGrant] = []
    for entitlement in owned:
        rows = open_rows.get(entitlement.id, ())
        due = due_of(entitlement, rows, now)
        closed = {id(row) for each in due for row in each.closes}
        found += [WindowGrant(entitlement, row) for row in rows if id(row) not in closed]
        found += [WindowGrant(entitlement, opened_row(each, now)) for each in due]
    return found


def fit_to_counters(
    changed: UsageWindow, open_rows: Sequence[UsageWindow], holders: Sequence[Entitlement]
) -> None:
    """Size a window anew once units were given back to it.

    What stayed granted beyond its size only because it was set aside goes. Of a window that is closed, what
    came back carries over as if it had never been taken, into the window that follows if that is still open.
    """
    if changed.spent_at_end is None:
        _fit(changed, _included(changed, holders))
        return
    spent = own_spent(changed)
    for row in open_rows:
        if row.holder_id != changed.holder_id or row.unit != changed.unit or row.spent_at_end is not None:
            continue
        included, begun = _included(row, holders), whole_seconds(changed.starts_at)
        if included is None:
            continue
        start = whole_seconds(row.starts_at)
        window, before = included.sized(start), included.before(start)
        follows = included.is_later(start, begun) and not any(included.between(begun, start))
        if window is not None and before is not None and follows:
            row.carried_units = max(row.carried_units, opening(window, before, spent).carried_units)
            _fit(row, included)
    changed.spent_at_end = spent


def _fit(row: UsageWindow, included: UnitWindows | None) -> None:
    size = size_now(included, row)
    if size is not None:
        row.granted_units = granted(size, row)


def _included(row: UsageWindow, holders: Sequence[Entitlement]) -> UnitWindows | None:
    holder = next((each for each in holders if each.id == row.holder_id), None)
    included = included_of(holder.included if holder is not None else None)
    return next((each for each in included if each.unit == row.unit), None)


class Included(NamedTuple):
    """What is shown of one unit that an entitlement includes."""

    unit: str
    granted: int
    """What the present window began with, without what was carried into it."""
    remaining: int
    carried: int
    """Unused units of the window before, as many as were carried over."""
    used: int
    reserved: int
    starts_at: datetime
    renews_at: datetime | None
    """When the next window begins; None while none is paid for."""


def shown_included(grants: Iterable[WindowGrant], now: datetime) -> dict[str, list[Included]]:
    """The present windows of entitlements, by entitlement."""
    found: dict[str, list[Included]] = {}
    for each in sorted(grants, key=lambda grant: (grant.unit, grant.window_starts_at)):
        row = each.window
        available = standing(each, now).available
        left = each.granted_units - row.used_units - row.reserved_units if available else 0
        found.setdefault(each.entitlement.id, []).append(
            Included(
                each.unit,
                row.granted_units,
                max(0, left),
                row.carried_units,
                row.used_units,
                row.reserved_units,
                row.starts_at,
                row.ends_at if row.ends_at > now else None,
            )
        )
    return found
