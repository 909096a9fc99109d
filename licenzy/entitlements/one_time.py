"""Time passes and usage packs: what a paid session grants, and how passes follow each other. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements import reversals
from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.models import FactSource, State
from licenzy.entitlements.operators import adoption, canceled, lifted_at
from licenzy.entitlements.projected import SETTLED, FactLike, Projected, payment_refs
from licenzy.kit.clock import later
from licenzy.projects.models import DEFAULT_UNIT

LONGEST_SECONDS = 7_000 * 365 * 86_400
"""What a pass lasts at most, however often a long one was bought: no calendar goes on for ever."""


def of_one_time_purchase(facts: Sequence[FactLike]) -> list[Projected]:
    """The entitlements of a paid session; none before its payment has settled.

    The first is what the checkout was opened for, with the key "". Its other items follow, and one-time
    prices that the buyer added, also those of a session that began a subscription; their keys are the prices.
    """
    adopted = adoption(facts)
    paid = [
        fact
        for fact in facts
        if fact.kind == "session"
        and fact.data["payment_status"] in SETTLED
        and (fact.data.get("sold") or adopted is not None)
    ]
    if not paid:
        return []
    # An event tells when the payment came; a snapshot, read later, only that it did.
    first = min(paid, key=lambda f: (f.source is not FactSource.EVENT, f.occurred_at, f.source_id))
    terms = first.data if first.data.get("sold") or adopted is None else adopted.data
    lines = _lines(facts)
    changed, granted = ChangedTerms(facts), list[Projected]()
    if first.data["mode"] == "payment":
        main = terms["sold"]
        _, quantity = lines.pop(main.get("stripe_price_id"), (main, terms["quantity"]))
        granted.append(_granted("", changed.over(main), quantity, first))
        # What else the checkout was opened for; what Stripe says of its quantity counts.
        lines = {each["sold"]["stripe_price_id"]: _item(each) for each in terms.get("others", ())} | lines
    granted += [
        _granted(price, changed.over(sold), quantity, first)
        for price, (sold, quantity) in sorted(lines.items())
    ]
    reversing = _about_the_payment_of(first, facts)
    return [_taken_back(each, first, facts, reversing) for each in granted]


def _lines(facts: Sequence[FactLike]) -> dict[str, tuple[Mapping[str, Any], int]]:
    """What the session's lines sold once and how many of it, by price, as last read from Stripe."""
    read = [fact for fact in facts if fact.kind == "session" and fact.data.get("lines")]
    if not read:
        return {}
    last = max(read, key=lambda fact: (int(fact.data.get("snapshot", 0)), fact.source_id))
    found: dict[str, tuple[Mapping[str, Any], int]] = {}
    for line in last.data["lines"]:
        sold = line.get("sold")
        if sold is not None and sold["kind"] != Kind.SUBSCRIPTION and line["quantity"] > 0:
            already = found.get(line["price"], (sold, 0))[1]
            found[line["price"]] = (sold, already + line["quantity"])
    return found


def _item(other: Mapping[str, Any]) -> tuple[Mapping[str, Any], int]:
    return other["sold"], other["quantity"]


def _about_the_payment_of(session: FactLike, facts: Sequence[FactLike]) -> Sequence[FactLike]:
    """Those of the purchase's facts that may give back what a session was paid with.

    All of them, but for a session that began a subscription: its later invoices are no matter of the session.
    """
    if session.data["mode"] == "payment":
        return facts
    invoice = session.data["invoice"]
    of_invoice = [
        fact
        for fact in facts
        if (fact.kind == "invoice" and fact.object_id == invoice)
        or (fact.kind == "invoice_payment" and fact.data["invoice"] == invoice)
    ]
    payments = {invoice}.union(*(payment_refs(fact.data) for fact in of_invoice)) - {None}
    return [fact for fact in facts if fact.kind in reversals.KINDS and payments & payment_refs(fact.data)]


def _granted(item_key: str, sold: Mapping[str, Any], quantity: int, first: FactLike) -> Projected:
    purchase = Projected(
        item_key=item_key,
        product_code=sold["product_code"],
        kind=Kind(sold["kind"]),
        features=list(sold["features"]),
        limits=dict(sold.get("limits", {})),
        adds=sold.get("adds", False),
        quantity=quantity,
        state=State.ACTIVE,
        starts_at=first.occurred_at,
        granted_at=first.occurred_at,
        paid_at=first.occurred_at,
        ends_as="expired",
        stripe_checkout_session_id=first.object_id,
        stripe_price_id=sold.get("stripe_price_id"),
        terms_version=sold.get("version"),
    )
    return _with_term(purchase, sold)


def _with_term(purchase: Projected, sold: Mapping[str, Any]) -> Projected:
    if purchase.kind is Kind.TIME_PASS:
        seconds = min(sold["duration_seconds"] * purchase.quantity, LONGEST_SECONDS)
        until = later(purchase.starts_at, timedelta(seconds=seconds))
        return replace(purchase, duration_seconds=seconds, valid_until=until, ends_at=until)
    keeps = sold.get("duration_seconds")
    until_or_never = later(purchase.starts_at, timedelta(seconds=keeps)) if keeps else None
    return replace(
        purchase,
        unit=sold.get("unit", DEFAULT_UNIT),
        granted_units=sold["units"] * purchase.quantity,
        valid_until=until_or_never,
        ends_at=until_or_never,
    )


def _taken_back(
    entitlement: Projected, first: FactLike, facts: Sequence[FactLike], reversing: Sequence[FactLike]
) -> Projected:
    taken = reversals.reversal(reversing, paid=first.data["amount_total"])
    lifted = lifted_at(facts, entitlement.item_key)
    if taken is None or (lifted is not None and taken.at <= lifted):
        return entitlement
    if taken.final:
        return canceled(entitlement, taken.at, reason=taken.reason)
    return replace(entitlement, state=State.SUSPENDED, reason=taken.reason)


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
        end = later(start, each.duration)
        spans[each.key] = (start, end)
        if each.canceled_at is None or each.canceled_at >= end:
            free_from = end
        elif each.canceled_at > start:
            free_from = each.canceled_at
    return spans
