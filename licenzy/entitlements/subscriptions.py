"""What a subscription grants, item by item, out of its states and invoices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements import reversals
from licenzy.entitlements.models import State
from licenzy.entitlements.operators import canceled, lifted_at
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.projected import SETTLED, FactLike, Projected
from licenzy.kit.clock import from_unix

RENEWAL_SLACK = timedelta(hours=72)
"""How long access outlasts an unconfirmed period: Stripe retries webhooks for three days."""

_KNOWN_STATUSES = frozenset(
    {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}
)
_IMPLY_A_GRANT = frozenset({"trialing", "past_due", "unpaid", "paused"})


def of_subscription(facts: Sequence[FactLike]) -> list[Projected]:
    """One entitlement for each mapped item, once access has begun; none before."""
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in _KNOWN_STATUSES]
    if not states:
        return []
    current = latest(states)
    if not _was_granted(states, facts):
        return []
    kept = {item["id"] for item in current.data["items"]}
    found = [
        _less_reversals(_of_item(current, item, facts), facts)
        for item in current.data["items"]
        if item.get("sold")
    ]
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
    status = _status(current.data)
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


def _status(data: Mapping[str, Any]) -> str:
    """The subscription's status; a collection paused with behavior `void` counts as paused."""
    paused = data["pause"] == "void" and data["status"] in {"active", "trialing", "past_due"}
    return "paused" if paused else str(data["status"])


def _less_reversals(entitlement: Projected, facts: Sequence[FactLike]) -> Projected:
    """Less what refunds and disputes of the current period's invoice take; of earlier ones, nothing."""
    invoice = _current_invoice(facts)
    if invoice is None or entitlement.state is State.CANCELED:
        return entitlement
    payments = {invoice.data["payment_intent"], invoice.data["charge"]} - {None}
    for fact in facts:
        if fact.kind == "invoice_payment" and fact.data["invoice"] == invoice.object_id:
            payments |= {fact.data["payment_intent"], fact.data["charge"]} - {None}
    of_it = [
        fact
        for fact in facts
        if fact.kind in reversals.KINDS
        and (
            payments & {fact.data["payment_intent"], fact.data["charge"]}
            or fact.data.get("invoice") == invoice.object_id
        )
    ]
    taken = reversals.reversal(of_it, paid=invoice.data["amount_paid"])
    lifted = lifted_at(facts, entitlement.item_key)
    if taken is None or (lifted is not None and taken.at <= lifted):
        return entitlement
    if taken.final and taken.reason == "disputed":
        return canceled(entitlement, taken.at, reason=taken.reason)
    return replace(entitlement, state=State.SUSPENDED, reason=taken.reason)


def _current_invoice(facts: Sequence[FactLike]) -> FactLike | None:
    """The paid invoice of the latest period, plan changes in between left aside."""
    paid = [
        fact
        for fact in facts
        if fact.kind == "invoice"
        and _is_paid_invoice(fact)
        and fact.data["billing_reason"] in {"subscription_create", "subscription_cycle", "subscription", None}
    ]
    return max(paid, key=lambda f: (f.data["period_end"] or 0, f.occurred_at, f.source_id), default=None)


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
