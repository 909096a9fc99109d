"""Catalog, customers, endpoints and lists: reading back what was written."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.shop import Receiver, Shop, headers_of


def test_lists_turn_their_pages_newest_first(shop: Shop) -> None:
    made = [shop.stripe.customers.create({"email": f"c{n}@x.co"}).id for n in range(7)]
    page = shop.stripe.customers.list({"limit": 3})
    assert [c.id for c in page.data] == made[:3:-1]
    assert page.has_more
    assert [c.id for c in page.auto_paging_iter()] == made[::-1]
    older = shop.stripe.customers.list({"limit": 3, "starting_after": made[2]})
    assert ([c.id for c in older.data], older.has_more) == ([made[1], made[0]], False)


def test_ending_before_gives_the_page_next_to_the_cursor(shop: Shop) -> None:
    made = [shop.stripe.customers.create({"email": f"c{n}@x.co"}).id for n in range(7)]
    newer = shop.stripe.customers.list({"limit": 3, "ending_before": made[1]})
    assert ([c.id for c in newer.data], newer.has_more) == ([made[4], made[3], made[2]], True)
    walked = shop.stripe.customers.list({"limit": 2, "ending_before": made[0]}).auto_paging_iter()
    assert [c.id for c in walked] == made[1:], "the library walks towards the newest"


def test_lists_filter_by_creation(shop: Shop) -> None:
    first = shop.stripe.customers.create({"email": "a@x.co"})
    shop.act("advance_clock", seconds=100)
    second = shop.stripe.customers.create({"email": "b@x.co"})
    assert second.created >= first.created + 100
    listed = shop.stripe.customers.list
    assert [c.id for c in listed({"created": {"gt": first.created}}).data] == [second.id]
    assert [c.id for c in listed({"created": {"lt": second.created}}).data] == [first.id]
    assert [c.id for c in listed({"created": first.created}).data] == [first.id]
    assert [c.id for c in listed({"email": "b@x.co"}).data] == [second.id]


def test_prices_are_found_by_what_they_are(shop: Shop) -> None:
    monthly, once = shop.price(lookup_key="pro"), shop.price(500, interval=None)
    listed = shop.stripe.prices.list
    off = shop.price(700, interval=None)
    shop.stripe.prices.update(off.id, {"active": False})
    assert [p.id for p in listed({"type": "recurring"}).data] == [monthly.id]
    assert [p.id for p in listed({"lookup_keys": ["pro", "other"]}).data] == [monthly.id]
    assert [p.id for p in listed({"product": str(once.product)}).data] == [once.id]
    assert [p.id for p in listed({"active": False}).data] == [off.id]
    assert [p.id for p in listed({"recurring": {"interval": "month"}}).data] == [monthly.id]
    expanded = listed({"expand": ["data.product"]}).data[0].product
    assert isinstance(expanded, stripe.Product)
    assert expanded.name == "Pro"


def test_prices_come_in_every_shape(shop: Shop) -> None:
    product = shop.stripe.products.create({"name": "x"})

    def price(**more: Any) -> stripe.Price:
        params: Any = {"product": product.id, "currency": "usd", **more}
        return shop.stripe.prices.create(params)

    assert str(price(unit_amount_decimal="12.5").unit_amount_decimal) == "12.5"
    assert price(unit_amount_decimal="12.5").unit_amount is None
    metered = price(unit_amount=5, recurring={"interval": "month", "usage_type": "metered", "meter": "mtr_1"})
    assert metered.recurring is not None
    assert metered.recurring.usage_type == "metered"
    tiers = [{"up_to": 10, "unit_amount": 100}, {"up_to": "inf", "flat_amount": 500}]
    tiered = price(billing_scheme="tiered", tiers_mode="volume", tiers=tiers, expand=["tiers"])
    assert tiered.tiers is not None
    assert [t.up_to for t in tiered.tiers] == [10, None]
    assert price(custom_unit_amount={"enabled": True, "minimum": 100}).custom_unit_amount is not None


def test_a_lookup_key_names_one_price(shop: Shop) -> None:
    first = shop.price(lookup_key="pro")
    with pytest.raises(stripe.InvalidRequestError, match="already uses that lookup key"):
        shop.price(lookup_key="pro")
    second = shop.price(lookup_key="pro", transfer_lookup_key=True)
    assert shop.stripe.prices.retrieve(first.id).lookup_key is None
    assert second.lookup_key == "pro"


def test_products_change_and_go(shop: Shop) -> None:
    product = shop.stripe.products.create({"name": "Pro", "metadata": {"a": "1", "b": "2"}})
    changed = shop.stripe.products.update(product.id, {"name": "Max", "metadata": {"a": "", "c": "3"}})
    assert (changed.name, changed.metadata.to_dict()) == ("Max", {"b": "2", "c": "3"})
    assert shop.stripe.products.delete(product.id).deleted is True
    with pytest.raises(stripe.InvalidRequestError, match="No such product"):
        shop.stripe.products.retrieve(product.id)
    assert shop.events() == ["product.created", "product.updated", "product.deleted"]
    with pytest.raises(stripe.InvalidRequestError, match="cannot be deleted"):
        shop.stripe.products.delete(str(shop.price().product))


def test_an_update_that_changes_nothing_gives_off_no_event(shop: Shop) -> None:
    price = shop.price()
    shop.stripe.prices.update(price.id, {"active": True})
    assert "price.updated" not in shop.events()
    shop.stripe.prices.update(price.id, {"active": False})
    updated = shop.stripe.events.list({"type": "price.updated"}).data
    assert [e.to_dict()["data"]["previous_attributes"] for e in updated] == [{"active": True}]


def test_customers_change_and_go(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "a@b.co", "address": {"country": "DE"}})
    assert customer.address is not None
    changed = shop.stripe.customers.update(customer.id, {"name": "Ada", "email": "c@d.co"})
    assert (changed.name, changed.email) == ("Ada", "c@d.co")
    subscription = shop.subscribed(customer=customer.id)
    assert shop.stripe.customers.delete(customer.id).deleted is True
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "canceled"
    assert shop.stripe.customers.list().data == []


def test_an_endpoints_secret_is_told_once(shop: Shop) -> None:
    params: Any = {"url": "http://127.0.0.1:9/x", "enabled_events": ["invoice.paid"]}
    made = shop.stripe.webhook_endpoints.create(params | {"api_version": "2026-10-28.endive"})
    assert str(made.secret).startswith("whsec_")
    assert made.api_version == "2026-10-28.endive"
    read = shop.stripe.webhook_endpoints.retrieve(made.id)
    assert "secret" not in read.to_dict()
    changed = shop.stripe.webhook_endpoints.update(
        made.id, {"enabled_events": ["*"], "disabled": True, "metadata": {"a": "b"}}
    )
    assert (changed.status, changed.enabled_events, changed.metadata.to_dict()) == (
        "disabled",
        ["*"],
        {"a": "b"},
    )
    assert "secret" not in shop.stripe.webhook_endpoints.list().data[0].to_dict()
    assert shop.stripe.webhook_endpoints.delete(made.id).deleted is True
    assert shop.stripe.webhook_endpoints.list().data == []


def test_endpoints_are_limited_in_number(shop: Shop) -> None:
    params: Any = {"url": "http://127.0.0.1:9/x", "enabled_events": ["invoice.paid"]}
    for _ in range(16):
        shop.stripe.webhook_endpoints.create(params)
    with pytest.raises(stripe.InvalidRequestError, match="maximum of 16"):
        shop.stripe.webhook_endpoints.create(params)


def test_events_are_found_by_type_and_delivery(shop: Shop, receiver: Receiver) -> None:
    shop.stripe.products.create({"name": "before anybody listened"})
    receiver.listen(shop, "price.created")
    shop.price()
    receiver.wait_for("price.created")
    listed = shop.stripe.events.list
    assert [e.type for e in listed({"types": ["price.created", "product.deleted"]}).data] == ["price.created"]
    assert {e.type for e in listed({"type": "product.*"}).data} == {"product.created"}
    assert all(e.pending_webhooks == 0 for e in listed().data)
    assert listed({"delivery_success": False}).data == []
    shop.inject_faults(webhooks={"lose": 1})
    lost = shop.price()
    assert [e.data.object["id"] for e in listed({"delivery_success": False}).data] == [lost.id]
    assert listed({"delivery_success": False}).data[0].pending_webhooks == 1
    assert lost.id not in [e.data.object["id"] for e in listed({"delivery_success": True}).data]


def test_events_are_listed_for_thirty_days(shop: Shop) -> None:
    shop.stripe.products.create({"name": "old"})
    old = shop.stripe.events.list().data[0]
    shop.act("advance_clock", seconds=29 * 86400)
    assert old.id in [e.id for e in shop.stripe.events.list().data]
    shop.act("advance_clock", seconds=2 * 86400)
    assert old.id not in [e.id for e in shop.stripe.events.list().data]


def test_events_name_the_request_that_caused_them(shop: Shop) -> None:
    made = shop.stripe.products.create({"name": "x"}, {"idempotency_key": "k-9"})
    request = shop.stripe.events.list().data[0].request
    assert request is not None
    assert request.id == headers_of(made)["Request-Id"]
    assert request.idempotency_key == "k-9"


def test_sessions_are_found_by_what_they_led_to(shop: Shop) -> None:
    bought = shop.bought()
    subscription = shop.subscribed()
    open_one = shop.session(shop.price())
    listed = shop.stripe.checkout.sessions.list
    assert [s.id for s in listed({"payment_intent": str(bought.payment_intent)}).data] == [bought.id]
    assert [s.subscription for s in listed({"subscription": subscription.id}).data] == [subscription.id]
    assert [s.id for s in listed({"status": "open"}).data] == [open_one.id]
    assert len(listed({"status": "complete"}).data) == 2
    assert [s.id for s in listed({"customer": str(bought.customer)}).data] == [bought.id]


def test_references_expand(shop: Shop) -> None:
    session = shop.stripe.checkout.sessions.retrieve(
        shop.bought().id,
        {"expand": ["payment_intent.latest_charge", "customer", "line_items.data.price.product"]},
    )
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    assert isinstance(session.payment_intent.latest_charge, stripe.Charge)
    assert isinstance(session.customer, stripe.Customer)
    assert session.line_items is not None
    assert session.line_items.data[0].price is not None
    assert isinstance(session.line_items.data[0].price.product, stripe.Product)
    subscription = shop.stripe.subscriptions.retrieve(
        shop.subscribed().id, {"expand": ["latest_invoice.payments", "items.data.price.product", "customer"]}
    )
    assert isinstance(subscription.latest_invoice, stripe.Invoice)
    assert subscription.latest_invoice.payments is not None
    assert subscription.latest_invoice.payments.data[0].status == "paid"


def test_line_items_are_a_list_of_their_own(shop: Shop) -> None:
    first, second = shop.price(100, interval=None), shop.price(200, interval=None)
    session = shop.stripe.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://shop.test",
            "line_items": [{"price": first.id, "quantity": 2}, {"price": second.id, "quantity": 1}],
        }
    )
    assert session.amount_total == 400
    lines = shop.stripe.checkout.sessions.line_items.list(session.id, {"limit": 1})
    assert [line.amount_total for line in lines.auto_paging_iter()] == [200, 200]
    last = shop.stripe.checkout.sessions.line_items.list(
        session.id, {"starting_after": lines.data[0].id}
    ).data
    assert [line.price.id for line in last if line.price] == [second.id]
    before = shop.stripe.checkout.sessions.line_items.list(session.id, {"ending_before": last[0].id}).data
    assert [line.id for line in before] == [lines.data[0].id]


@pytest.mark.parametrize(("rounds", "packages"), [("up", 3), ("down", 2)])
def test_a_price_of_packages_costs_by_the_package(shop: Shop, rounds: str, packages: int) -> None:
    product = shop.stripe.products.create({"name": "Packages"})
    by_ten: Any = {
        "product": product.id,
        "unit_amount": 500,
        "currency": "usd",
        "transform_quantity": {"divide_by": 10, "round": rounds},
    }
    price = shop.stripe.prices.create(by_ten)
    assert shop.session(price, quantity=25).amount_total == packages * 500
