"""What operators did, laid over what Stripe says, in their own order. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.models import State
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.kit.clock import from_micros, later
from licenzy.projects.models import DEFAULT_UNIT


def manual_grants(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlement of a manual grant."""
    grants = [fact for fact in facts if fact.kind == "operator" and fact.data["action"] == "grant"]
    changed = ChangedTerms(facts)
    return [_grant(fact, changed.over(fact.data)) for fact in grants]


def laid_over(entitlements: Sequence[Projected], facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements after every operator action on them."""
    actions = sorted(
        (fact for fact in facts if fact.kind == "operator"),
        key=lambda fact: (fact.occurred_at, fact.source_id),
    )
    result = list(entitlements)
    for action in actions:
        item = action.data.get("item_key", "")
        result = [_after(each, action) if each.item_key == item else each for each in result]
    return result


def lifted_at(facts: Sequence[FactLike], item_key: str) -> datetime | None:
    """Until when refunds and disputes were lifted for an item; None when they never were."""
    lifted = [
        fact.occurred_at
        for fact in facts
        if fact.kind == "operator"
        and fact.data["action"] == "lift"
        and fact.data.get("item_key", "") == item_key
    ]
    return max(lifted, default=None)


def adoption(facts: Sequence[FactLike]) -> FactLike | None:
    """The act by which an untracked checkout was adopted: it tells what was sold, which its events do not."""
    return next((fact for fact in facts if fact.kind == "operator" and fact.data["action"] == "adopt"), None)


def _grant(fact: FactLike, data: Mapping[str, Any]) -> Projected:
    """What a grant gives, by its data with the terms that the customer has now."""
    until = from_micros(data["until"]) if data["until"] is not None else None
    return Projected(
        item_key="",
        product_code=data["product_code"],
        kind=Kind(data["kind"]),
        features=list(data["features"]),
        quantity=1,
        state=State.ACTIVE,
        starts_at=fact.occurred_at,
        granted_at=fact.occurred_at,
        source="portal",
        valid_until=until,
        ends_at=until,
        ends_as="expired",
        unit=data.get("unit", DEFAULT_UNIT),
        granted_units=data["units"] or 0,
        terms_version=data.get("version"),
    )


def _after(entitlement: Projected, action: FactLike) -> Projected:
    data = action.data
    if data["action"] == "revoke":
        return canceled(entitlement, action.occurred_at, reason=None)
    if data["action"] == "adjust":
        return replace(entitlement, granted_units=entitlement.granted_units + data["units"])
    if data["action"] == "extend":
        return _extended(entitlement, timedelta(seconds=data["seconds"]))
    return entitlement


def _extended(entitlement: Projected, by: timedelta) -> Projected:
    seconds = entitlement.duration_seconds
    return replace(
        entitlement,
        duration_seconds=seconds + int(by.total_seconds()) if seconds is not None else None,
        valid_until=later(entitlement.valid_until, by) if entitlement.valid_until else None,
        ends_at=later(entitlement.ends_at, by) if entitlement.ends_at else None,
    )


def canceled(entitlement: Projected, at: datetime, *, reason: str | None) -> Projected:
    """The entitlement ended for good at `at`; a pack's remaining units are voided."""
    if entitlement.state is State.CANCELED:
        return entitlement
    pack = entitlement.kind is Kind.USAGE_PACK
    return replace(
        entitlement,
        state=State.CANCELED,
        reason=reason,
        canceled_at=at,
        voided_at=at if pack else None,
        valid_until=entitlement.valid_until if entitlement.kind is Kind.TIME_PASS else at,
        ends_at=entitlement.ends_at if entitlement.kind is Kind.TIME_PASS else at,
        ends_as="canceled",
    )
