"""Subscriptions made and changed over the API: items, intervals, prorations and resets."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.shop import Shop
from tests.stripe_sandbox.test_invoices import lines_of
from tests.stripe_sandbox.test_lifecycle import DAY, HOUR, INVOICED, PAID, RENEWED, SETTLED, now

ITEMS = ["invoiceitem.created", "invoiceitem.created"]


def items(subscription: stripe.Subscription) -> list[Any]:
    found: list[Any] = subscription["items"].data
    return found


def change(shop: Shop, subscription: stripe.Subscription, **asked: Any) -> stripe.Subscription:
    """The subscription after an update, with its latest invoice."""
    more: Any = {"expand": ["latest_invoice"], **asked}
    return shop.stripe.subscriptions.update(subscription.id, more)


def described(line: Any) -> tuple[Any, ...]:
    """Item, price, quantity, whether it is a proration, and the amount of a line."""
    details = line.parent.subscription_item_details
    price = line.pricing.price_details.price
    return details.subscription_item, price, line.quantity, details.proration, line.amount


def test_a_subscription_made_over_the_api_is_paid_at_once(shop: Shop) -> None:
    price, fee = shop.price(1900), shop.price(5000, interval=None)
    before = len(shop.events())
    subscription = shop.started(price, metadata={"a": "b"}, add_invoice_items=[{"price": fee.id}])
    emitted = shop.events()[before:]
    assert emitted == [
        "customer.created",
        "customer.subscription.created",
        "invoiceitem.created",
        *INVOICED,
        *PAID,
        "customer.subscription.updated",
        *SETTLED,
    ]
    assert subscription.status == "active"
    invoice = shop.stripe.invoices.retrieve(str(subscription.latest_invoice))
    assert (invoice.amount_paid, invoice.billing_reason) == (6900, "subscription_create")
    once, monthly = invoice.lines.data
    assert once.parent.invoice_item_details.proration is False  # type: ignore[union-attr]
    assert once.period.start == once.period.end
    assert described(monthly) == (items(subscription)[0].id, price.id, 1, False, 1900)
    assert monthly.period.end == items(subscription)[0].current_period_end


def test_each_item_has_a_period_of_its_own(shop: Shop) -> None:
    yearly, monthly = shop.price(12000, interval="year"), shop.price(500)
    subscription = shop.started(yearly, monthly)
    year, month = items(subscription)
    start = year.current_period_start
    assert month.current_period_start == start
    assert 28 * DAY <= month.current_period_end - start <= 31 * DAY
    assert 365 * DAY <= year.current_period_end - start <= 366 * DAY
    emitted = shop.act("advance_clock", seconds=month.current_period_end - now(shop) + 2 * HOUR)
    assert emitted[: len(RENEWED)] == RENEWED
    after = shop.stripe.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    assert items(after)[0].current_period_end == year.current_period_end
    assert items(after)[1].current_period_start == month.current_period_end
    invoice: Any = after.latest_invoice
    assert [described(line) for line in invoice.lines.data] == [(month.id, monthly.id, 1, False, 500)]
    shop.act("advance_clock", seconds=year.current_period_end - now(shop) + 2 * HOUR)
    after = shop.stripe.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    invoice = after.latest_invoice
    assert {line.amount for line in invoice.lines.data} == {500, 12000}, "both are over together"


@pytest.mark.parametrize(("interval", "count", "days"), [("day", 10, 10), ("week", 2, 14), ("month", 3, 92)])
def test_periods_of_any_length(shop: Shop, interval: str, count: int, days: int) -> None:
    price = shop.price(recurring={"interval": interval, "interval_count": count})
    [item] = items(shop.started(price))
    assert days - 3 <= (item.current_period_end - item.current_period_start) // DAY <= days


def test_a_dearer_price_is_prorated_on_the_next_invoice(shop: Shop) -> None:
    cheap, dear = shop.price(3000), shop.price(9000)
    subscription = shop.started(cheap)
    [item] = items(subscription)
    shop.act("advance_clock", seconds=10 * DAY)
    before = len(shop.events())
    changed = change(shop, subscription, items=[{"id": item.id, "price": dear.id}])
    assert shop.events()[before:] == ["customer.subscription.updated", *ITEMS]
    assert items(changed)[0].current_period_end == item.current_period_end
    pending = shop.stripe.invoice_items.list({"customer": str(subscription.customer), "pending": True}).data
    charge, credit = pending
    length, left = item.current_period_end - item.current_period_start, item.current_period_end - now(shop)
    assert abs(credit.amount + 3000 * left / length) < 2
    assert abs(charge.amount - 9000 * left / length) < 2
    shop.act("advance_clock", seconds=item.current_period_end - now(shop) + 2 * HOUR)
    invoice = shop.stripe.invoices.list({"subscription": subscription.id}).data[0]
    assert [described(line) for line in invoice.lines.data] == [
        (item.id, dear.id, 1, True, charge.amount),
        (item.id, cheap.id, 1, True, credit.amount),
        (item.id, dear.id, 1, False, 9000),
    ]
    prorated = invoice.lines.data[0]
    assert (prorated.period.start, prorated.period.end) == (charge.period.start, item.current_period_end)
    assert invoice.amount_paid == 9000 + charge.amount + credit.amount
    assert shop.stripe.invoice_items.retrieve(charge.id).invoice == invoice.id


def test_seats_are_invoiced_at_once_when_asked_for(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000))
    [item] = items(subscription)
    before = len(shop.events())
    seats = [{"id": item.id, "quantity": 4}]
    changed = change(shop, subscription, items=seats, proration_behavior="always_invoice")
    assert shop.events()[before:] == [
        *ITEMS,
        "customer.subscription.updated",
        *INVOICED,
        *PAID,
        *SETTLED,
    ]
    invoice: Any = changed.latest_invoice
    assert invoice.billing_reason == "subscription_update"
    assert invoice.status == "paid"
    assert abs(invoice.amount_paid - 9000) < 10
    assert all(line.parent.subscription_item_details.proration for line in invoice.lines.data)


def test_a_cheaper_price_leaves_a_balance(shop: Shop) -> None:
    subscription, cheap = shop.started(shop.price(3000)), shop.price(1000)
    [item] = items(subscription)
    swap = [{"id": item.id, "price": cheap.id}]
    changed = change(shop, subscription, items=swap, proration_behavior="always_invoice")
    invoice: Any = changed.latest_invoice
    assert (invoice.status, invoice.amount_due) == ("paid", 0)
    assert -2010 < invoice.total < -1990
    assert invoice.ending_balance == invoice.total
    customer = shop.stripe.customers.retrieve(str(subscription.customer))
    assert customer.balance == invoice.total
    shop.act("renew", subscription=subscription.id)
    renewal = shop.stripe.invoices.list({"subscription": subscription.id}).data[0]
    assert (renewal.total, renewal.amount_due, renewal.starting_balance) == (1000, 0, invoice.total)
    assert shop.stripe.customers.retrieve(str(subscription.customer)).balance == invoice.total + 1000


def test_without_prorations_only_the_items_change(shop: Shop) -> None:
    subscription, more = shop.started(shop.price(3000)), shop.price(500)
    [item] = items(subscription)
    before = len(shop.events())
    asked: Any = [{"id": item.id, "quantity": 0}, {"price": more.id, "quantity": 2, "metadata": {"a": "b"}}]
    changed = change(shop, subscription, items=asked, proration_behavior="none")
    assert shop.events()[before:] == ["customer.subscription.updated"]
    first, second = items(changed)
    assert (first.quantity, second.quantity, second.price.id) == (0, 2, more.id)
    assert second.current_period_end == item.current_period_end
    assert second.metadata.to_dict() == {"a": "b"}
    changed = change(shop, subscription, items=[{"id": item.id, "deleted": True}], proration_behavior="none")
    assert [each.id for each in items(changed)] == [second.id]
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        change(shop, subscription, items=[{"id": second.id, "deleted": True}])
    with pytest.raises(stripe.InvalidRequestError, match="only once"):
        change(shop, subscription, items=[{"price": more.id}])


def test_an_item_of_another_interval_takes_the_period_that_the_anchor_gives(shop: Shop) -> None:
    subscription, weekly = shop.started(shop.price(3000)), shop.price(700, interval="week")
    anchor = subscription.billing_cycle_anchor
    shop.act("advance_clock", seconds=10 * DAY)
    changed = change(shop, subscription, items=[{"price": weekly.id}])
    added = items(changed)[1]
    assert (added.current_period_start, added.current_period_end) == (anchor + 7 * DAY, anchor + 14 * DAY)
    [charge] = shop.stripe.invoice_items.list({"customer": str(subscription.customer), "pending": True}).data
    assert 390 < charge.amount <= 400, "four days of seven"
    assert charge.parent.subscription_details.subscription_item == added.id  # type: ignore[union-attr]


def test_a_cycle_reset_credits_unused_time(shop: Shop) -> None:
    price = shop.price(3000)
    subscription = shop.started(price)
    [item] = items(subscription)
    shop.act("advance_clock", seconds=15 * DAY)
    before = len(shop.events())
    reset = change(shop, subscription, billing_cycle_anchor={"type": "now"})
    emitted = shop.events()[before:]
    assert emitted[:2] == ["invoiceitem.created", "customer.subscription.updated"]
    assert emitted[-len(SETTLED) :] == SETTLED
    [after] = items(reset)
    assert after.current_period_start == reset.billing_cycle_anchor > item.current_period_start + 14 * DAY
    invoice: Any = reset.latest_invoice
    credit, period = invoice.lines.data
    assert credit.amount < -1300
    assert described(credit)[3] is True
    assert described(period) == (item.id, price.id, 1, False, 3000)
    assert invoice.amount_paid == 3000 + credit.amount
    events = shop.stripe.events.list({"type": "customer.subscription.updated", "limit": 1})
    updated = events.data[0].to_dict()["data"]
    assert updated["object"]["latest_invoice"] == invoice.id
    assert set(updated["previous_attributes"]) == {"billing_cycle_anchor", "items", "latest_invoice"}
    plain = change(shop, subscription, billing_cycle_anchor={"type": "now"}, proration_behavior="none")
    assert plain.latest_invoice.amount_paid == 3000  # type: ignore[union-attr]


def test_a_year_bought_by_mistake_becomes_a_month(shop: Shop) -> None:
    yearly, monthly = shop.price(12000, interval="year"), shop.price(1200)
    subscription = shop.started(yearly)
    [item] = items(subscription)
    shop.act("advance_clock", seconds=DAY)
    changed = change(shop, subscription, items=[{"id": item.id, "price": monthly.id}])
    invoice: Any = changed.latest_invoice
    assert [described(line)[:2] for line in invoice.lines.data] == [
        (item.id, yearly.id),
        (item.id, monthly.id),
    ]
    assert invoice.total < 0
    assert items(changed)[0].current_period_end - now(shop) < 32 * DAY


def test_an_upgrade_that_is_not_paid(shop: Shop) -> None:
    subscription, dear = shop.started(shop.price(3000)), shop.price(9000)
    [item] = items(subscription)
    bad = shop.stripe.subscriptions.update(
        subscription.id, {"default_payment_method": "pm_card_chargeCustomerFail"}
    )
    assert bad.status == "active"
    swap: Any = {"items": [{"id": item.id, "price": dear.id}], "proration_behavior": "always_invoice"}
    before = len(shop.events())
    with pytest.raises(stripe.CardError, match="declined"):
        change(shop, subscription, payment_behavior="error_if_incomplete", **swap)
    assert len(shop.events()) == before, "nothing changed"
    changed = change(shop, subscription, payment_behavior="allow_incomplete", **swap)
    assert (changed.status, items(changed)[0].price.id) == ("past_due", dear.id)
    assert changed.latest_invoice.status == "open"  # type: ignore[union-attr]
    for refused in ("pending_if_incomplete", "default_incomplete"):
        with pytest.raises(stripe.InvalidRequestError, match=refused):
            change(shop, subscription, payment_behavior=refused)


def test_a_first_payment_that_fails_or_waits(shop: Shop) -> None:
    declined: Any = {"default_payment_method": "pm_card_chargeDeclined"}
    with pytest.raises(stripe.CardError):
        shop.started(payment_behavior="error_if_incomplete", **declined)
    assert shop.stripe.subscriptions.list({"status": "all"}).data == []
    assert shop.started(**declined).status == "incomplete"
    waiting = shop.started(payment_behavior="default_incomplete")
    assert waiting.status == "incomplete"
    paid = shop.stripe.invoices.pay(str(waiting.latest_invoice))
    assert paid.status == "paid"
    assert shop.stripe.subscriptions.retrieve(waiting.id).status == "active"
    shop.act("advance_clock", seconds=DAY)
    statuses = {s.status for s in shop.stripe.subscriptions.list({"status": "all"}).data}
    assert statuses == {"active", "incomplete_expired"}


@pytest.mark.parametrize(
    ("at_end", "status"), [("cancel", "canceled"), ("pause", "paused"), ("create_invoice", "past_due")]
)
def test_a_trial_without_a_card(shop: Shop, at_end: Any, status: str) -> None:
    session = shop.bought(
        shop.price(),
        payment_method_collection="if_required",
        subscription_data={
            "trial_period_days": 5,
            "trial_settings": {"end_behavior": {"missing_payment_method": at_end}},
        },
    )
    shop.act("advance_clock", seconds=5 * DAY + 2 * HOUR)
    assert shop.stripe.subscriptions.retrieve(str(session.subscription)).status == status


def paused_without_card(shop: Shop) -> str:
    session = shop.bought(
        shop.price(),
        payment_method_collection="if_required",
        subscription_data={
            "trial_period_days": 5,
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
        },
    )
    shop.act("advance_clock", seconds=5 * DAY + 2 * HOUR)
    return str(session.subscription)


def test_without_a_card_it_is_resumed_once_its_invoice_is_paid(shop: Shop) -> None:
    paused = paused_without_card(shop)
    resumed = shop.stripe.subscriptions.resume(paused)
    assert resumed.status == "paused"
    invoice = shop.stripe.invoices.retrieve(str(resumed.latest_invoice))
    assert (invoice.status, invoice.billing_reason) == ("open", "subscription_update")
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.subscriptions.resume(paused)
    with pytest.raises(stripe.CardError):
        shop.stripe.invoices.pay(str(invoice.id))
    change(shop, resumed, default_payment_method="pm_card_visa")
    assert shop.stripe.invoices.pay(str(invoice.id)).status == "paid"
    after = shop.stripe.subscriptions.retrieve(paused)
    assert after.status == "active"
    shop.act("advance_clock", seconds=32 * DAY)
    assert shop.stripe.subscriptions.retrieve(paused).status == "active"


def test_it_stays_paused_when_the_invoice_is_not_paid_in_time(shop: Shop) -> None:
    paused = paused_without_card(shop)
    resumed = shop.stripe.subscriptions.resume(paused)
    shop.act("advance_clock", seconds=DAY)
    assert shop.stripe.invoices.retrieve(str(resumed.latest_invoice)).status == "void"
    assert shop.stripe.subscriptions.retrieve(paused).status == "paused"
    shop.act("resume", subscription=paused)
    assert shop.stripe.subscriptions.retrieve(paused).status == "active"


def test_a_card_that_is_entered_pays_the_waiting_invoice(shop: Shop) -> None:
    paused = paused_without_card(shop)
    shop.stripe.subscriptions.resume(paused)
    shop.act("resume", subscription=paused)
    after = shop.stripe.subscriptions.retrieve(paused)
    assert after.status == "active"
    assert shop.stripe.invoices.retrieve(str(after.latest_invoice)).status == "paid"


def test_a_short_trial_is_announced_at_once(shop: Shop) -> None:
    shop.subscribed(subscription_data={"trial_period_days": 2})
    shop.act("advance_clock", seconds=1)
    types = [each.type for each in shop.stripe.events.list({"limit": 20}).data]
    assert types.count("customer.subscription.trial_will_end") == 1


def test_leaving_in_the_middle_credits_when_asked_for(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000))
    shop.stripe.subscriptions.cancel(subscription.id, {"prorate": True, "invoice_now": True})
    last = shop.stripe.invoices.list({"subscription": subscription.id}).data[0]
    assert -3000 <= last.total < -2990
    assert shop.stripe.customers.retrieve(str(subscription.customer)).balance == last.total


def test_a_pause_of_collection_keeps_marks_or_voids(shop: Shop) -> None:
    subscription = shop.started()
    outcomes = {"keep_as_draft": "draft", "mark_uncollectible": "uncollectible", "void": "void"}
    for behavior, status in outcomes.items():
        change(
            shop, subscription, pause_collection={"behavior": behavior, "resumes_at": now(shop) + 40 * DAY}
        )
        shop.act("renew", subscription=subscription.id)
        assert shop.stripe.invoices.list({"subscription": subscription.id}).data[0].status == status
    shop.act("advance_clock", seconds=41 * DAY)
    assert shop.stripe.subscriptions.retrieve(subscription.id).pause_collection is None


def test_it_is_paused_and_resumed_over_the_api(shop: Shop) -> None:
    subscription = shop.started()
    assert shop.stripe.subscriptions.pause(subscription.id).status == "paused"
    assert shop.stripe.subscriptions.resume(subscription.id).status == "active"


def test_an_invoice_of_many_lines_shows_ten(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000))
    [item] = items(subscription)
    for seats in range(2, 10):
        shop.act("advance_clock", seconds=HOUR)
        change(shop, subscription, items=[{"id": item.id, "quantity": seats}])
    shop.act("renew", subscription=subscription.id)
    invoice = shop.stripe.invoices.list({"subscription": subscription.id}).data[0]
    shown: Any = invoice.lines
    assert (len(shown.data), shown.has_more, shown.total_count) == (10, True, 17)
    assert all(described(line)[3] for line in shown.data), "prorations come first, the newest of them first"
    assert shown.data[0].quantity == 9
    lines = lines_of(shop, invoice.id)
    assert len({line.id for line in lines}) == 17
    assert described(lines[-1])[2:] == (9, False, 27000)
    assert sum(line.amount for line in lines) == invoice.total
    back = shop.stripe.invoices.line_items.list(invoice.id, {"ending_before": lines[5].id, "limit": 3})
    assert [line.id for line in back.data] == [line.id for line in lines[2:5]]
    assert back.has_more is True
    with pytest.raises(stripe.InvalidRequestError, match="No such item"):
        shop.stripe.invoices.line_items.list(invoice.id, {"starting_after": "il_no"})


def test_another_invoice_is_paid_while_a_renewal_is_owed(shop: Shop) -> None:
    subscription = shop.subscribed(shop.price(3000))
    [item] = items(subscription)
    shop.act("fail_renewal", subscription=subscription.id)
    owed = shop.stripe.subscriptions.retrieve(subscription.id).latest_invoice
    shop.stripe.subscriptions.update(subscription.id, {"default_payment_method": "pm_card_visa"})
    seats = [{"id": item.id, "quantity": 2}]
    changed = change(shop, subscription, items=seats, proration_behavior="always_invoice")
    assert (changed.status, changed.latest_invoice.status) == ("past_due", "paid")  # type: ignore[union-attr]
    declined = {"default_payment_method": "pm_card_chargeDeclined"}
    shop.stripe.subscriptions.update(subscription.id, declined)  # type: ignore[arg-type]
    assert "invoice.payment_failed" in shop.act("advance_clock", seconds=4 * DAY)
    renewal = shop.stripe.invoices.retrieve(str(owed))
    assert (renewal.status, renewal.attempt_count) == ("open", 2)


def test_a_checkout_takes_what_its_customer_owes_for_a_year(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "buyer@example.com"}).id
    year = {"start": now(shop), "end": now(shop) + 365 * DAY}
    service: Any = {"customer": customer, "amount": 8700, "currency": "usd", "period": year}
    shop.stripe.invoice_items.create(service)
    subscription = shop.subscribed(shop.price(1200), customer=customer)
    invoice = shop.stripe.invoices.retrieve(str(subscription.latest_invoice))
    assert [line.amount for line in invoice.lines.data] == [8700, 1200]
    assert invoice.lines.data[0].period.end == year["end"]
    assert invoice.amount_paid == 9900


def test_classic_billing_names_no_item_on_prorations(shop: Shop) -> None:
    classic: Any = {"type": "classic"}
    for subscription in (
        shop.subscribed(subscription_data={"billing_mode": classic}),
        shop.started(billing_mode=classic),
    ):
        [item] = items(subscription)
        seats = [{"id": item.id, "quantity": 3}]
        changed = change(shop, subscription, items=seats, proration_behavior="always_invoice")
        assert changed.billing_mode.type == "classic"
        for line in changed.latest_invoice.lines.data:  # type: ignore[union-attr]
            assert line.parent.subscription_item_details is None  # type: ignore[union-attr]
            assert line.parent.invoice_item_details.proration is True  # type: ignore[union-attr]
