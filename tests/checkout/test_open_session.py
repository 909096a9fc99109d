"""`POST /v1/checkout/session` against the Stripe sandbox over HTTP: answers, refusals, retries and faults."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.idempotency.models import IdempotencyKey
from licenzy.projects.models import ProjectSide
from licenzy.subjects.models import Subject
from tests.checkout.conftest import Shop
from tests.support.cast import make_key, make_product
from tests.support.clock import START, StandingClock
from tests.support.threads import join

Sell = Callable[..., Product]


def attempts(shop: Shop) -> list[CheckoutAttempt]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(CheckoutAttempt)))


def change(shop: Shop, model: Any, **columns: Any) -> None:
    with shop.runtime.database.write() as db:
        for row in db.exec(select(model)):
            for name, value in columns.items():
                setattr(row, name, value)


def test_a_session_is_opened_with_the_mapped_price(shop: Shop, sell: Sell) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION, trial_days=7)
    answer = shop.checkout(customer_email="a@b.co", quantity=3)
    assert answer.status_code == 201, answer.text
    told = answer.get_json()
    attempt = attempts(shop)[0]
    assert told == {
        "checkout_url": attempt.checkout_url,
        "attempt_id": attempt.id,
        "stripe_checkout_session_id": attempt.stripe_checkout_session_id,
        "subject_ref": "user_123",
        "product_code": "PRO_MONTHLY",
        "mode": "test",
        "expires_at": told["expires_at"],
        "trial_days": 7,
    }
    assert told["expires_at"].endswith("Z")
    assert answer.headers["Licenzy-Mode"] == "test"
    at_stripe = shop.stripe.v1.checkout.sessions.retrieve(
        told["stripe_checkout_session_id"], {"expand": ["line_items"]}
    )
    assert at_stripe.mode == "subscription"
    assert at_stripe.client_reference_id == "user_123"
    assert at_stripe.customer_email == "a@b.co"
    assert at_stripe.metadata is not None
    assert at_stripe.metadata.to_dict() == {
        "licenzy_project": shop.project_id,
        "licenzy_attempt": attempt.id,
        "licenzy_subject_ref": "user_123",
        "licenzy_product_code": "PRO_MONTHLY",
    }
    assert at_stripe.line_items is not None
    line = at_stripe.line_items.data[0]
    assert line.price is not None
    assert (line.price.id, line.quantity) == (product.prices[0].stripe_price_id, 3)
    assert attempt.status is AttemptStatus.OPEN
    assert attempt.sold["kind"] == "subscription"


@pytest.mark.parametrize("kind", [Kind.TIME_PASS, Kind.USAGE_PACK])
def test_one_time_kinds_are_payments(shop: Shop, sell: Sell, kind: Kind) -> None:
    sell("THING", kind)
    told = shop.checkout(product_code="THING", subject_ref="günther ☕").get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(told["stripe_checkout_session_id"])
    assert session.mode == "payment"
    assert session.customer_creation == "always"
    # Only plain refs travel as they are; others are named by their attempt.
    assert session.client_reference_id == told["attempt_id"]
    assert told["subject_ref"] == "günther ☕"


def test_a_known_customer_is_sent_alone(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    customer = shop.stripe.v1.customers.create({"email": "known@example.com"})
    shop.checkout()
    change(shop, Subject, stripe_customer_id=customer.id)
    told = shop.checkout("k2", customer_email="other@example.com").get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(told["stripe_checkout_session_id"])
    assert (session.customer, session.customer_email) == (customer.id, None)


def test_a_customer_that_is_gone_is_forgotten(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.checkout()
    change(shop, Subject, stripe_customer_id="cus_gone0000000000", email="kept@example.com")
    answer = shop.checkout("k2")
    assert answer.status_code == 201, answer.text
    session = shop.stripe.v1.checkout.sessions.retrieve(answer.get_json()["stripe_checkout_session_id"])
    assert (session.customer, session.customer_email) == (None, "kept@example.com")
    with shop.runtime.database.read() as db:
        assert db.exec(select(Subject)).one().stripe_customer_id is None


def test_the_same_key_gives_the_same_answer(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    first, again = shop.checkout(), shop.checkout()
    assert first.data == again.data
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
    assert "Idempotent-Replayed" not in first.headers
    assert len(shop.sessions()) == len(attempts(shop)) == 1
    other = shop.checkout(quantity=2)
    assert (other.status_code, other.get_json()["error"]) == (409, "idempotency_key_reused")
    change(shop, Product, archived_at=START)
    assert shop.checkout().status_code == 201


def test_keys_of_another_project_or_mode_are_other_keys(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.checkout()
    with shop.runtime.database.write() as db:
        live = make_key(db, project_id=shop.project_id, mode=Mode.LIVE)[1]
    answer = shop.checkout(headers={"Authorization": f"Bearer {live}"})
    assert answer.get_json()["error"] == "product_mode_mismatch"
    assert answer.get_json()["mode"] == "live"


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, "idempotency_key_missing"),
        ("", "idempotency_key_invalid"),
        ("k" * 256, "idempotency_key_invalid"),
        ("schlüssel", "idempotency_key_invalid"),
        ("a\tb", "idempotency_key_invalid"),
    ],
)
def test_bad_idempotency_keys_are_refused(shop: Shop, key: str | None, code: str) -> None:
    answer = shop.checkout(key)
    assert (answer.status_code, answer.get_json()["error"]) == (400, code)


FIELDS: list[tuple[dict[str, Any], int, str]] = [
    ({"subject_ref": None}, 400, "invalid_request"),
    ({"product_code": None}, 400, "invalid_request"),
    ({"product_code": "NOBODY_KNOWS"}, 404, "product_not_found"),
    ({"product_code": "pro_monthly"}, 404, "product_not_found"),
    ({"product_code": "price_1NfQ0000000000"}, 400, "stripe_price_id_not_allowed"),
    ({"product_code": "two words"}, 400, "invalid_request"),
    ({"price_id": "price_1"}, 400, "unknown_field"),
    ({"amount": 1}, 400, "unknown_field"),
    ({"currency": "usd"}, 400, "unknown_field"),
    ({"line_items": []}, 400, "unknown_field"),
    ({"discounts": []}, 400, "unknown_field"),
    ({"subscription_data": {}}, 400, "unknown_field"),
    ({"mode": "live"}, 400, "mode_not_allowed"),
    ({"subject_ref": "u" * 201}, 400, "invalid_request"),
    ({"quantity": 0}, 400, "invalid_request"),
    ({"quantity": -1}, 400, "invalid_request"),
    ({"quantity": 1.5}, 400, "invalid_request"),
    ({"quantity": 1.0}, 400, "invalid_request"),
    ({"quantity": "2"}, 400, "invalid_request"),
    ({"quantity": True}, 400, "invalid_request"),
    ({"quantity": 10**9}, 400, "invalid_request"),
    ({"quantity": 2**64}, 400, "invalid_request"),
    ({"customer_email": "nobody"}, 400, "invalid_request"),
    ({"customer_email": "a@b.co\nBcc: x@y.zz"}, 400, "invalid_request"),
    ({"customer_email": "a" * 250 + "@b.co"}, 400, "invalid_request"),
]


@pytest.mark.parametrize(("body", "status", "code"), FIELDS, ids=[str(row[0])[:40] for row in FIELDS])
def test_fields_that_are_wrong(shop: Shop, sell: Sell, body: dict[str, Any], status: int, code: str) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    answer = shop.checkout(**body)
    assert (answer.status_code, answer.get_json()["error"]) == (status, code), answer.text
    assert shop.sessions() == []
    assert attempts(shop) == []


URLS = [
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "//evil.example",
    "/path",
    "https:evil.example",
    "https://user:p@host.example",
    "https://host.example/\r\nX: y",
    "https://host.example/\tx",
    "https://host.example\\@evil.example",
    "https://host.example/a b",
    "https://host.example/" + "x" * 3000,
    "https://host.example:99999/",
    "https://host.example:port/",
    "https://",
    "http://host.example/",
    "ftp://host.example/",
    "https://[::1",
    "",
]


@pytest.mark.parametrize("url", URLS, ids=[repr(url)[:40] for url in URLS])
@pytest.mark.parametrize("name", ["success_url", "cancel_url"])
def test_redirects_that_are_wrong(shop: Shop, sell: Sell, name: str, url: str) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    answer = shop.checkout("k1", None, **{name: url})
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_redirect_url")
    assert name in answer.get_json()["fields"]


@pytest.mark.parametrize(
    "url", ["http://localhost:3000/x", "http://127.0.0.1/x", "https://shop.example/ok?a=b"]
)
def test_redirects_that_are_right(shop: Shop, sell: Sell, url: str) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    told = shop.checkout(success_url=url, cancel_url=url).get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(told["stripe_checkout_session_id"])
    assert (session.success_url, session.cancel_url) == (url, url)


def test_stripes_placeholder_is_kept_as_it_is(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    url = "https://shop.example/done?session={CHECKOUT_SESSION_ID}"
    told = shop.checkout(success_url=url).get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(told["stripe_checkout_session_id"])
    assert session.success_url == url


def test_only_the_projects_hosts_when_it_names_some(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    change(shop, ProjectSide, redirect_hosts=["shop.example"], success_url="https://shop.example/thanks")
    assert shop.checkout(success_url="https://other.example/").status_code == 400
    told = shop.checkout("k2").get_json()
    session = shop.stripe.v1.checkout.sessions.retrieve(told["stripe_checkout_session_id"])
    assert session.success_url == "https://shop.example/thanks"
    assert session.cancel_url == f"{shop.runtime.settings.base_url}/checkout/canceled"


REFUSALS: list[tuple[type, dict[str, Any], str]] = [
    (Product, {"archived_at": START}, "product_archived"),
    (ProductPrice, {"active": False}, "price_inactive"),
    (ProductPrice, {"product_active": False}, "price_inactive"),
    (ProductPrice, {"livemode": True}, "price_mode_mismatch"),
    (ProductPrice, {"interval": None}, "price_kind_mismatch"),
    (Connection, {"key_sealed": None}, "stripe_not_connected"),
    (Connection, {"webhook_secret_sealed": None}, "webhook_secret_missing"),
]


@pytest.mark.parametrize(("model", "columns", "code"), REFUSALS, ids=[row[2] for row in REFUSALS])
def test_refused_before_money_can_move(
    shop: Shop, sell: Sell, model: type, columns: dict[str, Any], code: str
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    kept = {name: getattr(_only(shop, model), name) for name in columns}
    change(shop, model, **columns)
    answer = shop.checkout()
    assert (answer.status_code, answer.get_json()["error"]) == (409, code)
    assert f"/projects/{shop.project_id}/test/" in answer.get_json()["hint"]
    assert shop.sessions() == []
    assert attempts(shop) == []
    # The refusal stored nothing: once the set-up is mended, the same key works.
    change(shop, model, **kept)
    assert shop.checkout().status_code == 201


def _only(shop: Shop, model: Any) -> Any:
    with shop.runtime.database.read() as db:
        return db.exec(select(model)).one()


def test_a_product_of_the_other_mode_is_named_as_such(shop: Shop) -> None:
    with shop.runtime.database.write() as db:
        make_product(db, project_id=shop.project_id, mode=Mode.LIVE, product_code="LIVE_ONLY")
    answer = shop.checkout(product_code="LIVE_ONLY")
    assert (answer.status_code, answer.get_json()["error"]) == (409, "product_mode_mismatch")
    assert "lz_live_" in answer.get_json()["hint"]


def test_a_500_from_stripe_is_retried_and_safe_to_repeat(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.inject_faults(http_500=1, match="POST /v1/checkout/sessions")
    first = shop.checkout()
    assert first.status_code in {201, 503}
    shop.behave()
    assert shop.checkout().status_code == 201
    assert len(shop.sessions()) == len(attempts(shop)) == 1


def test_an_answer_lost_on_the_way_gives_the_same_session(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.inject_faults(drop_after_work=3, match="POST /v1/checkout/sessions")
    lost = shop.checkout()
    assert (lost.status_code, lost.get_json()["error"]) == (503, "stripe_unavailable")
    assert int(lost.headers["Retry-After"]) > 0
    shop.behave()
    assert attempts(shop)[0].stripe_try == 0
    found = shop.checkout()
    assert found.status_code == 201
    assert [s.id for s in shop.sessions()] == [found.get_json()["stripe_checkout_session_id"]]


def test_a_refusal_of_stripes_is_told_and_the_next_try_is_new(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION, stripe_price_id="price_1Unknown00000")
    refused = shop.checkout()
    told = refused.get_json()
    assert (refused.status_code, told["error"]) == (502, "stripe_error")
    assert told["stripe_code"] == "resource_missing"
    assert told["stripe_request_id"].startswith("req_")
    assert attempts(shop)[0].stripe_try == 1
    good = sell("OTHER", Kind.SUBSCRIPTION)
    with shop.runtime.database.write() as db:
        product = db.exec(select(Product).where(Product.product_code == "PRO_MONTHLY")).one()
        product.prices[0].stripe_price_id = good.prices[0].stripe_price_id
    mended = shop.checkout()
    assert mended.status_code == 201, mended.text
    assert mended.get_json()["attempt_id"] == attempts(shop)[0].id


def test_a_rolled_key_is_named(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    sealed = shop.runtime.secret_box.encrypt(
        "sk_test_rolled0123456789abcdef", bound_to=f"connection:{shop.connection.id}:stripe_key"
    )
    change(shop, Connection, key_sealed=sealed)
    answer = shop.checkout()
    assert (answer.status_code, answer.get_json()["error"]) == (502, "stripe_error")
    assert "rejected" in answer.get_json()["message"]
    assert "rolled0123" not in answer.text


def test_a_crash_between_asking_and_answering_is_cured_by_a_repeat(
    shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    told = shop.checkout().get_json()
    # As if the process had died after Stripe's answer: nothing of it was written down.
    change(
        shop,
        CheckoutAttempt,
        stripe_checkout_session_id=None,
        checkout_url=None,
        status=AttemptStatus.CREATED,
    )
    change(
        shop,
        IdempotencyKey,
        response_status=None,
        response_body=None,
        holder="dead",
        leased_until=START.replace(year=2027),
    )
    running = shop.checkout()
    assert (running.status_code, running.get_json()["error"]) == (409, "idempotency_in_progress")
    assert running.headers["Retry-After"].isdigit()
    clock.now = START.replace(year=2028)
    assert shop.checkout().get_json() == told
    assert len(shop.sessions()) == 1


def test_many_calls_at_once_with_one_key_have_one_effect(shop: Shop, sell: Sell, app: Flask) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    gate = threading.Barrier(8)
    answers: list[Any] = []

    def call() -> None:
        mine = Shop(**{**shop.__dict__, "client": app.test_client()})
        gate.wait()
        answers.append(mine.checkout())

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {a.get_json()["error"] for a in answers if a.status_code == 409} <= {"idempotency_in_progress"}
    assert len({a.get_json()["attempt_id"] for a in answers if a.status_code == 201}) == 1
    assert len(shop.sessions()) == len(attempts(shop)) == 1
