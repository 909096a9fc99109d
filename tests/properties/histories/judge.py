"""What a person who knows everything would say of each item of a subscription, from the product's rules.

It reads what is true at Stripe, and never an event.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.properties.histories.billing import Invoice, InvoiceLine
from tests.properties.histories.catalog import Sold
from tests.properties.histories.life import DAY, SLACK, Right
from tests.properties.histories.subscription import Item, Subscription


def rights(subscription: Subscription) -> dict[str, Right]:
    """By item, what it gives from now on if nothing else happens; without those that give nothing."""
    state = subscription.state
    if not subscription.was_granted or state["status"] not in {"active", "trialing", "past_due"}:
        return {}
    if (state["pause_collection"] or {}).get("behavior") == "void":
        return {}
    found = {name: _of_item(subscription, name, item) for name, item in subscription.items.items()}
    return {f"{name}_{subscription.names.tag}": right for name, right in found.items() if right}


def _of_item(subscription: Subscription, name: str, item: Item) -> Right | None:
    if not subscription.was_granted_to(name):
        return None
    current = subscription.current_invoice(name)
    if current is not None and subscription.emitter.taken(current.number, current.amount):
        return None
    if item.quantity == 0:
        return None
    if subscription.status == "past_due":
        return _in_grace(subscription, name, item)
    price = item.price
    ends = [(item.end + SLACK, "renewal_unconfirmed"), *_scheduled_ends(subscription, item)]
    if (change := subscription.unmapped.get(name)) is not None:
        if change.before is None:
            return None
        price = change.before
        ends.append((change.paid_until, "product_changed"))
    return _right(subscription.sold[name, price], item.quantity, ends)


def _in_grace(subscription: Subscription, name: str, item: Item) -> Right | None:
    """What was last paid for, for the grace days of that, and for as long at least as it was paid for.

    What was paid at a price of no product is none of ours: what was paid before it has no grace then.
    """
    failed_at, paid = subscription.current_bill.failed_at, _paid(subscription, name)
    assert failed_at is not None
    ours = [
        (bill, line, sold)
        for bill, line in paid
        if line.item and (sold := bill.sold_as[line.item].get(line.price))
    ]
    change = subscription.unmapped.get(name)
    if not ours or (change is not None and change.before is None):
        return None
    bill, last, sold = ours[0]
    is_last = bill is paid[0][0]
    grace_days = sold["grace_days"] if is_last else 0
    paid_until = _paid_until(subscription, name) if is_last else _last_end(line for _, line, _ in ours)
    ends = [(max(failed_at + grace_days * DAY, paid_until), "past_due")]
    ends += _scheduled_ends(subscription, item)
    if change is not None:
        ends.append((change.paid_until, "product_changed"))
    return _right(sold, last.quantity, ends)


def _last_end(lines: Iterable[InvoiceLine]) -> int:
    """The end of the last period that one of these lines began."""
    return max(((line.start, line.end) for line in lines if line.begins_period), default=(0, 0))[1]


def _scheduled_ends(subscription: Subscription, item: Item) -> list[tuple[int, str]]:
    state = subscription.state
    ends = [] if state["cancel_at"] is None else [(state["cancel_at"], "canceled")]
    return [*ends, (item.end, "canceled")] if state["cancel_at_period_end"] else ends


def _right(sold: Sold, quantity: int, ends: list[tuple[int, str]]) -> Right:
    until = min(end for end, _reason in ends)
    reasons = {reason for end, reason in ends if end == until}
    return Right(
        until,
        sold["product_code"],
        quantity,
        tuple(sold["features"]),
        reasons.pop() if len(reasons) == 1 else None,
    )


def _paid(subscription: Subscription, name: str) -> list[tuple[Invoice, InvoiceLine]]:
    """What money was paid for of this item: periods, and changes within one; the last first."""
    paid: list[tuple[int, bool, int, Invoice, InvoiceLine]] = []
    for bill in subscription.invoices:
        if bill.paid_at is not None:
            paid += [
                (bill.paid_at, line.begins_period, number, bill, line)
                for number, line in enumerate(bill.lines)
                if line.item in subscription.lineage(name) and line.amount > 0
            ]
    return [each[3:] for each in sorted(paid, key=lambda each: each[:3], reverse=True)]


def _paid_until(subscription: Subscription, name: str) -> int:
    """The end of the period of this item that was paid for last."""
    own = subscription.current_line(name)
    return own.end if own is not None and own.amount > 0 else 0
