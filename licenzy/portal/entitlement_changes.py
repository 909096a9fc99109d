"""What changed of entitlements, readable: before and after, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.portal.formatting import instant
from licenzy.portal.limit_text import limit_text


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field; none where there was, or is, nothing."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class EntitlementChange:
    """One entitlement with the fields that differ."""

    entitlement_id: str
    product_code: str | None
    is_new: bool
    differences: list[FieldChange]


def readable_changes(changes: Iterable[Mapping[str, Any]]) -> list[EntitlementChange]:
    """Each changed entitlement in turn, with only those fields that differ."""
    return [_changed(change) for change in changes]


def _changed(change: Mapping[str, Any]) -> EntitlementChange:
    before, after = change["before"] or {}, change["after"] or {}
    fields = [name for name in after if _display(before.get(name)) != _display(after[name])]
    return EntitlementChange(
        entitlement_id=change["entitlement"],
        product_code=after.get("product_code"),
        is_new=not change["before"],
        differences=[
            FieldChange(name.replace("_", " "), _display(before.get(name)), _display(after[name]))
            for name in fields
        ],
    )


def _display(value: Any) -> str | None:
    if value is None or value in ([], {}):
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{code} {limit_text(limit)}" for code, limit in sorted(value.items()))
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    try:
        return instant(datetime.fromisoformat(text)) if text.endswith("Z") else text
    except ValueError:
        return text
