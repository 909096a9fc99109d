"""What a call to consume may draw, as rows of the hot path's statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import DEFAULT

_CODE_AT, _KIND_AT, _WINDOW_AT = 11, 12, 16
"""Where the columns of a grant have its product and kind, and where those of its window begin."""
_PACK_KIND = Kind.USAGE_PACK.value


@dataclass(slots=True)
class PackRow:
    """A pack or a window as it was read and locked: a `usage.rules.Grant`. What is taken of it is added here.

    A window has the state of the entitlement that holds it.
    """

    id: str
    """The entitlement whose pack it is, or for which the window was opened."""
    state: str
    reason: str | None
    starts_at: int
    """Instants are microseconds since 1970, as they are stored."""
    ends_at: int | None
    ends_as: str | None
    created_at: int
    granted_units: int
    used_units: int
    reserved_units: int
    unit: str
    product_code: str
    kind: str = Kind.USAGE_PACK
    window_starts_at: int | None = None
    window_ends_at: int | None = None
    is_default: bool = False
    """Whether it is a window of the default product's."""
    voided_at: None = None
    features: Sequence[str] = ()


@dataclass(slots=True)
class HolderRow:
    """An entitlement that is no pack, a `decision.OwnedEntitlement`: it tells whether windows are due.

    Those that include no units are read where the default product does, which they may hide.
    """

    state: str
    reason: str | None
    starts_at: int
    ends_at: int | None
    ends_as: str | None
    product_code: str
    kind: str
    windows_due_at: int | None
    source: str
    terms_version: int | None
    features: Sequence[str] = ()
    granted_units: int = 0
    used_units: int = 0
    reserved_units: int = 0
    voided_at: None = None

    def is_due(self, now: int) -> bool:
        """Whether a window is opened before a call at `now` is decided."""
        due_at = self.windows_due_at
        return due_at is not None and due_at <= now and standing(self, now).available

    @property
    def is_default(self) -> bool:
        """Whether it is the row of the default product's windows, and no entitlement."""
        return self.source == DEFAULT


class Grants:
    """What a subject may draw, as rows of packs and windows tell it."""

    def __init__(self) -> None:
        self.rows: list[PackRow] = []
        self.holders: dict[str, HolderRow] = {}

    def add(self, row: Sequence[Any]) -> None:
        """One row: a pack, or another entitlement with one of its windows or none."""
        if row[_KIND_AT] == _PACK_KIND:
            self.rows.append(PackRow(*row[:_KIND_AT]))
            return
        holder, state, reason, starts_at, ends_at, ends_as = row[:6]
        if holder not in self.holders:
            self.holders[holder] = HolderRow(
                state, reason, starts_at, ends_at, ends_as, *row[_CODE_AT:_WINDOW_AT]
            )
        entitlement_id, window_start, window_end, unit, granted, used, reserved = row[_WINDOW_AT:]
        if entitlement_id is not None:
            self.rows.append(
                PackRow(
                    id=entitlement_id,
                    state=state,
                    reason=reason,
                    starts_at=starts_at,
                    ends_at=ends_at,
                    ends_as=ends_as,
                    created_at=window_start,
                    granted_units=granted,
                    used_units=used,
                    reserved_units=reserved,
                    unit=unit,
                    product_code=row[_CODE_AT],
                    kind=row[_KIND_AT],
                    window_starts_at=window_start,
                    window_ends_at=window_end,
                    is_default=self.holders[holder].is_default,
                )
            )
