"""Idempotency keys: the first outcome again, failures included; another request with the key is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import stripe

from tests.stripe_sandbox.conftest import free_port, make_sandbox
from tests.stripe_sandbox.shop import Shop, headers_of
from tests.support.ports import wait_until
from tests.support.servers import served


def test_the_first_answer_comes_again(shop: Shop) -> None:
    first = shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"})
    again = shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"})
    assert first.id == again.id
    assert len(shop.stripe.products.list().data) == 1
    assert "Idempotent-Replayed" not in headers_of(first)
    assert headers_of(again)["Idempotent-Replayed"] == "true"
    assert headers_of(again)["Original-Request"] == headers_of(first)["Request-Id"]


def test_another_body_with_the_key_is_refused(shop: Shop) -> None:
    shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"})
    with pytest.raises(stripe.IdempotencyError, match="same parameters they were first used with") as caught:
        shop.stripe.products.create({"name": "Max"}, {"idempotency_key": "k-1"})
    assert caught.value.http_status == 400
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        shop.stripe.customers.create({"name": "Pro"}, {"idempotency_key": "k-1"})


def test_keys_of_two_accounts_are_strangers(shop: Shop) -> None:
    other = Shop(shop.url)
    mine = shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"})
    theirs = other.stripe.products.create({"name": "Max"}, {"idempotency_key": "k-1"})
    assert mine.id != theirs.id


def test_a_refused_parameter_leaves_the_key_free(shop: Shop) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        shop.stripe.products.create({"nme": "Pro"}, {"idempotency_key": "k-1"})  # type: ignore[typeddict-item]
    assert shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"}).name == "Pro"


def test_a_refusal_of_the_work_itself_is_kept(shop: Shop) -> None:
    price = shop.price(interval=None)
    body = {"mode": "payment", "success_url": "https://shop.test", "line_items[0][quantity]": "1"}
    body["line_items[0][price]"] = price.id
    shop.stripe.prices.update(price.id, {"active": False})
    first = shop.raw("POST", "/v1/checkout/sessions", data=body, headers={"Idempotency-Key": "k-1"})
    shop.stripe.prices.update(price.id, {"active": True})
    again = shop.raw("POST", "/v1/checkout/sessions", data=body, headers={"Idempotency-Key": "k-1"})
    assert (first.status_code, again.status_code) == (400, 400)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Stripe-Should-Retry"] == "false"


def test_a_failure_of_the_sandbox_is_kept_too(shop: Shop) -> None:
    shop.inject_faults(http_500=1, match="POST /v1/products")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as caught:
            shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"})
        assert caught.value.http_status == 500
    assert shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-2"}).name == "Pro"
    assert len(shop.stripe.products.list().data) == 1


def test_a_key_in_flight_is_a_conflict(shop: Shop) -> None:
    shop.inject_faults(hang_seconds=1.5, match="POST /v1/products")
    first: list[stripe.Product] = []
    slow = threading.Thread(
        target=lambda: first.append(shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"}))
    )
    slow.start()
    wait_until(
        lambda: shop.control("GET", "/misbehaviour").json()["rules"] == [],
        seconds=5,
        what="the slow call has begun",
    )
    answers = []
    for _ in range(5):
        answers.append(
            shop.raw("POST", "/v1/products", data={"name": "Pro"}, headers={"Idempotency-Key": "k-1"})
        )
    slow.join()
    conflicts = [a for a in answers if a.status_code == 409]
    assert conflicts
    assert conflicts[0].json()["error"]["code"] == "idempotency_key_in_use"
    assert conflicts[0].json()["error"]["type"] == "idempotency_error"
    assert len(shop.stripe.products.list().data) == 1
    assert shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "k-1"}).id == first[0].id


def test_keys_outlive_a_restart_and_a_crash_in_the_middle_frees_its_key(tmp_path: Path) -> None:
    port = free_port()
    app = make_sandbox(tmp_path / "s.sqlite3", port=port)
    with served(app, port=port) as url:
        shop = Shop(url)
        made = shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "done"})
    with app.services.store.writing() as db:
        db.execute(
            "INSERT INTO idempotency (scope, key, endpoint, fingerprint, request_id)"
            " SELECT scope, 'half', endpoint, fingerprint, 'req_x' FROM idempotency"
        )
    app.close()
    again = make_sandbox(tmp_path / "s.sqlite3", port=port)
    with served(again, port=port):
        assert shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "done"}).id == made.id
        assert shop.stripe.products.create({"name": "Pro"}, {"idempotency_key": "half"}).id != made.id
    again.close()


def test_an_overlong_key_is_refused(shop: Shop) -> None:
    answer = shop.raw("POST", "/v1/products", data={"name": "x"}, headers={"Idempotency-Key": "k" * 256})
    assert answer.status_code == 400
