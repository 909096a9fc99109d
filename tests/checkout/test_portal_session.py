"""`POST /v1/billing/portal-session`, answered by the Stripe sandbox over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.connections.models import Connection
from licenzy.projects.models import ProjectSide
from licenzy.subjects.models import Subject
from tests.checkout.conftest import Shop
from tests.support.cast import make_subject

Sell = Callable[..., Product]
BACK = "https://shop.example.com/account"


def ask(shop: Shop, **body: Any) -> Any:
    sent = {"subject_ref": "user_123", **body}
    return shop.client.post(
        "/v1/billing/portal-session", json=sent, headers={"Authorization": f"Bearer {shop.token}"}
    )


@pytest.fixture
def customer(shop: Shop) -> str:
    """`user_123` as a customer of the account."""
    made = shop.stripe.v1.customers.create({"email": "a@b.co"})
    with shop.runtime.database.write() as db:
        make_subject(db, project_id=shop.project_id, stripe_customer_id=made.id)
    return made.id


def test_it_gives_the_address_of_stripes_portal(shop: Shop, customer: str) -> None:
    answer = ask(shop, return_url=BACK)
    assert answer.status_code == 201, answer.text
    assert set(answer.get_json()) == {"url"}
    assert answer.headers["Licenzy-Mode"] == "test"
    page = httpx.get(answer.get_json()["url"])
    assert page.status_code == 200
    assert "a@b.co" in page.text
    assert BACK in page.text


def test_the_way_back_may_be_left_to_stripe(shop: Shop, customer: str) -> None:
    answer = ask(shop)
    assert answer.status_code == 201
    assert "Return to the shop" not in httpx.get(answer.get_json()["url"]).text


def test_leaving_there_is_a_scheduled_end(shop: Shop, sell: Sell) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    session = shop.checkout().get_json()["stripe_checkout_session_id"]
    httpx.post(f"{shop.sandbox.url}/pay/{session}", data={"action": "pay"})
    paid = shop.stripe.v1.checkout.sessions.retrieve(session)
    with shop.runtime.database.write() as db:
        db.exec(select(Subject)).one().stripe_customer_id = str(paid.customer)
    url = ask(shop).get_json()["url"]
    left = httpx.post(url, data={"action": "cancel", "subscription": str(paid.subscription)})
    assert left.status_code == 303
    leaving = shop.stripe.v1.subscriptions.retrieve(str(paid.subscription))
    assert leaving.cancel_at is not None
    assert leaving.cancel_at_period_end is False


@pytest.mark.parametrize("known", [True, False], ids=["without a customer", "unknown"])
def test_who_never_paid_has_no_portal(shop: Shop, known: bool) -> None:
    if known:
        with shop.runtime.database.write() as db:
            make_subject(db, project_id=shop.project_id)
    answer = ask(shop)
    assert (answer.status_code, answer.get_json()["error"]) == (404, "customer_not_found")
    assert answer.get_json()["hint"]


def test_a_customer_of_the_other_mode_is_none(shop: Shop, customer: str) -> None:
    with shop.runtime.database.write() as db:
        make_subject(
            db, project_id=shop.project_id, mode=Mode.LIVE, subject_ref="rich", stripe_customer_id=customer
        )
    assert ask(shop, subject_ref="rich").get_json()["error"] == "customer_not_found"


def test_a_customer_that_stripe_lost_is_forgotten(shop: Shop) -> None:
    with shop.runtime.database.write() as db:
        make_subject(db, project_id=shop.project_id, stripe_customer_id="cus_gone")
    answer = ask(shop)
    assert (answer.status_code, answer.get_json()["error"]) == (404, "customer_not_found")
    with shop.runtime.database.read() as db:
        assert db.exec(select(Subject)).one().stripe_customer_id is None


@pytest.mark.parametrize(
    "url",
    [
        "/account",
        "//evil",
        "javascript:alert(1)",
        "https://u:p@h",
        "http://shop.example.com",
        "https://a b",
        "",
    ],
)
def test_a_way_back_must_be_a_good_address(shop: Shop, customer: str, url: str) -> None:
    answer = ask(shop, return_url=url)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_redirect_url")
    assert list(answer.get_json()["fields"]) == ["return_url"]


def test_the_projects_hosts_hold_here_too(shop: Shop, customer: str) -> None:
    with shop.runtime.database.write() as db:
        side = db.get(ProjectSide, (shop.project_id, Mode.TEST))
        assert side is not None
        side.redirect_hosts = ["shop.example.com"]
    assert ask(shop, return_url="https://elsewhere.example.com").get_json()["error"] == "invalid_redirect_url"
    assert ask(shop, return_url=BACK).status_code == 201


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"return_url": 5}, "invalid_request"),
        ({"subject_ref": ""}, "invalid_request"),
        ({"subject_ref": None}, "invalid_request"),
        ({"customer": "cus_1"}, "unknown_field"),
        ({"mode": "live"}, "mode_not_allowed"),
    ],
)
def test_bad_bodies_are_refused(shop: Shop, body: dict[str, Any], code: str) -> None:
    answer = ask(shop, **body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, code)


def test_without_a_stripe_key_it_says_where_to_connect(shop: Shop, customer: str) -> None:
    with shop.runtime.database.write() as db:
        db.exec(select(Connection)).one().key_sealed = None
    answer = ask(shop)
    assert (answer.status_code, answer.get_json()["error"]) == (409, "stripe_not_connected")
    assert "/connection" in answer.get_json()["hint"]


def test_stripes_troubles_are_told_as_such(shop: Shop, customer: str) -> None:
    shop.inject_faults(http_500=9)
    assert ask(shop).get_json()["error"] == "stripe_unavailable"


def test_nobody_asks_without_a_key(client: FlaskClient) -> None:
    answer = client.post("/v1/billing/portal-session", json={"subject_ref": "user_123"})
    assert answer.get_json()["error"] == "api_key_missing"
