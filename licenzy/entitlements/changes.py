"""What of an entitlement's row people and endpoints see change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from licenzy.entitlements.events import Change
from licenzy.kit.clock import rfc3339

_SHOWN = (
    "product_code",
    "terms_version",
    "features",
    "limits",
    "adds",
    "quantity",
    "state",
    "reason",
    "valid_until",
    "granted_units",
    "cancel_at",
    "canceled_at",
)


def change_of(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> list[Change]:
    """The change between two rows of an entitlement, where people or endpoints see any."""
    then, now = _shown(before), _shown(after)
    return [] if then == now else [{"entitlement": after["id"], "before": then, "after": now}]


def _shown(row: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if row is None:
        return None
    shown = {name: row[name] for name in _SHOWN}
    return {name: rfc3339(each) if isinstance(each, datetime) else each for name, each in shown.items()}
