"""Invoices that a merchant makes, sends or is paid for past Stripe, and debits that fail late."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.shop import Shop
from tests.stripe_sandbox.test_lifecycle import DAY, HOUR, PAID, SETTLED, item_of, now

SENT: Any = {"collection_method": "send_invoice", "days_until_due": 14}
OVERDUE = ["invoice.overdue", "customer.subscription.updated"]


def latest(shop: Shop, subscription: stripe.Subscription) -> stripe.Invoice:
    return shop.stripe.invoices.list({"subscription": subscription.id, "limit": 1}).data[0]


def status_of(shop: Shop, subscription: stripe.Subscription) -> str:
    return str(shop.stripe.subscriptions.retrieve(subscription.id).status)


def test_a_sent_invoice_is_open_until_it_is_paid(shop: Shop) -> None:
    price = shop.price(1900)
    before = len(shop.events())
    subscription = shop.started(price, **SENT)
    emitted = shop.events()[before:]
    assert emitted == ["customer.created", "customer.subscription.created", "invoice.created"]
    assert (subscription.status, latest(shop, subscription).status) == ("active", "draft")
    emitted = shop.act("advance_clock", seconds=HOUR + 60)
    assert emitted[:3] == ["invoice.finalized", "payment_intent.created", "invoice.sent"]
    invoice = latest(shop, subscription)
    assert (invoice.status, invoice.collection_method, invoice.attempted) == ("open", "send_invoice", False)
    assert invoice.due_date == invoice.status_transitions.finalized_at + 14 * DAY  # type: ignore[operator]
    paid = shop.stripe.invoices.pay(invoice.id, {"paid_out_of_band": True})
    assert (paid.status, paid.amount_paid, paid.amount_paid_off_stripe) == ("paid", 1900, 1900)
    [payment] = shop.stripe.invoice_payments.list({"invoice": invoice.id}).data
    assert payment.status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="already paid"):
        shop.stripe.invoices.pay(invoice.id)


def test_a_sent_invoice_becomes_overdue(shop: Shop) -> None:
    subscription = shop.started(shop.price(1900), **SENT)
    emitted = shop.act("advance_clock", seconds=15 * DAY)
    assert emitted[-3:] == [*OVERDUE, "test_helpers.test_clock.ready"]
    assert status_of(shop, subscription) == "past_due"
    assert shop.act("advance_clock", seconds=10 * DAY) == ["test_helpers.test_clock.ready"], "once"
    assert shop.act("pay_invoice", invoice=latest(shop, subscription).id) == [
        *PAID,
        *SETTLED,
        "customer.subscription.updated",
    ]
    assert status_of(shop, subscription) == "active"


def test_a_renewal_is_sent_and_overdue_after_its_days(shop: Shop) -> None:
    subscription = shop.started(shop.price(1900), **SENT)
    shop.act("advance_clock", seconds=HOUR + 60)
    shop.act("pay_invoice_elsewhere", invoice=latest(shop, subscription).id)
    end = item_of(subscription).current_period_end
    shop.act("advance_clock", seconds=end - now(shop) + 2 * HOUR)
    renewal = latest(shop, subscription)
    assert (renewal.status, renewal.billing_reason) == ("open", "subscription_cycle")
    assert status_of(shop, subscription) == "active"
    shop.act("advance_clock", seconds=14 * DAY)
    assert status_of(shop, subscription) == "past_due"


def test_a_subscription_turns_to_sent_invoices(shop: Shop) -> None:
    subscription = shop.started()
    changed = shop.stripe.subscriptions.update(subscription.id, SENT)
    assert (changed.collection_method, changed.days_until_due) == ("send_invoice", 14)
    assert "invoice.sent" in shop.act("renew", subscription=subscription.id)
    back = shop.stripe.subscriptions.update(subscription.id, {"collection_method": "charge_automatically"})
    assert back.days_until_due is None
    with pytest.raises(stripe.InvalidRequestError, match="days_until_due"):
        shop.stripe.subscriptions.update(subscription.id, {"collection_method": "send_invoice"})


@pytest.mark.parametrize(("method", "succeeds"), [("pm_success_de", True), ("pm_failed_de", False)])
def test_a_first_debit_is_answered_days_later(shop: Shop, method: str, succeeds: bool) -> None:
    subscription = shop.started(default_payment_method=method)
    assert subscription.status == "active"
    assert latest(shop, subscription).status == "open"
    assert shop.act("advance_clock", seconds=4 * DAY) == ["test_helpers.test_clock.ready"]
    emitted = shop.act("advance_clock", seconds=2 * DAY)
    if succeeds:
        assert emitted[:-1] == [*PAID, *SETTLED]
        assert (status_of(shop, subscription), latest(shop, subscription).status) == ("active", "paid")
    else:
        assert emitted[:-1] == [
            "charge.failed",
            "payment_intent.payment_failed",
            "invoice.payment_failed",
            "customer.subscription.updated",
        ]
        assert (status_of(shop, subscription), latest(shop, subscription).status) == ("past_due", "open")
        assert latest(shop, subscription).attempt_count == 1


def test_a_debit_of_a_renewal_is_settled_on_request(shop: Shop) -> None:
    subscription = shop.started(default_payment_method="pm_failedDelayed_de")
    assert shop.act("settle_debit", subscription=subscription.id) == [*PAID, *SETTLED]
    assert "no debit under way" in shop.refused("fail_debit", subscription=subscription.id)
    end = item_of(subscription).current_period_end
    shop.act("advance_clock", seconds=end - now(shop) + 2 * HOUR)
    assert status_of(shop, subscription) == "active"
    assert "invoice.payment_failed" in shop.act("fail_debit", subscription=subscription.id)
    assert status_of(shop, subscription) == "past_due"


def test_an_unknown_payment_method_is_refused(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError, match="No such PaymentMethod"):
        shop.started(default_payment_method="pm_none")


def test_a_manual_invoice_of_a_subscription(shop: Shop) -> None:
    subscription = shop.started(**SENT)
    customer = str(subscription.customer)
    other = shop.stripe.invoice_items.create({"customer": customer, "amount": 70, "currency": "usd"})
    item: Any = {"customer": customer, "amount": 50, "currency": "usd", "subscription": subscription.id}
    shop.stripe.invoice_items.create(item)
    asked: Any = {"subscription": subscription.id, "pending_invoice_items_behavior": "include"}
    draft = shop.stripe.invoices.create(asked)
    assert (draft.status, draft.billing_reason, draft.total) == ("draft", "manual", 50)
    assert draft.parent.subscription_details.subscription == subscription.id  # type: ignore[union-attr]
    [line] = draft.lines.data
    assert line.parent.invoice_item_details.subscription == subscription.id  # type: ignore[union-attr]
    assert shop.stripe.invoices.finalize_invoice(draft.id).status == "open"
    paid = shop.stripe.invoices.pay(draft.id)
    assert (paid.status, paid.amount_paid) == ("paid", 50)
    emitted = shop.act("renew", subscription=subscription.id)
    assert emitted[:2] == ["customer.subscription.updated", "invoice.created"]
    renewal = latest(shop, subscription)
    assert [each.amount for each in renewal.lines.data] == [70, 1900], "what the customer owes comes along"
    assert shop.stripe.invoice_items.retrieve(other.id).invoice == renewal.id


def test_a_manual_invoice_of_a_customer(shop: Shop) -> None:
    fee = shop.price(5000, interval=None)
    customer = shop.stripe.customers.create({"email": "buyer@example.com"}).id
    draft = shop.stripe.invoices.create({"customer": customer, "description": "Work", "metadata": {"a": "b"}})
    assert (draft.total, draft.parent, draft.auto_advance) == (0, None, False)
    year: Any = {"start": draft.created, "end": draft.created + 365 * DAY}
    item: Any = {"customer": customer, "invoice": draft.id, "pricing": {"price": fee.id}, "period": year}
    item["quantity"] = 2
    made = shop.stripe.invoice_items.create(item)
    assert (made.invoice, made.amount, made.quantity) == (draft.id, 10000, 2)
    updated = shop.stripe.invoices.update(draft.id, {"auto_advance": True})
    assert updated.automatically_finalizes_at is not None
    emitted = shop.act("advance_clock", seconds=2 * HOUR)
    assert emitted[-len(SETTLED) - 1 : -1] == SETTLED
    paid = shop.stripe.invoices.retrieve(draft.id)
    assert (paid.status, paid.amount_paid, paid.lines.data[0].period.end) == ("paid", 10000, year["end"])
    with pytest.raises(stripe.InvalidRequestError, match="only a draft"):
        shop.stripe.invoice_items.create(item)
    with pytest.raises(stripe.InvalidRequestError, match="attached to an invoice"):
        shop.stripe.invoice_items.delete(made.id)
    with pytest.raises(stripe.InvalidRequestError, match="already finalized"):
        shop.stripe.invoices.finalize_invoice(draft.id)


def test_invoices_are_voided_given_up_and_deleted(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "buyer@example.com"}).id

    def owing(**more: Any) -> str:
        asked: Any = {"customer": customer, **more}
        draft = shop.stripe.invoices.create(asked)
        item: Any = {"customer": customer, "invoice": draft.id, "amount": 900, "currency": "usd"}
        shop.stripe.invoice_items.create(item)
        return draft.id

    draft = owing()
    with pytest.raises(stripe.InvalidRequestError, match="only void"):
        shop.stripe.invoices.void_invoice(draft)
    assert shop.stripe.invoices.delete(draft).deleted is True
    first, second = owing(**SENT), owing()
    assert shop.stripe.invoices.send_invoice(first).status == "open"
    assert shop.stripe.invoices.void_invoice(first).status == "void"
    assert shop.events()[-2:] == ["payment_intent.canceled", "invoice.voided"]
    with pytest.raises(stripe.InvalidRequestError, match="collection method"):
        shop.stripe.invoices.send_invoice(second)
    shop.stripe.invoices.finalize_invoice(second)
    with pytest.raises(stripe.CardError):
        shop.stripe.invoices.pay(second, {"payment_method": "pm_card_chargeDeclined"})
    assert shop.stripe.invoices.retrieve(second).attempt_count == 1, "the try is kept"
    assert shop.events()[-1] == "invoice.payment_failed"
    assert shop.stripe.invoices.mark_uncollectible(second).status == "uncollectible"
    assert shop.stripe.invoices.pay(second).status == "paid"


def test_a_declined_payment_is_one_try_for_one_key(shop: Shop) -> None:
    waiting = str(shop.started(payment_behavior="default_incomplete").latest_invoice)
    declined: Any = {"payment_method": "pm_card_chargeDeclined"}
    keyed: Any = {"idempotency_key": "try-1"}
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            shop.stripe.invoices.pay(waiting, declined, keyed)
    assert shop.stripe.invoices.retrieve(waiting).attempt_count == 1


def test_pending_items_can_go(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "buyer@example.com"}).id
    item = shop.stripe.invoice_items.create({"customer": customer, "amount": -300, "currency": "usd"})
    assert [i.id for i in shop.stripe.invoice_items.list({"pending": True}).data] == [item.id]
    assert shop.stripe.invoice_items.delete(item.id).deleted is True
    assert shop.stripe.invoice_items.list().data == []
    odd: Any = {"customer": customer}
    for more in ({}, {"amount": 5, "pricing": {"price": "price_1"}}):
        odd |= more
        with pytest.raises(stripe.InvalidRequestError, match="either `amount`"):
            shop.stripe.invoice_items.create(odd)
    with pytest.raises(stripe.InvalidRequestError, match="recurring"):
        shop.stripe.invoice_items.create({"customer": customer, "pricing": {"price": shop.price().id}})
