"""What changed of entitlements, readable: before and after, field by field."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.portal.formatting import instant


@dataclass(frozen=True, slots=True)
class Difference:
    """One field; none where there was, or is, nothing."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Changed:
    """One entitlement with the fields that differ."""

    entitlement_id: str
    product_code: str | None
    is_new: bool
    differences: list[Difference]


def readable(changes: Iterable[Mapping[str, Any]]) -> list[Changed]:
    """Each changed entitlement in turn, with only those fields that differ."""
    return [_changed(change) for change in changes]


def _changed(change: Mapping[str, Any]) -> Changed:
    before, after = change["before"] or {}, change["after"] or {}
    fields = [name for name in after if before.get(name) != after[name]]
    return Changed(
        entitlement_id=change["entitlement"],
        product_code=after.get("product_code"),
        is_new=not change["before"],
        differences=[
            Difference(name.replace("_", " "), _spoken(before.get(name)), _spoken(after[name]))
            for name in fields
        ],
    )


def _spoken(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    try:
        return instant(datetime.fromisoformat(text)) if text.endswith("Z") else text
    except ValueError:
        return text
