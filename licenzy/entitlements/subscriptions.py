"""What a subscription grants, item by item, out of its states and invoices. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from licenzy.catalog.models import Kind
from licenzy.entitlements import statuses
from licenzy.entitlements.grace import unpaid_since
from licenzy.entitlements.included import included_units
from licenzy.entitlements.models import State
from licenzy.entitlements.operators import canceled, lifted_at
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.periods import SAME_MOMENT
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.subscription_history import (
    Item,
    SubscriptionHistory,
    is_early,
    item_in,
)
from licenzy.kit.clock import from_unix

RENEWAL_SLACK = timedelta(hours=72)
"""How long access outlasts an unconfirmed period: Stripe retries webhooks for three days."""


def of_subscription(facts: Sequence[FactLike]) -> list[Projected]:
    """One entitlement for each item that is or was mapped, once access to it has begun; none before."""
    states = _known_states(facts)
    if not states:
        return []
    history = SubscriptionHistory.of(states, facts)
    here = {item["id"] for item in history.current.data["items"]}
    gone = {
        item["id"]
        for state in states
        for item in state.data["items"]
        if item["id"] not in here and history.terms_in(state, item["id"]) is not None
    }
    items = history.current.data["items"]
    kept = (_of_item(history, item) for item in items if history.was_granted(item["id"]))
    gone = {item_id for item_id in gone if history.was_granted(item_id)}
    return [
        *(_with_units(history, _less_reversals(history, each)) for each in kept if each is not None),
        *(_removed(history, item_id) for item_id in sorted(gone)),
    ]


def first_paid_at(facts: Sequence[FactLike]) -> datetime | None:
    """When a subscription was first paid for, by an invoice of one of its items; None while it was not."""
    states = _known_states(facts)
    if not states:
        return None
    periods = SubscriptionHistory.of(states, facts).periods.values()
    return min((period.invoice.paid_at for of_item in periods for period in of_item), default=None)


def _known_states(facts: Sequence[FactLike]) -> list[FactLike]:
    return [f for f in facts if f.kind == "subscription" and f.data["status"] in statuses.KNOWN]


def _of_item(history: SubscriptionHistory, item: Item) -> Projected | None:
    """What an item of the present state gives; None where it never gave a product of ours."""
    terms = history.terms_in(history.current, item["id"])
    if terms is not None:
        return _in_state(history, history.current, item, terms)
    before = history.mapped_before(item["id"])
    return _until_paid_period_ends(history, item, *before) if before is not None else None


def _until_paid_period_ends(
    history: SubscriptionHistory, item: Item, last: FactLike, terms: Terms
) -> Projected:
    """An item that was changed to a price of no product: it lasts as long as was paid for by then."""
    change = history.first_without_product(item["id"], since=last)
    if is_early(change):
        return _removed(history, item["id"])
    entitlement = _in_state(history, history.current, item, terms)
    if entitlement.state is State.CANCELED:
        return entitlement
    changed_at, invoice_of_change = change.occurred_at, change.data.get("latest_invoice")
    if invoice_of_change == last.data.get("latest_invoice"):
        invoice_of_change = None
    paid = [
        period
        for period in history.periods[item["id"]]
        if period.invoice.paid_at <= changed_at + SAME_MOMENT
        and from_unix(period.start) <= changed_at
        # The change may have begun a period itself, at a price that is unknown.
        and (period.invoice.id != invoice_of_change or history.is_ours(period, item))
    ]
    mapped = item_in(last, item["id"])
    known_end = mapped["period_end"] if mapped is not None else None
    end = from_unix(paid[-1].end) if paid else from_unix(known_end) if known_end else changed_at
    if entitlement.ends_at is not None and entitlement.ends_at < end:
        return entitlement
    return replace(entitlement, valid_until=end, ends_at=end, ends_as="product_changed")


def _with_units(history: SubscriptionHistory, entitlement: Projected) -> Projected:
    """With the units that its product includes, in windows that go on from those of an item it replaced."""
    item_id = entitlement.item_key
    included = [each.to_json() for each in included_units(history, item_id)]
    continues = tuple(history.billed.lineage(item_id)[1:]) if included else ()
    return replace(entitlement, included=included or None, continues=continues)


def _removed(history: SubscriptionHistory, item_id: str) -> Projected:
    """An item that the subscription no longer has."""
    before = history.mapped_before(item_id)
    assert before is not None
    last, terms = before
    in_that_second = [state for state in history.states if state.occurred_at == last.occurred_at]
    at = last.occurred_at
    if not history.lacks(latest(in_that_second), item_id):
        since = (state for state in history.states if state.occurred_at > last.occurred_at)
        at = min((state.occurred_at for state in since if history.lacks(state, item_id)), default=at)
    item = item_in(last, item_id)
    assert item is not None
    return replace(
        _in_state(history, last, item, terms),
        state=State.CANCELED,
        reason=None,
        cancel_at=None,
        valid_until=at,
        ends_at=at,
        ends_as="canceled",
        canceled_at=at,
    )


# --- one item in one state -------------------------------------------------------------------------------


def _in_state(history: SubscriptionHistory, state: FactLike, item: Item, terms: Terms) -> Projected:
    data, status, quantity = state.data, _status(history, state), item["quantity"]
    paid_ends: Sequence[int] = ()
    if status == "past_due" and not is_early(state):
        quantity, terms, paid_ends = history.last_paid_for(item, terms)
    started = from_unix(data["started_at"]) if data["started_at"] else state.occurred_at
    entitlement = Projected(
        item_key=item["id"],
        product_code=terms["product_code"],
        kind=Kind.SUBSCRIPTION,
        features=list(terms["features"]),
        limits=dict(terms.get("limits", {})),
        adds=terms.get("adds", False),
        # Of no seats nothing is left, whatever was paid for.
        quantity=quantity if item["quantity"] else 0,
        state=State.ACTIVE,
        starts_at=started,
        granted_at=started,
        cancel_at=_scheduled_cancel(state, item),
        canceled_at=from_unix(data["canceled_at"]) if data["canceled_at"] else None,
        stripe_subscription_id=state.object_id,
        stripe_checkout_session_id=history.session_id(),
        stripe_price_id=item["price"],
        terms_version=terms.get("version"),
    )
    graced = _grace_end(history, state, item, terms, paid_ends) if status == "past_due" else None
    return _without_quantity(_with_end(history, entitlement, status, state, item, graced))


def _status(history: SubscriptionHistory, state: FactLike) -> str:
    """The subscription's status; a collection paused with behavior `void` counts as paused.

    `past_due` says that the latest invoice is not paid: its payment ends that, reported first or not.
    """
    status = str(state.data["status"])
    if state.data["pause"] == "void" and status in {"active", "trialing", "past_due"}:
        return "paused"
    latest_invoice = state.data.get("latest_invoice")
    if status == "past_due" and any(invoice.id == latest_invoice for invoice in history.invoices):
        return "active"
    return status


def _with_end(
    history: SubscriptionHistory,
    entitlement: Projected,
    status: str,
    state: FactLike,
    item: Item,
    graced: datetime | None,
) -> Projected:
    """The entitlement with its state, and until when it lasts: the earliest of all that ends it.

    `graced` is the end of grace where the status is `past_due`.
    """
    if status == "canceled":
        ended = state.data["ended_at"] or state.data["canceled_at"]
        at = from_unix(ended) if ended else state.occurred_at
        return replace(
            entitlement, state=State.CANCELED, valid_until=at, ends_at=at, ends_as="canceled", canceled_at=at
        )
    end, cancel = history.period_end(state, item), entitlement.cancel_at
    if graced is not None:
        in_grace = replace(
            entitlement, state=State.PAST_DUE, valid_until=graced, ends_at=graced, ends_as="past_due"
        )
        return in_grace if is_early(state) else _until_cancel(in_grace, cancel)
    if status == "unpaid":
        return replace(entitlement, state=State.SUSPENDED, reason="past_due", valid_until=end)
    if status in {"paused", "incomplete", "incomplete_expired"}:
        return replace(entitlement, state=State.PAUSED, valid_until=end)
    running = replace(
        entitlement,
        state=State.TRIALING if status == "trialing" else State.ACTIVE,
        valid_until=end,
        ends_at=end + RENEWAL_SLACK,
        ends_as="renewal_unconfirmed",
    )
    if cancel is not None and is_early(state):
        return replace(running, valid_until=cancel, ends_at=cancel, ends_as="canceled")
    return _until_cancel(running, cancel)


def _grace_end(
    history: SubscriptionHistory, state: FactLike, item: Item, terms: Terms, paid_ends: Sequence[int]
) -> datetime:
    """Until when an item has access although a payment failed.

    Its grace begins with the failure; what was paid before lasts as long as it was paid for.
    """
    since = unpaid_since(state, item, history.states, history.facts)
    until = since + timedelta(days=terms["grace_days"])
    return max([until, *map(from_unix, paid_ends)])


def _scheduled_cancel(state: FactLike, item: Item) -> datetime | None:
    """The earlier of the instant that was set and the end of the period, where it is to cancel then."""
    data = state.data
    if data["cancel_at"] and is_early(state):
        return from_unix(data["cancel_at"])
    ends = [data["cancel_at"], item["period_end"] if data["cancel_at_period_end"] else None]
    return min((from_unix(end) for end in ends if end), default=None)


def _until_cancel(entitlement: Projected, cancel: datetime | None) -> Projected:
    """The earlier of its end and the scheduled cancel."""
    valid_until, ends_at = entitlement.valid_until, entitlement.ends_at
    assert valid_until is not None
    assert ends_at is not None
    if cancel is None or cancel > ends_at:
        return entitlement
    return replace(entitlement, valid_until=min(valid_until, cancel), ends_at=cancel, ends_as="canceled")


def _without_quantity(entitlement: Projected) -> Projected:
    """Of no seats nobody has access, while the subscription itself goes on."""
    if entitlement.quantity or entitlement.state in {State.CANCELED, State.PAUSED}:
        return entitlement
    return replace(entitlement, state=State.SUSPENDED, reason="quantity_zero")


# --- refunds and disputes --------------------------------------------------------------------------------


def _less_reversals(history: SubscriptionHistory, entitlement: Projected) -> Projected:
    """Less what refunds and disputes of the item's current period take; of earlier ones, nothing."""
    periods = history.periods[entitlement.item_key]
    if not periods or entitlement.state is State.CANCELED:
        return entitlement
    taken = history.reversal_of(periods[-1].invoice)
    lifts = (lifted_at(history.facts, each) for each in history.billed.lineage(entitlement.item_key))
    lifted = max((at for at in lifts if at is not None), default=None)
    if taken is None or (lifted is not None and taken.at <= lifted):
        return entitlement
    if taken.final and taken.reason == "disputed":
        return canceled(entitlement, taken.at, reason=taken.reason)
    return replace(entitlement, state=State.SUSPENDED, reason=taken.reason)
