"""The hosted page, driven as a script drives it: what each button makes of a session."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.stripe_sandbox.shop import Receiver, Shop

BOUGHT = [
    "customer.created",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "checkout.session.completed",
]
SUBSCRIBED = [
    "customer.created",
    "customer.subscription.created",
    "invoice.created",
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice_payment.paid",
    "checkout.session.completed",
]


def catalog_aside(types: list[str]) -> list[str]:
    return [t for t in types if not t.startswith(("product.", "price."))]


def test_the_page_shows_what_is_sold_and_sets_no_cookie(shop: Shop) -> None:
    session = shop.session(shop.price(129900), quantity=2)
    assert session.url == f"{shop.url}/pay/{session.id}"
    page = httpx.get(session.url)
    for word in ("No real money moves here", "Acme", "Pro", "$1,299.00", "$2,598.00", "every month", "× 2"):
        assert word in page.text
    for action in ("pay", "pay_later", "decline", "abandon"):
        assert f'value="{action}"' in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert policy.endswith("form-action 'self' https://shop.test")
    assert "Set-Cookie" not in page.headers
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "<script" not in page.text


def test_paying_buys_and_returns_to_the_shop(shop: Shop, receiver: Receiver) -> None:
    price = shop.price(interval=None)
    receiver.listen(shop)
    session = shop.session(price, payment_intent_data={"metadata": {"attempt": "att_1"}}, metadata={"a": "b"})
    answer = shop.answer(session, email="ada@example.com")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"https://shop.test/thanks?session={session.id}"
    receiver.wait_for("checkout.session.completed")
    assert receiver.types() == BOUGHT
    assert len({event.created for event in receiver.events}) <= 2, "all of one second, or of two"
    completed = receiver.events[-1].data.object
    assert completed["payment_status"] == "paid"
    assert completed["metadata"]["a"] == "b"
    assert completed["customer_details"]["email"] == "ada@example.com"
    intent = shop.stripe.payment_intents.retrieve(completed["payment_intent"])
    assert (intent.status, intent.metadata["attempt"], intent.amount_received) == ("succeeded", "att_1", 1900)
    charge = shop.stripe.charges.retrieve(str(intent.latest_charge))
    assert charge.paid
    assert charge.customer == completed["customer"]


def test_paying_subscribes(shop: Shop, receiver: Receiver) -> None:
    price = shop.price()
    receiver.listen(shop)
    session = shop.session(price, subscription_data={"metadata": {"attempt": "att_1"}}, quantity=3)
    shop.answer(session)
    receiver.wait_for("checkout.session.completed")
    assert receiver.types() == SUBSCRIBED
    by_type = {event.type: event for event in receiver.events}
    assert by_type["customer.subscription.created"].data.object["status"] == "incomplete"
    updated = by_type["customer.subscription.updated"].to_dict()["data"]
    assert updated["object"]["status"] == "active"
    assert updated["previous_attributes"] == {"status": "incomplete"}
    session = shop.stripe.checkout.sessions.retrieve(session.id)
    assert (session.status, session.payment_status, session.payment_intent) == ("complete", "paid", None)
    subscription = shop.stripe.subscriptions.retrieve(str(session.subscription))
    item = subscription["items"].data[0]
    assert subscription.metadata["attempt"] == "att_1"
    assert item.quantity == 3
    assert 27 * 86400 < item.current_period_end - item.current_period_start < 32 * 86400
    invoice = shop.stripe.invoices.retrieve(str(subscription.latest_invoice))
    assert (invoice.status, invoice.amount_paid, invoice.billing_reason) == (
        "paid",
        5700,
        "subscription_create",
    )
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == subscription.id
    assert invoice.lines.data[0].period.end == item.current_period_end
    paid = shop.stripe.invoice_payments.list({"invoice": invoice.id}).data[0]
    intent = paid.payment.payment_intent
    by_payment: Any = {"payment": {"type": "payment_intent", "payment_intent": intent}}
    assert [p.invoice for p in shop.stripe.invoice_payments.list(by_payment).data] == [invoice.id]


def test_a_trial_starts_without_money(shop: Shop) -> None:
    price = shop.price()
    before = len(shop.events())
    session = shop.session(price, subscription_data={"trial_period_days": 14})
    assert session.amount_total == 0
    assert "free for 14 days" in httpx.get(str(session.url)).text
    shop.answer(session)
    assert shop.events()[before:] == [
        "customer.created",
        "customer.subscription.created",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
        "invoice.payment_succeeded",
        "checkout.session.completed",
    ]
    session = shop.stripe.checkout.sessions.retrieve(session.id)
    assert session.payment_status == "no_payment_required"
    subscription = shop.stripe.subscriptions.retrieve(str(session.subscription))
    assert subscription.status == "trialing"
    assert subscription.trial_end == subscription["items"].data[0].current_period_end


def test_a_free_session_needs_no_payment(shop: Shop) -> None:
    session = shop.bought(shop.price(0, interval=None))
    assert (session.payment_status, session.payment_intent) == ("no_payment_required", None)
    free = shop.bought(shop.price(0))
    assert free.payment_status == "no_payment_required"
    assert shop.stripe.subscriptions.retrieve(str(free.subscription)).status == "active"


def test_a_guest_stays_a_guest(shop: Shop) -> None:
    session = shop.bought(customer_creation="if_required")
    assert session.customer is None
    assert session.customer_details is not None
    assert session.customer_details.email == "buyer@example.com"


def test_a_known_customer_buys(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "ada@example.com"})
    session = shop.session(shop.price(interval=None), customer=customer.id)
    assert 'name="email"' not in httpx.get(str(session.url)).text
    before = len(shop.events())
    shop.answer(session)
    assert "customer.created" not in shop.events()[before:]
    assert shop.stripe.checkout.sessions.retrieve(session.id).customer == customer.id


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_bank_debit_settles_later(shop: Shop, succeeds: bool) -> None:
    session = shop.session(shop.price(interval=None))
    assert shop.answer(session, "pay_later").status_code == 303
    session = shop.stripe.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    assert session.payment_intent.status == "processing"  # type: ignore[union-attr]
    assert "processing" in shop.answer(session).text
    outcome = shop.act("settle_session" if succeeds else "fail_session", session=session.id)
    good = ["charge.succeeded", "payment_intent.succeeded", "checkout.session.async_payment_succeeded"]
    bad = ["charge.failed", "payment_intent.payment_failed", "checkout.session.async_payment_failed"]
    assert outcome == (good if succeeds else bad)
    session = shop.stripe.checkout.sessions.retrieve(session.id)
    assert session.payment_status == ("paid" if succeeds else "unpaid")
    assert shop.refused("settle_session", session=session.id)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_subscription_by_bank_debit_is_active_before_the_money_is_there(shop: Shop, succeeds: bool) -> None:
    session = shop.session(shop.price())
    shop.answer(session, "pay_later")
    session = shop.stripe.checkout.sessions.retrieve(session.id)
    assert (session.status, session.payment_status) == ("complete", "unpaid")
    subscription = str(session.subscription)
    shop.act("advance_clock", seconds=3 * 86400)
    waiting = shop.stripe.subscriptions.retrieve(subscription, {"expand": ["latest_invoice"]})
    assert (waiting.status, waiting.latest_invoice.status) == ("active", "open")  # type: ignore[union-attr]
    told = shop.act("settle_session" if succeeds else "fail_session", session=session.id)
    after = shop.stripe.subscriptions.retrieve(subscription, {"expand": ["latest_invoice"]})
    if succeeds:
        assert after.status == "active"
        assert after.latest_invoice.status == "paid"  # type: ignore[union-attr]
        assert told[-1] == "checkout.session.async_payment_succeeded"
    else:
        assert after.status == "past_due"
        assert after.latest_invoice.status == "open"  # type: ignore[union-attr]
        assert told[2:] == [
            "invoice.payment_failed",
            "customer.subscription.updated",
            "checkout.session.async_payment_failed",
        ]


def test_a_declined_card_leaves_the_session_open(shop: Shop) -> None:
    price = shop.price(interval=None)
    before = len(shop.events())
    session = shop.session(price)
    declined = shop.answer(session, "decline")
    assert declined.status_code == 402
    assert "Your card was declined" in declined.text
    shop.answer(session, "decline")
    failed = ["charge.failed", "payment_intent.payment_failed"]
    assert shop.events()[before:] == ["payment_intent.created", *failed, *failed]
    assert shop.answer(session).status_code == 303
    assert shop.events()[before:].count("payment_intent.created") == 1, "one intent, three tries"
    session = shop.stripe.checkout.sessions.retrieve(session.id)
    charges = shop.stripe.charges.list({"payment_intent": str(session.payment_intent)}).data
    assert [c.status for c in charges] == ["succeeded", "failed", "failed"]


def test_a_declined_subscription_is_not_begun(shop: Shop) -> None:
    session = shop.session(shop.price())
    assert shop.answer(session, "decline").status_code == 402
    assert shop.stripe.subscriptions.list({"status": "all"}).data == []
    assert shop.answer(session).status_code == 303


def test_abandoning_returns_to_the_cart_and_may_come_back(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    answer = shop.answer(session, "abandon")
    assert (answer.status_code, answer.headers["Location"]) == (303, "https://shop.test/cart")
    assert shop.stripe.checkout.sessions.retrieve(session.id).status == "open"
    assert shop.answer(session).status_code == 303


def test_paying_twice_pays_once(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    assert [shop.answer(session).status_code for _ in range(3)] == [303, 409, 409]
    again = shop.answer(session)
    assert "This checkout is complete" in again.text
    assert "https://shop.test/thanks" in again.text
    assert shop.events().count("checkout.session.completed") == 1
    assert len(shop.stripe.charges.list().data) == 1


def test_an_expired_session_cannot_be_paid(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    assert shop.stripe.checkout.sessions.expire(session.id).status == "expired"
    answer = shop.answer(session)
    assert answer.status_code == 409
    assert "has expired" in answer.text
    assert shop.stripe.charges.list().data == []
    with pytest.raises(Exception, match="Only Checkout Sessions with a status"):
        shop.stripe.checkout.sessions.expire(session.id)


def test_sessions_expire_with_time(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    assert session.expires_at == session.created + 86400
    assert "checkout.session.expired" in shop.act("advance_clock", seconds=86401)
    assert shop.stripe.checkout.sessions.retrieve(session.id).status == "expired"


def test_the_buyer_changes_an_adjustable_quantity(shop: Shop) -> None:
    price = shop.price(1000)
    lines = [{"price": price.id, "quantity": 1, "adjustable_quantity": {"enabled": True, "maximum": 5}}]
    session = shop.session(price, line_items=lines)
    assert 'name="quantity_0"' in httpx.get(str(session.url)).text
    assert shop.answer(session, quantity_0="6").status_code == 400
    assert shop.answer(session, quantity_0="x").status_code == 400
    assert shop.answer(session, quantity_0="4").status_code == 303
    paid = shop.stripe.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]})
    assert paid.amount_total == 4000
    assert paid.subscription["items"].data[0].quantity == 4  # type: ignore[union-attr, index]


def test_a_quantity_that_is_not_adjustable_stays(shop: Shop) -> None:
    session = shop.session(shop.price(1000))
    shop.answer(session, quantity_0="4")
    assert shop.stripe.checkout.sessions.retrieve(session.id).amount_total == 1000


def test_odd_posts_change_nothing(shop: Shop) -> None:
    session = shop.session(shop.price(interval=None))
    assert shop.answer(session, "steal").status_code == 400
    assert shop.answer(session, email="nobody").status_code == 400
    assert httpx.post(f"{shop.url}/pay/cs_test_no", data={"action": "pay"}).status_code == 404
    assert httpx.get(f"{shop.url}/pay/cs_test_no").status_code == 404
    assert shop.stripe.checkout.sessions.retrieve(session.id).status == "open"


def test_what_merchants_write_is_shown_as_text(shop: Shop) -> None:
    evil = Shop(shop.url, name="<script>alert(1)</script>")
    session = evil.session(evil.price())
    page = httpx.get(str(session.url)).text
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_portal_lets_a_customer_leave_and_stay(shop: Shop) -> None:
    subscription = shop.subscribed()
    made = shop.stripe.billing_portal.sessions.create(
        {"customer": str(subscription.customer), "return_url": "https://shop.test/account"}
    )
    page = httpx.get(made.url)
    assert page.status_code == 200
    assert "https://shop.test/account" in page.text
    form = {"subscription": subscription.id}
    assert httpx.post(made.url, data={**form, "action": "cancel"}).status_code == 303
    leaving = shop.stripe.subscriptions.retrieve(subscription.id)
    assert leaving.cancel_at == subscription["items"].data[0].current_period_end
    assert leaving.cancel_at_period_end is False, "Stripe's own portal does not set the flag"
    assert "does not renew" in httpx.get(made.url).text
    httpx.post(made.url, data={**form, "action": "keep"})
    assert shop.stripe.subscriptions.retrieve(subscription.id).cancel_at is None
    assert httpx.post(made.url, data={"action": "cancel", "subscription": "sub_other"}).status_code == 400
    assert httpx.get(f"{shop.url}/portal/test_no").status_code == 404


def test_the_portal_changes_the_plan(shop: Shop) -> None:
    monthly, dearer, yearly = shop.price(1000), shop.price(4900), shop.price(9900, interval="year")
    retired, foreign = shop.price(100), shop.price(100, currency="eur")
    shop.stripe.prices.update(retired.id, {"active": False})
    subscription = shop.subscribed(monthly)
    made = shop.stripe.billing_portal.sessions.create({"customer": str(subscription.customer)})
    page = httpx.get(made.url).text
    assert page.index(dearer.id) < page.index(yearly.id), "cheapest first"
    assert retired.id not in page
    assert foreign.id not in page
    form = {"subscription": subscription.id, "action": "change"}
    assert httpx.post(made.url, data={**form, "price": yearly.id}).status_code == 303
    changed = shop.stripe.subscriptions.retrieve(subscription.id)
    assert changed["items"].data[0].price.id == yearly.id
    for odd in ({}, {"price": retired.id}, {"price": foreign.id}, {"price": "price_no"}):
        assert httpx.post(made.url, data={**form, **odd}).status_code == 409
    httpx.post(made.url, data={"subscription": subscription.id, "action": "cancel"})
    assert "Change plan" not in httpx.get(made.url).text


def test_the_portal_resumes_what_is_paused(shop: Shop) -> None:
    subscription = shop.subscribed()
    made = shop.stripe.billing_portal.sessions.create({"customer": str(subscription.customer)})
    form = {"subscription": subscription.id, "action": "resume"}
    assert httpx.post(made.url, data=form).status_code == 409
    shop.act("pause", subscription=subscription.id)
    assert "nothing is charged until you resume it" in httpx.get(made.url).text
    assert httpx.post(made.url, data=form).status_code == 303
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "active"
