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
from licenzy.entitlements.projected import SETTLED, FactLike, Projected, is_paid_invoice
from licenzy.kit.clock import from_unix

RENEWAL_SLACK = timedelta(hours=72)
"""How long access outlasts an unconfirmed period: Stripe retries webhooks for three days."""

KNOWN_STATUSES = frozenset(
    {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}
)
"""Stripe's own words; a state told with another one changes nothing."""

_IMPLY_A_GRANT = frozenset({"trialing", "past_due", "unpaid", "paused"})
_OF_A_PERIOD = frozenset({"subscription_create", "subscription_cycle", "subscription", None})


def of_subscription(facts: Sequence[FactLike]) -> list[Projected]:
    """One entitlement for each item that is or was mapped, once access has begun; none before."""
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in KNOWN_STATUSES]
    if not states or not _was_granted(states, facts):
        return []
    current = latest(states)
    mapped = _mapped_items(current)
    gone = {item_id for state in states for item_id in _mapped_items(state)} - set(mapped)
    return [
        *(_less_reversals(_of_item(current, item, facts), facts) for item in mapped.values()),
        *(_removed(item_id, states, facts) for item_id in sorted(gone)),
    ]


def _mapped_items(state: FactLike) -> dict[str, Mapping[str, Any]]:
    return {item["id"]: item for item in state.data["items"] if item.get("sold")}


def _was_granted(states: Sequence[FactLike], facts: Sequence[FactLike]) -> bool:
    """Whether access ever began: the first invoice paid or zero, or a status that implies it."""
    statuses = {state.data["status"] for state in states}
    if statuses & _IMPLY_A_GRANT:
        return True
    return bool(statuses & {"active", "canceled"}) and any(_is_payment(fact) for fact in facts)


def _is_payment(fact: FactLike) -> bool:
    if fact.kind == "session":
        return fact.data["payment_status"] in SETTLED
    return fact.kind == "invoice" and is_paid_invoice(fact)


def _paid_invoices(facts: Sequence[FactLike]) -> list[FactLike]:
    return [fact for fact in facts if fact.kind == "invoice" and is_paid_invoice(fact)]


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
        stripe_price_id=item["price"],
        terms_version=sold.get("version"),
    )
    return _with_status(entitlement, current, item, facts)


def _with_status(
    entitlement: Projected, current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]
) -> Projected:
    status = _status(current.data, facts)
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


def _status(data: Mapping[str, Any], facts: Sequence[FactLike]) -> str:
    """The subscription's status; a collection paused with behavior `void` counts as paused.

    `past_due` says that the latest invoice is not paid: its payment clears that, told first or not.
    """
    status = str(data["status"])
    if data["pause"] == "void" and status in {"active", "trialing", "past_due"}:
        return "paused"
    if status == "past_due" and any(
        fact.object_id == data.get("latest_invoice") for fact in _paid_invoices(facts)
    ):
        return "active"
    return status


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
    """The paid invoice that began the latest period; those of changes within a period are left aside.

    A change that starts the billing cycle anew, as resuming does or a plan of another interval, begins a
    period of its own: its invoice reaches further than all before it.
    """
    paid = _paid_invoices(facts)
    last = max((_end(fact) for fact in paid), default=0)
    latest_ones = [fact for fact in paid if _end(fact) == last]
    return min(
        latest_ones,
        key=lambda f: (f.data["billing_reason"] not in _OF_A_PERIOD, f.occurred_at, f.source_id),
        default=None,
    )


def _end(invoice: FactLike) -> int:
    end: int | None = invoice.data["period_end"]
    return end or 0


def _scheduled_cancel(data: Mapping[str, Any], item: Mapping[str, Any]) -> datetime | None:
    if data["cancel_at"]:
        return from_unix(data["cancel_at"])
    if data["cancel_at_period_end"] and item["period_end"]:
        return from_unix(item["period_end"])
    return None


def _period_end(current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]) -> datetime:
    """The item's period end, or that of an invoice paid after the state was told.

    Where an event lacks its period, the paid invoices tell it, else it ends with the event.
    """
    ends = [item["period_end"]] if item["period_end"] else []
    ends += [
        fact.data["period_end"]
        for fact in _paid_invoices(facts)
        if fact.data["period_end"]
        and fact.data["billing_reason"] in _OF_A_PERIOD
        and (fact.occurred_at > current.occurred_at or not item["period_end"])
    ]
    return from_unix(max(ends)) if ends else current.occurred_at


def _first_failure(current: FactLike, item: Mapping[str, Any], facts: Sequence[FactLike]) -> datetime:
    """When the unpaid stretch began: the first failed payment after the last paid invoice."""
    paid = _paid_invoices(facts)
    settled = {fact.object_id for fact in paid}
    last_paid = max((fact.occurred_at for fact in paid), default=None)
    since = [
        fact.occurred_at
        for fact in facts
        if fact.kind == "invoice"
        and fact.data["event"] == "invoice.payment_failed"
        and fact.object_id not in settled
        and (last_paid is None or fact.occurred_at >= last_paid)
    ]
    if since:
        return min(since)
    return from_unix(item["period_start"]) if item["period_start"] else current.occurred_at


def _removed(item_id: str, states: Sequence[FactLike], facts: Sequence[FactLike]) -> Projected:
    """An item that the subscription no longer has, or whose price no longer is a product's."""
    last = latest([state for state in states if item_id in _mapped_items(state)])
    since = [state for state in states if state.occurred_at > last.occurred_at]
    in_that_second = [state for state in states if state.occurred_at == last.occurred_at]
    if item_id in _mapped_items(latest(in_that_second)):
        at = min((state.occurred_at for state in since), default=last.occurred_at)
    else:
        at = last.occurred_at
    return replace(
        _of_item(last, _mapped_items(last)[item_id], facts),
        state=State.CANCELED,
        reason=None,
        cancel_at=None,
        valid_until=at,
        ends_at=at,
        ends_as="canceled",
        canceled_at=at,
    )


def _session_id(facts: Sequence[FactLike]) -> str | None:
    return min((fact.object_id for fact in facts if fact.kind == "session"), default=None)
