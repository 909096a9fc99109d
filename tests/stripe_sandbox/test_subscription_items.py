"""Items of a subscription, added, changed and removed one by one."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.shop import Shop
from tests.stripe_sandbox.test_lifecycle import DAY, HOUR, INVOICED, PAID, SETTLED, now
from tests.stripe_sandbox.test_subscription_changes import ITEMS, change, described, items


def update(shop: Shop, item_id: str, **asked: Any) -> stripe.SubscriptionItem:
    params: Any = asked
    return shop.stripe.subscription_items.update(item_id, params)


def test_an_item_is_added_for_the_rest_of_the_period(shop: Shop) -> None:
    subscription, extra = shop.started(shop.price(3000)), shop.price(900)
    [first] = items(subscription)
    shop.act("advance_clock", seconds=10 * DAY)
    before = len(shop.events())
    added = shop.stripe.subscription_items.create(
        {"subscription": subscription.id, "price": extra.id, "quantity": 2, "metadata": {"a": "b"}}
    )
    assert shop.events()[before:] == ["customer.subscription.updated", "invoiceitem.created"]
    assert (added.subscription, added.price.id, added.quantity) == (subscription.id, extra.id, 2)
    assert (added.current_period_start, added.current_period_end) == (
        first.current_period_start,
        first.current_period_end,
    )
    assert shop.stripe.subscription_items.retrieve(added.id).metadata.to_dict() == {"a": "b"}
    listed = shop.stripe.subscription_items.list({"subscription": subscription.id, "limit": 1})
    assert ([each.id for each in listed.data], listed.has_more) == ([first.id], True)
    shop.act("advance_clock", seconds=first.current_period_end - now(shop) + 2 * HOUR)
    invoice = shop.stripe.invoices.list({"subscription": subscription.id}).data[0]
    lines = [described(line) for line in invoice.lines.data]
    assert sorted(line[:2] for line in lines) == sorted(
        [(added.id, extra.id), (added.id, extra.id), (first.id, first.price.id)]
    )
    (proration,) = (line for line in lines if line[3])
    assert proration[0] == added.id
    assert 0 < proration[4] < 1800


def test_an_item_is_changed_and_invoiced_at_once(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000))
    [item] = items(subscription)
    before = len(shop.events())
    asked: Any = {"quantity": 3, "proration_behavior": "always_invoice"}
    assert update(shop, item.id, **asked).quantity == 3
    assert shop.events()[before:] == [
        *ITEMS,
        "customer.subscription.updated",
        *INVOICED,
        *PAID,
        *SETTLED,
    ]


def test_an_item_goes_with_a_credit_and_the_last_one_stays(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000), shop.price(900))
    first, second = items(subscription)
    gone = shop.stripe.subscription_items.delete(second.id)
    assert (gone.id, gone.deleted) == (second.id, True)
    [credit] = shop.stripe.invoice_items.list({"customer": str(subscription.customer), "pending": True}).data
    assert -900 <= credit.amount < -890
    after = shop.stripe.subscriptions.retrieve(subscription.id)
    assert [each.id for each in items(after)] == [first.id]
    with pytest.raises(stripe.InvalidRequestError, match="at least one"):
        shop.stripe.subscription_items.delete(first.id, {"proration_behavior": "none"})
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription_item") as missing:
        shop.stripe.subscription_items.retrieve(second.id)
    assert missing.value.http_status == 404


def test_a_change_that_cannot_be_paid_is_refused_when_asked_for(shop: Shop) -> None:
    subscription = shop.started(shop.price(3000))
    [item] = items(subscription)
    declined: Any = {"default_payment_method": "pm_card_chargeCustomerFail"}
    shop.stripe.subscriptions.update(subscription.id, declined)
    asked: Any = {"quantity": 3, "proration_behavior": "always_invoice"}
    with pytest.raises(stripe.CardError, match="declined"):
        update(shop, item.id, payment_behavior="error_if_incomplete", **asked)
    assert shop.stripe.subscription_items.retrieve(item.id).quantity == 1
    for refused in ("pending_if_incomplete", "default_incomplete"):
        with pytest.raises(stripe.InvalidRequestError, match=refused):
            update(shop, item.id, payment_behavior=refused, **asked)


def test_another_price_sets_the_quantity_to_one_unless_it_is_named(shop: Shop) -> None:
    cheap, dear = shop.price(1000), shop.price(3000)
    subscription = shop.started(cheap)
    [item] = items(subscription)
    none: Any = {"proration_behavior": "none"}
    update(shop, item.id, quantity=5, **none)
    assert update(shop, item.id, price=cheap.id, **none).quantity == 5
    assert update(shop, item.id, price=dear.id, **none).quantity == 1
    swap: Any = {"id": item.id, "price": cheap.id}
    changed = change(shop, subscription, items=[{**swap, "quantity": 4}], **none)
    assert items(changed)[0].quantity == 4
    changed = change(shop, subscription, items=[{**swap, "price": dear.id}], **none)
    assert items(changed)[0].quantity == 1


def test_a_subscription_and_a_price_are_needed(shop: Shop) -> None:
    subscription, once = shop.started(), shop.price(interval=None)
    with pytest.raises(stripe.InvalidRequestError, match="price"):
        shop.stripe.subscription_items.create({"subscription": subscription.id})
    with pytest.raises(stripe.InvalidRequestError, match="recurring"):
        shop.stripe.subscription_items.create({"subscription": subscription.id, "price": once.id})
    with pytest.raises(stripe.InvalidRequestError, match="No such subscription"):
        shop.stripe.subscription_items.list({"subscription": "sub_unknown"})
