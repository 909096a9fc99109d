"""What operators did, laid over what Stripe says, in their own order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from licenzy.catalog.models import Kind
from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.models import OVERRIDE, State
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.entitlements.windows_of_grants import windows_of_grant
from licenzy.kit.clock import from_micros, later
from licenzy.projects.models import DEFAULT_UNIT


def manual_grants(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlement of a manual grant."""
    acts = [fact for fact in facts if fact.kind == "operator"]
    adjusted, changed = adjusted_windows(acts, {""}), ChangedTerms(facts)
    return [_grant(fact, changed, adjusted) for fact in acts if fact.data["action"] == "grant"]


def adjusted_windows(
    facts: Sequence[FactLike], item_keys: Collection[str]
) -> Mapping[str, Mapping[int, int]]:
    """Units that operators added to windows of these items, by unit and by the start of the window."""
    added: dict[str, Counter[int]] = {}
    for fact in facts:
        if fact.kind != "operator" or fact.data["action"] != "adjust_window":
            continue
        if fact.data.get("item_key", "") in item_keys:
            added.setdefault(fact.data["unit"], Counter())[fact.data["starts_at"]] += fact.data["units"]
    return added


def overrides(facts: Sequence[FactLike]) -> list[Projected]:
    """The features and limits that operators have set, each as its latest act says."""
    latest: dict[str, FactLike] = {}
    set_by: dict[str, FactLike] = {}
    acts = (fact for fact in facts if fact.kind == "operator" and "number" in fact.data)
    for fact in sorted(acts, key=lambda fact: fact.data["number"]):
        if fact.data["action"] == "override":
            set_by[fact.data["item_key"]] = latest[fact.data["item_key"]] = fact
        elif fact.data["action"] == "remove_override":
            latest[fact.data["item_key"]] = fact
    return [_override(set_by[key], latest[key]) for key in sorted(set_by)]


def laid_over(entitlements: Sequence[Projected], facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements after every operator action on them."""
    result = list(entitlements)
    for action in _in_order(facts):
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
    """The act by which an untracked checkout was adopted or imported: it tells what was sold."""
    acts = (fact for fact in facts if fact.kind == "operator" and fact.data["action"] in _ADOPTING)
    return next((fact for fact in acts if "sold" in fact.data), None)


_ADOPTING = frozenset({"adopt", "import"})


def _in_order(facts: Sequence[FactLike]) -> list[FactLike]:
    acts = (fact for fact in facts if fact.kind == "operator")
    return sorted(acts, key=lambda fact: (fact.occurred_at, fact.source_id))


def _override(fact: FactLike, last: FactLike) -> Projected:
    data = fact.data
    until = from_micros(data["until"]) if data["until"] is not None else None
    row = Projected(
        item_key=data["item_key"],
        product_code="",
        kind=Kind.FREE,
        features=[data["feature"]] if data["limit"] is None else [],
        limits={data["limit"]: data["value"]} if data["limit"] is not None else {},
        quantity=1,
        state=State.ACTIVE,
        starts_at=fact.occurred_at,
        granted_at=fact.occurred_at,
        source=OVERRIDE,
        valid_until=until,
        ends_at=until,
        ends_as="expired",
    )
    return row if last is fact else canceled(row, last.occurred_at, reason=None)


def _grant(fact: FactLike, changed: ChangedTerms, adjusted: Mapping[str, Mapping[int, int]]) -> Projected:
    """What a grant gives, by its data with the terms that the customer has now."""
    data = changed.over(fact.data)
    included = changed.versions().map(lambda each: each.over(fact.data).get("included") or ())
    windows = windows_of_grant(included, fact.occurred_at, adjusted)
    until = from_micros(data["until"]) if data["until"] is not None else None
    return Projected(
        item_key="",
        product_code=data["product_code"],
        kind=Kind(data["kind"]),
        features=list(data["features"]),
        limits=dict(data.get("limits", {})),
        adds=data.get("adds", False),
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
        included=[each.to_json() for each in windows] or None,
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
