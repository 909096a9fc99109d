"""Refusals, in the shape and the words that the library's callers know."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import CONTROL, SUCCESS, Shop


def refusal(call: Any, *args: Any) -> stripe.StripeError:
    with pytest.raises(stripe.StripeError) as caught:
        call(*args)
    assert str(caught.value.request_id).startswith("req_")
    return caught.value


@pytest.mark.parametrize("key", ["sk_test_never_issued_1234", "rk_test_x", "nonsense"])
def test_only_issued_keys_are_accepted(shop: Shop, key: str) -> None:
    error = refusal(shop.client(key).v1.products.list)
    assert isinstance(error, stripe.AuthenticationError)
    assert "Invalid API Key provided" in str(error)
    assert "never_issued" not in str(error)


def test_a_publishable_key_is_named(shop: Shop) -> None:
    assert "publishable" in str(refusal(shop.client("pk_test_123").v1.products.list))


def test_a_missing_key_is_told(shop: Shop, stand: Stand) -> None:
    import httpx

    answer = httpx.get(f"{stand.url}/v1/products")
    assert answer.status_code == 401
    assert "did not provide an API key" in answer.json()["error"]["message"]


def test_basic_authentication_works_as_curl_sends_it(shop: Shop, stand: Stand) -> None:
    import httpx

    assert httpx.get(f"{stand.url}/v1/products", auth=(shop.key, "")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "param"),
    [
        ("POST", "/v1/products", "name=x&color=red", "parameter_unknown", "color"),
        ("POST", "/v1/products", "", "parameter_missing", "name"),
        ("POST", "/v1/products", "name=", "parameter_invalid_empty", "name"),
        ("POST", "/v1/products", "name=x&active=yes", None, "active"),
        ("POST", "/v1/prices", "currency=usd&product=prod_no&unit_amount=5", "resource_missing", "product"),
        ("POST", "/v1/prices", "currency=usd&product=p&unit_amount=1.5", "parameter_invalid_integer", None),
        ("POST", "/v1/prices", "currency=usd&product=p", "parameter_missing", "unit_amount"),
        ("POST", "/v1/refunds", "", "parameter_missing", None),
        ("POST", "/v1/webhook_endpoints", "url=nowhere&enabled_events[]=*", "url_invalid", "url"),
        ("POST", "/v1/webhook_endpoints", "url=http://x.test&enabled_events[]=no.such", None, None),
        ("GET", "/v1/prices?limit=0", "", "parameter_invalid_integer", "limit"),
        ("GET", "/v1/prices?limit=101", "", "parameter_invalid_integer", "limit"),
        ("GET", "/v1/prices?starting_after=price_no", "", "resource_missing", "starting_after"),
        ("GET", "/v1/prices?expand[]=data.colour", "", None, None),
        ("POST", "/v1/customers", "email=nobody", "email_invalid", "email"),
        ("POST", "/v1/customers", "metadata=x", None, "metadata"),
        ("POST", "/v1/customers", "metadata[a]=" + "x" * 501, None, "metadata"),
        ("POST", "/v1/customers", "metadata[" + "k" * 41 + "]=x", None, "metadata"),
        ("POST", "/v1/customers", "name=x&name[y]=z", None, "name[y]"),
        ("POST", "/v1/customers", "name=%FF", None, None),
        ("POST", "/v1/customers", "name=a%00b", None, "name"),
        ("POST", "/v1/customers", "a[b=1", None, "a[b"),
    ],
)
def test_bad_parameters_are_named(
    shop: Shop, method: str, path: str, body: str, code: str | None, param: str | None
) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    shop.price(interval=None)
    answer = shop.raw(method, path, content=body, headers=form if method == "POST" else {})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error.get("code") == code
    assert param is None or error.get("param") == param


def test_a_json_body_is_refused_with_the_reason(shop: Shop) -> None:
    answer = shop.raw("POST", "/v1/products", json={"name": "x"})
    assert answer.status_code == 400
    assert "form-encoded" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/teapots"), ("PUT", "/v1/products"), ("GET", "/v1")]
)
def test_unknown_addresses_answer_in_the_same_shape(shop: Shop, method: str, path: str) -> None:
    answer = shop.raw(method, path)
    assert answer.status_code == 404
    assert "Unrecognized request URL" in answer.json()["error"]["message"]


def test_a_huge_body_is_refused_in_the_same_shape(shop: Shop) -> None:
    answer = shop.raw("POST", "/v1/products", data={"name": "x" * 1_100_000})
    assert answer.status_code == 413
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "noun"),
    [
        ("/v1/products/x", "product"),
        ("/v1/prices/x", "price"),
        ("/v1/customers/x", "customer"),
        ("/v1/checkout/sessions/x", "checkout.session"),
        ("/v1/subscriptions/x", "subscription"),
        ("/v1/invoices/x", "invoice"),
        ("/v1/payment_intents/x", "payment_intent"),
        ("/v1/charges/x", "charge"),
        ("/v1/refunds/x", "refund"),
        ("/v1/events/x", "event"),
        ("/v1/webhook_endpoints/x", "webhook endpoint"),
    ],
)
def test_a_missing_object_is_404(shop: Shop, path: str, noun: str) -> None:
    answer = shop.raw("GET", path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "resource_missing"
    assert answer.json()["error"]["message"] == f"No such {noun}: 'x'"


def test_an_object_of_the_other_mode_is_named_as_such(stand: Stand, shop: Shop) -> None:
    live = Shop(stand.url, livemode=True)
    price = live.price()
    error = refusal(shop.stripe.prices.retrieve, price.id)
    assert "a similar object exists in live mode, but a test mode key was used" in str(error)
    error = refusal(live.stripe.prices.retrieve, shop.price().id)
    assert "a similar object exists in test mode, but a live mode key was used" in str(error)


def test_another_accounts_object_is_just_missing(stand: Stand, shop: Shop) -> None:
    error = refusal(shop.stripe.prices.retrieve, Shop(stand.url).price().id)
    assert "similar object" not in str(error)
    assert error.http_status == 404


def test_a_restricted_key_is_told_which_permission_it_lacks(shop: Shop) -> None:
    issued = shop.control("POST", "/restricted_keys", json={"permissions": ["rak_product_write"]}).json()
    restricted = shop.client(issued["restricted_key"]).v1
    assert restricted.products.create({"name": "x"}).id
    assert len(restricted.products.list().data) == 1, "writing implies reading"
    error = refusal(restricted.prices.list)
    assert isinstance(error, stripe.PermissionError)
    assert "Having the 'rak_plan_read' permission would allow this request to continue" in str(error)
    assert issued["restricted_key"] not in str(error)


def test_a_write_permission_can_be_probed_with_a_bad_parameter(shop: Shop) -> None:
    issued = shop.control("POST", "/restricted_keys", json={"permissions": ["rak_webhook_write"]}).json()
    key = issued["restricted_key"]
    assert shop.raw("POST", "/v1/webhook_endpoints", key=key, data={"probe": "1"}).status_code == 400
    assert shop.raw("POST", "/v1/checkout/sessions", key=key, data={"probe": "1"}).status_code == 403


def test_acting_for_another_account_is_refused(shop: Shop) -> None:
    answer = shop.raw("GET", "/v1/products", headers={"Stripe-Account": "acct_other"})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "account_invalid"


def test_the_version_is_echoed_and_a_bad_one_refused(shop: Shop) -> None:
    assert shop.raw("GET", "/v1/products").headers["Stripe-Version"] == "2026-10-28.endive"
    old = shop.raw("GET", "/v1/products", headers={"Stripe-Version": "2024-04-10"})
    assert old.headers["Stripe-Version"] == "2024-04-10"
    assert shop.raw("GET", "/v1/products", headers={"Stripe-Version": "newest"}).status_code == 400


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"success_url": None}, "Missing required param: success_url."),
        ({"line_items": None}, "Missing required param: line_items."),
        ({"mode": None}, "Missing required param: mode."),
        ({"mode": "setup"}, "does not support"),
        ({"success_url": "/thanks"}, "explicit scheme"),
        ({"success_url": "javascript://x"}, "Not a valid URL"),
        ({"client_reference_id": "x" * 201}, "at most 200 characters"),
        ({"metadata": {str(n): "x" for n in range(51)}}, "up to 50 metadata keys"),
        ({"customer": "cus_gone"}, "No such customer: 'cus_gone'"),
        ({"customer_update": {"address": "auto"}}, "can only be used with `customer`"),
        (
            {"subscription_data": {"metadata": {"a": "b"}}},
            "can not pass `subscription_data` in `payment` mode",
        ),
        ({"expires_at": 1}, "at least 30 minutes"),
        ({"expires_at": 9999999999}, "less than 24 hours"),
        ({"line_items": [{"price": "price_no", "quantity": 1}]}, "No such price: 'price_no'"),
        ({"line_items": [{"quantity": 1}]}, "Missing required param: line_items[0][price]."),
    ],
)
def test_a_session_that_cannot_be_is_refused_in_stripes_words(shop: Shop, changes: Any, message: str) -> None:
    asked = {
        "mode": "payment",
        "success_url": SUCCESS,
        "line_items": [{"price": shop.price(interval=None).id, "quantity": 1}],
        **changes,
    }
    asked = {k: v for k, v in asked.items() if v is not None}
    error = refusal(shop.stripe.checkout.sessions.create, asked)
    assert message in str(error)
    assert isinstance(error, stripe.InvalidRequestError)


def test_a_session_refuses_prices_that_do_not_fit(shop: Shop) -> None:
    monthly, once = shop.price(), shop.price(interval=None)
    create = shop.stripe.checkout.sessions.create

    def asked(mode: str, *prices: stripe.Price, **line: Any) -> Any:
        lines = [{"price": p.id, "quantity": 1, **line} for p in prices]
        return {"mode": mode, "success_url": SUCCESS, "line_items": lines}

    assert "passed a recurring price" in str(refusal(create, asked("payment", monthly)))
    assert "at least one recurring price" in str(refusal(create, asked("subscription", once)))
    assert "greater than or equal to 1" in str(refusal(create, asked("payment", once, quantity=0)))
    assert "same currency" in str(
        refusal(create, asked("payment", once, shop.price(interval=None, currency="eur")))
    )
    assert "same interval" in str(
        refusal(create, asked("subscription", monthly, shop.price(interval="year")))
    )
    assert refusal(create, asked("payment", shop.price(49, interval=None))).code == "amount_too_small"
    shop.stripe.prices.update(once.id, {"active": False})
    assert "The price specified is inactive" in str(refusal(create, asked("payment", once)))
    shop.stripe.products.update(str(monthly.product), {"active": False})
    assert "its product is not active" in str(refusal(create, asked("subscription", monthly)))


def test_a_deleted_customer_is_missing_to_checkout(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "a@b.co"})
    shop.stripe.customers.delete(customer.id)
    error = refusal(lambda: shop.session(shop.price(), customer=customer.id))
    assert (error.code, error.param) == ("resource_missing", "customer")  # type: ignore[attr-defined]
    assert error.http_status == 400
    assert shop.stripe.customers.retrieve(customer.id).deleted is True


def test_tax_needs_an_address_or_leave_to_take_one(shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "a@b.co"})
    tax: Any = {"automatic_tax": {"enabled": True}, "customer": customer.id}
    assert refusal(lambda: shop.session(shop.price(), **tax)).code == "customer_tax_location_invalid"
    assert shop.session(shop.price(), **tax, customer_update={"address": "auto"}).automatic_tax.enabled


def test_control_answers_do_not_leak_into_the_api(stand: Stand) -> None:
    import httpx

    assert httpx.get(f"{stand.url}/v1/account", headers=CONTROL).status_code == 401
