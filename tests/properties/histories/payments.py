"""What may happen to the payments of a subscription: renewals, failures, recoveries, money that goes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.properties.histories.billing import Invoice, InvoiceLine
from tests.properties.histories.life import DAY
from tests.properties.histories.subscription import Subscription


def renew(subscription: Subscription) -> None:
    """The next period begins and is paid for: at once, or later where the invoice is sent or debited."""
    if _next_period(subscription):
        if _is_slow(subscription) and subscription.chance.random() < 0.5:
            return
        subscription.emitter.wait(7200)
        subscription.pay(subscription.current_bill)


def renewal_fails(subscription: Subscription) -> None:
    """The next period begins, and its first payment fails, or its invoice becomes overdue."""
    if _next_period(subscription):
        payment_fails(subscription)


def payment_fails(subscription: Subscription) -> None:
    """The latest invoice is open: its payment fails, or it becomes overdue."""
    invoice, sent = subscription.current_bill, subscription.state["collection_method"] == "send_invoice"
    subscription.emitter.wait(14 * DAY if sent else 6 * DAY if _is_slow(subscription) else 7200)
    if sent:
        subscription.life.kinds.add("overdue")
    if not subscription.was_granted:
        subscription.life.kinds.add("the first payment fails")
    in_any_order(
        subscription,
        lambda: subscription.fail(invoice, "overdue" if sent else "payment_failed"),
        lambda: subscription.change(status="past_due"),
    )
    if invoice.number == 1:
        subscription.emitter.session(paid="unpaid", event_name="async_payment_failed", subscription=True)


def payment_fails_again(subscription: Subscription) -> None:
    for _ in range(subscription.chance.randrange(1, 4)):
        subscription.emitter.wait(3 * DAY)
        subscription.fail(subscription.current_bill)
        subscription.life.kinds.add("retries")


def payment_comes(subscription: Subscription) -> None:
    """The latest invoice, which was open or had failed, is paid."""
    subscription.emitter.wait(4 * DAY)
    subscription.life.kinds.add("paid late")
    invoice = subscription.current_bill
    in_any_order(
        subscription,
        lambda: subscription.pay(invoice),
        lambda: subscription.change(status="active"),
    )
    if invoice.number == 1 and invoice.failed_at is None:
        subscription.emitter.session(event_name="async_payment_succeeded", subscription=True)


def invoice_is_given_up(subscription: Subscription) -> None:
    """The merchant voids the latest invoice or marks it as uncollectible: the subscription goes on."""
    subscription.emitter.wait(4 * DAY)
    invoice = subscription.current_bill
    in_any_order(
        subscription,
        lambda: subscription.give_up(invoice),
        lambda: subscription.change(status="active"),
    )
    subscription.life.kinds.add(invoice.status)


def subscription_is_given_up(subscription: Subscription) -> None:
    """Stripe has tried often enough."""
    subscription.emitter.wait(9 * DAY)
    if subscription.chance.random() < 0.5:
        subscription.change(status="unpaid")
    else:
        delete(subscription)


def manual_invoice(subscription: Subscription) -> None:
    """The merchant bills something else on the subscription: paid, failed, or given up."""
    subscription.emitter.wait(2 * DAY)
    subscription.life.kinds.add("a manual invoice")
    lines = [subscription.fee_line()]
    invoice = subscription.make_invoice("manual", lines, of_itself=False)
    course = subscription.chance.choice((("paid",), ("paid",), ("failed",), ("failed", "given up")))
    for step in course:
        subscription.emitter.wait(2 * DAY)
        if step == "paid":
            subscription.pay(invoice)
        elif step == "failed":
            subscription.fail(invoice)
        else:
            subscription.give_up(invoice)


def old_invoice_is_paid(subscription: Subscription) -> None:
    """An invoice that nobody was to pay any more is paid, when a later period has begun."""
    subscription.emitter.wait(2 * DAY)
    subscription.pay(old_invoices(subscription)[0])
    subscription.chance.choice((money_back, other_money_back))(subscription)


def old_invoices(subscription: Subscription) -> list[Invoice]:
    """Those that may still be paid, and pay for just what the subscription has now."""
    present = {(name, item.price, item.quantity) for name, item in subscription.items.items()}
    return [
        bill
        for bill in subscription.invoices
        if bill.status == "uncollectible"
        and bill is not subscription.latest
        and subscription.was_paid_for
        and {(line.item, line.price, line.quantity) for line in bill.lines if line.item} <= present
    ]


def seat_invoice(subscription: Subscription) -> None:
    """A small invoice of a seat's proration is paid; the subscription goes on with the invoice it had."""
    subscription.emitter.wait(2 * DAY)
    subscription.life.kinds.add("an invoice of a proration")
    now = subscription.emitter.now
    line = InvoiceLine(None, "price_of_a_seat", 1, now, now + 20 * DAY, 100, proration=True)
    subscription.pay(subscription.make_invoice("subscription_update", [line], of_itself=False))


# --- money back -----------------------------------------------------------------------------------------


def money_back(subscription: Subscription) -> None:
    """Of the current period of an item."""
    name = subscription.chance.choice(sorted(subscription.items))
    _money_back(subscription, subscription.current_invoice(name), "the current invoice goes back")


def other_money_back(subscription: Subscription) -> None:
    """Of an earlier period, or of an invoice that began none."""
    current = {id(subscription.current_invoice(name)) for name in subscription.items}
    others = [bill for bill in subscription.invoices if bill.is_paid and id(bill) not in current]
    if others:
        _money_back(subscription, subscription.chance.choice(others), "another invoice goes back")


def _money_back(subscription: Subscription, invoice: Invoice | None, kind: str) -> None:
    emitter = subscription.emitter
    if invoice is None or not invoice.amount:
        return
    if invoice.number in emitter.paid_back or invoice.number in emitter.disputes:
        return
    subscription.life.kinds.add(kind)
    if subscription.chance.random() < 0.6:
        emitter.give_back(invoice.number, invoice.amount)
    else:
        emitter.dispute(invoice.number, invoice.amount)


# --- the end --------------------------------------------------------------------------------------------


def delete(subscription: Subscription) -> None:
    if subscription.status == "canceled":
        return
    subscription.emitter.wait(DAY)
    at = subscription.emitter.next_second
    subscription.state |= {"status": "canceled", "ended_at": at}
    subscription.emit("deleted")


def _next_period(subscription: Subscription) -> bool:
    """Begin the next period, unless the subscription was to end before it."""
    end, due = subscription.state["cancel_at"], subscription.next_billing
    if subscription.state["cancel_at_period_end"] or (end is not None and end <= due):
        subscription.emitter.now = max(subscription.emitter.now, min(end or due, due))
        delete(subscription)
        return False
    subscription.roll_over()
    return True


def _is_slow(subscription: Subscription) -> bool:
    return bool(subscription.life.kinds & {"send_invoice", "a bank debit"})


def in_any_order(subscription: Subscription, *steps: Callable[[], Any]) -> None:
    """Stripe sends the invoice's event before or after the subscription's."""
    for step in subscription.chance.sample(steps, len(steps)):
        step()
