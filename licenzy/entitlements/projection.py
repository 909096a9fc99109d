"""From the facts of one purchase to its entitlements. Pure: any order of arrival gives the same rows.

The projection never reads the catalog or the clock: facts carry what was sold at the time, and what
depends on the present moment is left to `decision`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import FactSource, State
from licenzy.entitlements.ordering import latest
from licenzy.kit.clock import from_unix

RENEWAL_SLACK = timedelta(hours=72)
"""How long access outlasts an unconfirmed period: Stripe retries webhooks for three days."""

SETTLED = frozenset({"paid", "no_payment_required"})
_KNOWN_STATUSES = frozenset(
    {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}
)
_IMPLY_A_GRANT = frozenset({"trialing", "past_due", "unpaid", "paused"})


class FactLike(Protocol):
    """What the projection reads of a fact."""

    kind: str
    source: FactSource
    source_id: str
    object_id: str
    occurred_at: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Projected:
    """One entitlement as the facts have it; the columns of the row of the same names."""

    item_key: str
    product_code: str
    kind: Kind
    features: list[str]
    quantity: int
    state: State
    starts_at: datetime
    granted_at: datetime
    source: str = "stripe"
    reason: str | None = None
    valid_until: datetime | None = None
    ends_at: datetime | None = None
    ends_as: str | None = None
    paid_at: datetime | None = None
    duration_seconds: int | None = None
    granted_units: int = 0
    voided_at: datetime | None = None
    cancel_at: datetime | None = None
    canceled_at: datetime | None = None
    stripe_subscription_id: str | None = None
    stripe_checkout_session_id: str | None = None


def project(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements of one purchase, from all of its facts in any order."""
    return [*_of_subscription(facts), *_of_one_time_purchase(facts)]


@dataclass(frozen=True, slots=True)
class Pass:
    """A paid time pass among its siblings of the same subject and product."""

    key: str
    paid_at: datetime
    duration: timedelta
    canceled_at: datetime | None = None


def chain_passes(passes: Iterable[Pass]) -> dict[str, tuple[datetime, datetime]]:
    """When each pass starts and ends: one after the other, in order of payment, then key.

    Canceling a pass cuts it at that instant; those that had not started by then move up, those that
    had are not moved.
    """
    spans: dict[str, tuple[datetime, datetime]] = {}
    free_from: datetime | None = None
    for each in sorted(passes, key=lambda p: (p.paid_at, p.key)):
        start = each.paid_at if free_from is None else max(each.paid_at, free_from)
        end = start + each.duration
        spans[each.key] = (start, end)
        if each.canceled_at is None or each.canceled_at >= end:
            free_from = end
        elif each.canceled_at > start:
            free_from = each.canceled_at
    return spans


def _of_subscription(facts: Sequence[FactLike]) -> list[Projected]:
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in _KNOWN_STATUSES]
    if not states:
        return []
    current = latest(states)
    if not _was_granted(states, facts):
        return []
    kept = {item["id"] for item in current.data["items"]}
    found = [_of_item(current, item, facts) for item in current.data["items"] if item.get("sold")]
    for state in sorted(states, key=lambda f: (f.occurred_at, f.source_id), reverse=True):
        for item in state.data["items"]:
            if item["id"] not in kept and item.get("sold"):
                kept.add(item["id"])
                found.append(_removed(_of_item(state, item, facts), current.occurred_at))
    return found


def _was_granted(states: Sequence[FactLike], facts: Sequence[FactLike]) -> bool:
    """Whether access ever began: the first invoice paid or zero, or a status that implies it."""
    statuses = {state.data["status"] for state in states}
    if statuses & _IMPLY_A_GRANT:
        return True
    return bool(statuses & {"active", "canceled"}) and any(_is_payment(fact) for fact in facts)


def _is_payment(fact: FactLike) -> bool:
    if fact.kind == "session":
        return fact.data["payment_status"] in SETTLED
    return fact.kind == "invoice" and _is_paid_invoice(fact)


def _is_paid_invoice(fact: FactLike) -> bool:
    return (
        fact.data["event"] in {"invoice.paid", "invoice.payment_succeeded"} or fact.data["status"] == "paid"
    )


def _of_item(current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]) -> Projected:
    data, sold = current.data, item["sold"]
    started = from_unix(data["started_at"]) if data["started_at"] else current.occurred_at
    entitlement = Projected(
        item_key=item["id"],
        product_code=sold["product_code"],
        kind=Kind.SUBSCRIPTION,
        features=list(sold["features"]),
        quantity=item["quantity"],
        state=State.ACTIVE,
        starts_at=started,
        granted_at=started,
        cancel_at=_scheduled_cancel(data, item),
        canceled_at=from_unix(data["canceled_at"]) if data["canceled_at"] else None,
        stripe_subscription_id=current.object_id,
        stripe_checkout_session_id=_session_id(facts),
    )
    return _with_status(entitlement, current, item, facts)


def _with_status(
    entitlement: Projected, current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]
) -> Projected:
    status = data_status(current.data)
    if status == "canceled":
        ended = current.data["ended_at"] or current.data["canceled_at"]
        at = from_unix(ended) if ended else current.occurred_at
        return replace(
            entitlement, state=State.CANCELED, valid_until=at, ends_at=at, ends_as="canceled", canceled_at=at
        )
    if status == "past_due":
        until = _first_failure(current, item, facts) + timedelta(days=item["sold"]["grace_days"])
        return replace(
            entitlement, state=State.PAST_DUE, valid_until=until, ends_at=until, ends_as="past_due"
        )
    end = _period_end(current, item, facts)
    if status == "unpaid":
        return replace(entitlement, state=State.SUSPENDED, reason="past_due", valid_until=end)
    if status in {"paused", "incomplete", "incomplete_expired"}:
        return replace(entitlement, state=State.PAUSED, valid_until=end)
    state = State.TRIALING if status == "trialing" else State.ACTIVE
    if entitlement.cancel_at is not None:
        at = entitlement.cancel_at
        return replace(entitlement, state=state, valid_until=at, ends_at=at, ends_as="canceled")
    return replace(
        entitlement,
        state=state,
        valid_until=end,
        ends_at=end + RENEWAL_SLACK,
        ends_as="renewal_unconfirmed",
    )


def data_status(data: Mapping[str, Any]) -> str:
    """The subscription's status; a collection paused with behavior `void` counts as paused."""
    paused = data["pause"] == "void" and data["status"] in {"active", "trialing", "past_due"}
    return "paused" if paused else str(data["status"])


def _scheduled_cancel(data: Mapping[str, Any], item: Mapping[str, Any]) -> datetime | None:
    if data["cancel_at"]:
        return from_unix(data["cancel_at"])
    if data["cancel_at_period_end"] and item["period_end"]:
        return from_unix(item["period_end"])
    return None


def _period_end(current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]) -> datetime:
    """The item's period end; where an event lacks it, the last paid invoice's, else the event's time."""
    if item["period_end"]:
        return from_unix(item["period_end"])
    paid = [f.data["period_end"] for f in facts if f.kind == "invoice" and _is_paid_invoice(f)]
    known = [end for end in paid if end]
    return from_unix(max(known)) if known else current.occurred_at


def _first_failure(current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]) -> datetime:
    """When the unpaid stretch began: the first failed payment after the last paid invoice."""
    invoices = [fact for fact in facts if fact.kind == "invoice"]
    paid = {fact.object_id for fact in invoices if _is_paid_invoice(fact)}
    failed = [fact for fact in invoices if fact.object_id not in paid and not _is_paid_invoice(fact)]
    last_paid = max((f.occurred_at for f in invoices if _is_paid_invoice(f)), default=None)
    since = [f.occurred_at for f in failed if last_paid is None or f.occurred_at >= last_paid]
    if since:
        return min(since)
    return from_unix(item["period_start"]) if item["period_start"] else current.occurred_at


def _removed(entitlement: Projected, at: datetime) -> Projected:
    """An item that a later state of the subscription no longer has."""
    return replace(
        entitlement,
        state=State.CANCELED,
        reason=None,
        valid_until=at,
        ends_at=at,
        ends_as="canceled",
        canceled_at=at,
    )


def _session_id(facts: Sequence[FactLike]) -> str | None:
    return min((fact.object_id for fact in facts if fact.kind == "session"), default=None)


def _of_one_time_purchase(facts: Sequence[FactLike]) -> list[Projected]:
    paid = [
        fact
        for fact in facts
        if fact.kind == "session"
        and fact.data["mode"] == "payment"
        and fact.data["payment_status"] in SETTLED
        and fact.data.get("sold")
    ]
    if not paid:
        return []
    first = min(paid, key=lambda fact: (fact.occurred_at, fact.source_id))
    sold, quantity = first.data["sold"], first.data["quantity"]
    purchase = Projected(
        item_key="",
        product_code=sold["product_code"],
        kind=Kind(sold["kind"]),
        features=list(sold["features"]),
        quantity=quantity,
        state=State.ACTIVE,
        starts_at=first.occurred_at,
        granted_at=first.occurred_at,
        paid_at=first.occurred_at,
        ends_as="expired",
        stripe_checkout_session_id=first.object_id,
    )
    if purchase.kind is Kind.TIME_PASS:
        seconds = sold["duration_seconds"] * quantity
        until = first.occurred_at + timedelta(seconds=seconds)
        return [replace(purchase, duration_seconds=seconds, valid_until=until, ends_at=until)]
    keeps = sold.get("duration_seconds")
    until_or_never = first.occurred_at + timedelta(seconds=keeps) if keeps else None
    return [
        replace(
            purchase,
            granted_units=sold["units"] * quantity,
            valid_until=until_or_never,
            ends_at=until_or_never,
        )
    ]
