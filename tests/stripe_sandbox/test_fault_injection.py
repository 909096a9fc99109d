"""Faults on demand."""

from __future__ import annotations

import threading
import time

import httpx
import pytest
import stripe
from werkzeug.serving import make_server

from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import Quiet, Receiver, Shop


def test_a_failure_is_counted_and_matched(shop: Shop) -> None:
    shop.inject_faults(http_500=2, match="POST /v1/prices")
    product = shop.stripe.products.create({"name": "x"})
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            shop.stripe.prices.create({"product": product.id, "currency": "usd", "unit_amount": 500})
        assert caught.value.http_status == 500
        assert caught.value.headers["stripe-should-retry"] == "false"  # type: ignore[index]
    assert shop.stripe.prices.create({"product": product.id, "currency": "usd", "unit_amount": 500}).id
    assert len(shop.stripe.prices.list().data) == 1, "a failed call has done no work"
    assert shop.control("GET", "/misbehaviour").json()["rules"] == []


def test_a_match_may_be_a_prefix(shop: Shop) -> None:
    shop.inject_faults(http_500=1, match="GET /v1/products*")
    assert shop.raw("GET", "/v1/prices").status_code == 200
    assert shop.raw("GET", "/v1/products/prod_x").status_code == 500


def test_a_hanging_call_still_answers(shop: Shop) -> None:
    shop.inject_faults(hang_seconds=3, hang_calls=1)
    began = time.monotonic()
    with pytest.raises(stripe.APIConnectionError):
        shop.client(shop.key, timeout=0.2).v1.products.list()
    assert time.monotonic() - began < 2.5
    assert shop.stripe.products.list().data == []


def test_a_dropped_connection_leaves_its_work_done(shop: Shop) -> None:
    shop.inject_faults(drop_after_work=1, match="POST /v1/products")
    with pytest.raises(stripe.APIConnectionError):
        shop.stripe.products.create({"name": "x"}, {"idempotency_key": "k-1"})
    assert len(shop.stripe.products.list().data) == 1
    assert shop.stripe.products.create({"name": "x"}, {"idempotency_key": "k-1"}).name == "x"
    assert len(shop.stripe.products.list().data) == 1


def test_under_werkzeug_the_socket_itself_breaks(stand: Stand, shop: Shop) -> None:
    server = make_server("127.0.0.1", 0, stand.app, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    shop.inject_faults(drop_after_work=1, match="POST /v1/products")
    try:
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.post(
                f"http://127.0.0.1:{server.port}/v1/products",
                data={"name": "x"},
                headers={"Authorization": f"Bearer {shop.key}"},
            )
        assert len(shop.stripe.products.list().data) == 1
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_rate_is_limited(shop: Shop) -> None:
    shop.inject_faults(rate_limit_per_second=2)
    answers = [shop.raw("GET", "/v1/products") for _ in range(12)]
    assert [a.status_code for a in answers[:2]] == [200, 200]
    limited = [a for a in answers if a.status_code == 429]
    assert limited[0].json()["error"]["code"] == "rate_limit"
    assert limited[0].headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    shop.control("DELETE", "/misbehaviour")
    assert shop.stripe.products.list().data == []


def test_a_permission_is_missing_and_named(shop: Shop) -> None:
    shop.inject_faults(match="GET /v1/prices", forbid=1)
    with pytest.raises(stripe.PermissionError, match="rak_plan_read") as refused:
        shop.stripe.prices.list()
    assert refused.value.http_status == 403
    assert shop.stripe.products.list().data == []
    assert shop.stripe.prices.list().data == [], "once is once"


def test_a_limited_call_leaves_its_key_free(shop: Shop) -> None:
    shop.inject_faults(rate_limit_per_second=1)
    headers = {"Idempotency-Key": "k-1"}
    shop.raw("GET", "/v1/products")
    assert shop.raw("POST", "/v1/products", data={"name": "x"}, headers=headers).status_code == 429
    shop.control("DELETE", "/misbehaviour")
    assert shop.raw("POST", "/v1/products", data={"name": "x"}, headers=headers).status_code == 200


def test_webhooks_are_lost(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    shop.inject_faults(webhooks={"lose": 2})
    made = [shop.stripe.products.create({"name": str(n)}).id for n in range(3)]
    receiver.wait_for("product.created")
    assert [event.data.object["id"] for event in receiver.events] == made[2:]


def test_webhooks_are_doubled(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    shop.inject_faults(webhooks={"duplicate": 1})
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created", times=2)
    assert len({event.id for event in receiver.events}) == 1


def test_webhooks_are_reordered(shop: Shop, receiver: Receiver) -> None:
    price = shop.price(interval=None)
    receiver.listen(shop)
    shop.inject_faults(webhooks={"reorder": True})
    shop.bought(price)
    receiver.wait_for("customer.created")
    assert receiver.types()[0] == "checkout.session.completed"
    assert receiver.types()[-1] == "customer.created"


def test_webhooks_are_delayed(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    shop.inject_faults(webhooks={"delay_seconds": 0.5})
    began = time.monotonic()
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created")
    assert time.monotonic() - began >= 0.5


def test_what_is_set_is_told_and_cleared(shop: Shop) -> None:
    shop.inject_faults(http_500=1, match="GET /v1/nothing")
    shop.inject_faults(hang_seconds=1.5, match="GET /v1/nothing", webhooks={"lose": 1})
    told = shop.control("GET", "/misbehaviour").json()
    assert told["rules"][0] == {"http_500": 1, "match": "GET /v1/nothing"}
    assert told["rules"][1]["hang_calls"] == 1
    assert told["webhooks"] == {"lose": 1}
    assert shop.control("DELETE", "/misbehaviour").json() == {"rules": [], "webhooks": {}}


@pytest.mark.parametrize(
    "rule",
    [
        {"explode": 1},
        {"http_500": -1},
        {"http_500": "1"},
        {"http_500": 1.5},
        {"webhooks": {"eat": 1}},
        {"match": 5},
    ],
)
def test_a_rule_that_cannot_be_is_refused(shop: Shop, rule: object) -> None:
    assert shop.control("POST", "/misbehaviour", json=rule).status_code == 400


def test_faults_of_one_account_are_not_anothers(stand: Stand, shop: Shop) -> None:
    shop.inject_faults(http_500=5)
    assert Shop(stand.url).stripe.products.list().data == []
