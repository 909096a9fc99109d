"""Whether a subject has so many units left: the access check that asks for units. Nothing is set aside."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import decide, only_entitlements
from licenzy.entitlements.models import DEFAULT, Entitlement
from licenzy.entitlements.windows import included_of
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.projects.queries import side_of
from licenzy.projects.scope import Scope
from licenzy.usage.access import UnitsWanted
from licenzy.usage.default_units import grants_with_default
from licenzy.usage.grants import GrantRow, WindowGrant
from licenzy.usage.queries import owned_by_ref
from licenzy.usage.rules import burning, named, total
from licenzy.usage.units import require_known_names


class UnitsLeft(NamedTuple):
    """Whether the units are there, and how many are left."""

    allowed: bool
    reason: str | None
    """None when allowed; `insufficient_usage`, or why the entitlements with this unit give none."""
    unit: str
    remaining: int
    evidence: Entitlement | None
    """The first entitlement that a call would draw, or the nearest miss."""
    default_product: str | None = None
    """The code of the default product, where a call would draw its units first."""


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
    windows = grants_with_default(db, scope, owned, now=now)
    packs = [each for each in owned if each.kind is Kind.USAGE_PACK]
    grants: list[GrantRow] = named([*packs, *windows], unit, product_code)
    if not grants:
        require_known_names(db, scope, subject_ref=subject_ref, unit=wanted.unit, product_code=product_code)
    burns = burning(grants, now)
    left = total(burns)
    if burns:
        is_enough = left >= wanted.units
        evidence, default_code = _evidence(burns[0])
        return UnitsLeft(
            is_enough, None if is_enough else "insufficient_usage", unit, left, evidence, default_code
        )
    entitlements = only_entitlements(owned)
    decision = decide([each for each in entitlements if _has(each, unit, product_code)], now)
    reason = decision.reason
    if (grants or entitlements) and (reason is None or reason in {"exhausted", "no_entitlement"}):
        reason = "insufficient_usage"
    return UnitsLeft(False, reason, unit, left, decision.deciding)


def _has(entitlement: Entitlement, unit: str, product_code: str | None) -> bool:
    """Whether an entitlement is of this unit, available or not."""
    if product_code not in {None, entitlement.product_code}:
        return False
    if entitlement.kind is Kind.USAGE_PACK:
        return entitlement.unit == unit
    return any(each.unit == unit for each in included_of(entitlement.included))


def _evidence(grant: GrantRow) -> tuple[Entitlement | None, str | None]:
    """The entitlement of what is drawn first, or the code of the default product, which is none."""
    entitlement = grant.entitlement if isinstance(grant, WindowGrant) else grant
    if entitlement.source == DEFAULT:
        return None, entitlement.product_code
    return entitlement, None
