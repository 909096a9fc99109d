"""Whether a subject has so many units left: the access check that asks for units. Nothing is set aside."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import decide, without_overrides
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.windows import included_of
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.projects.queries import side_of
from licenzy.projects.scope import Scope
from licenzy.usage.access import UnitsWanted
from licenzy.usage.grants import GrantRow, WindowGrant
from licenzy.usage.queries import owned_by_ref
from licenzy.usage.rules import burning, named, total
from licenzy.usage.units import require_known_names
from licenzy.usage.window_queries import window_grants_of


class UnitsLeft(NamedTuple):
    """Whether the units are there, and how many are left."""

    allowed: bool
    reason: str | None
    """None when allowed; `insufficient_usage`, or why the entitlements with this unit give none."""
    unit: str
    remaining: int
    evidence: Entitlement | None
    """The first entitlement that a call would draw, or the nearest miss."""


def units_left(
    db: Session,
    scope: Scope,
    *,
    subject_ref: str,
    product_code: str | None,
    wanted: UnitsWanted,
    now: datetime,
) -> UnitsLeft:
    """The answer for one subject, as of `now`. Raises UnitNotFound and ProductNotFound."""
    side = side_of(db, scope) if wanted.unit is None else None
    unit = wanted.unit or (side.default_unit if side is not None else DEFAULT_UNIT)
    owned = owned_by_ref(db, scope, subject_ref=subject_ref, now=now)
    windows = window_grants_of(db, scope, owned, now=now)
    packs = [each for each in owned if each.kind is Kind.USAGE_PACK]
    grants: list[GrantRow] = named([*packs, *windows], unit, product_code)
    if not grants:
        require_known_names(db, scope, subject_ref=subject_ref, unit=wanted.unit, product_code=product_code)
    burns = burning(grants, now)
    left = total(burns)
    if left >= wanted.units:
        return UnitsLeft(True, None, unit, left, _entitlement(burns[0]))
    if burns:
        return UnitsLeft(False, "insufficient_usage", unit, left, _entitlement(burns[0]))
    having = [each for each in without_overrides(owned) if _has(each, unit, product_code)]
    decision = decide(having, now)
    reason = decision.reason
    if owned and (reason is None or reason in {"exhausted", "no_entitlement"}):
        reason = "insufficient_usage"
    return UnitsLeft(False, reason, unit, left, decision.deciding)


def _has(entitlement: Entitlement, unit: str, product_code: str | None) -> bool:
    """Whether an entitlement is of this unit, available or not."""
    if product_code not in {None, entitlement.product_code}:
        return False
    if entitlement.kind is Kind.USAGE_PACK:
        return entitlement.unit == unit
    return any(each.unit == unit for each in included_of(entitlement.included))


def _entitlement(grant: GrantRow) -> Entitlement:
    return grant.entitlement if isinstance(grant, WindowGrant) else grant
