"""Untracked checkouts on their pages: listed, explained, adopted by who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from flask import Flask
from sqlmodel import delete, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.connections.credentials import key_label
from licenzy.connections.models import Connection
from licenzy.db.paging import PAGE_SIZE
from licenzy.entitlements.actions import record_fact
from licenzy.entitlements.models import Entitlement, FactSource
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.workspace.models import Role
from tests.checkout.conftest import Shop, sell, shop
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_subject, make_user
from tests.support.clock import START, StandingClock
from tests.support.visits import csrf_token

__all__ = ["sell", "shop"]

Sell = Callable[..., Product]


def make_untracked(runtime: Runtime, connection: Connection, **columns: Any) -> UntrackedCheckout:
    """A paid session that nobody knows."""
    session_id = f"cs_test_{new_id('x')[2:]}"
    values = {
        "session_id": session_id,
        "purchase_key": session_id,
        "recurring": False,
        "payment_status": "paid",
        "amount_total": 1200,
        "currency": "usd",
        "email": "buyer@example.com",
        "event_id": "evt_1",
        **columns,
    }
    row = UntrackedCheckout(
        id=new_id("unt"),
        project_id=connection.project_id,
        mode=connection.mode,
        connection_id=connection.id,
        completed_at=START,
        kept_at=START,
        **values,
    )
    with runtime.database.write() as db:
        db.add(row)
    return row


@pytest.fixture
def connection(runtime: Runtime, cast: Cast) -> Connection:
    with runtime.database.write() as db:
        return make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)


def support_pages(app: Flask, cast: Cast, runtime: Runtime) -> SidePages:
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    return side_pages(app, cast, email="support@example.com")


def paid_past_licenzy(shop: Shop, product: Product, **columns: Any) -> UntrackedCheckout:
    """A session of the sandbox, and the row that its event would leave."""
    made = shop.stripe.v1.checkout.sessions.create(
        {
            "mode": "payment",
            "success_url": "https://example.com/done",
            "line_items": [{"price": product.prices[0].stripe_price_id, "quantity": 1}],
        }
    )
    assert made.url is not None
    assert httpx.post(made.url, data={"action": "pay", "email": "buyer@example.com"}).status_code == 303
    return make_untracked(
        shop.runtime, shop.connection, **{"session_id": made.id, "purchase_key": made.id, **columns}
    )


def granted(runtime: Runtime) -> list[Entitlement]:
    with runtime.database.read() as db:
        return list(db.exec(select(Entitlement)))


def test_an_empty_list_says_how_to_keep_it_so(app: Flask, cast: Cast) -> None:
    pages = side_pages(app, cast)
    assert "No untracked purchase in test" in pages.get("/untracked").text
    assert "No purchase has been assigned" in pages.get("/untracked?show=adopted").text
    only = pages.get("/untracked?show=adopted&kind=one_time").text
    assert "No one-time purchase has been assigned" in only
    assert "No subscription is unassigned" in pages.get("/untracked?kind=subscription").text
    assert "/untracked" in pages.get("").text


def test_they_are_listed_apart_from_those_adopted(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection
) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
    waiting = make_untracked(runtime, connection, payment_status="unpaid", reference="user_9")
    adopted = make_untracked(runtime, connection, adopted_at=START, subject_id=subject.id, recurring=True)
    pages = side_pages(app, cast)
    first, second = pages.get("/untracked").text, pages.get("/untracked?show=adopted").text
    assert str(waiting.session_id) in first
    assert str(adopted.session_id) not in first
    assert "on its way" in first
    assert "user_9" in first
    assert str(adopted.session_id) in second
    page = pages.get(f"/untracked/{adopted.id}").text
    assert f"/customers/{subject.id}" in page
    assert "/adoption" not in page


@pytest.mark.parametrize("source", ["import", "adopt"])
def test_the_page_says_how_one_was_assigned(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection, source: str
) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
    row = make_untracked(
        runtime,
        connection,
        session_id=None,
        payment_status=None,
        event_id=None,
        purchase_key="sub_1",
        recurring=True,
        status="active",
        adopted_at=START,
        subject_id=subject.id,
    )
    with runtime.database.write() as db:
        record_fact(
            db,
            Scope.of(connection),
            source=FactSource.OPERATOR,
            source_id=f"{source}:sub_1",
            kind="operator",
            object_id="sub_1",
            purchase_key="sub_1",
            occurred_at=START,
            data={"action": source},
            now=START,
        )
    page = side_pages(app, cast).get(f"/untracked/{row.id}").text
    assert (", with an import" in page) == (source == "import")
    assert (", by the setting for known customers" in page) == (source == "adopt")


def test_the_list_pages(app: Flask, cast: Cast, runtime: Runtime, connection: Connection) -> None:
    made = sorted(make_untracked(runtime, connection).id for _ in range(PAGE_SIZE + 2))
    pages = side_pages(app, cast)
    first = pages.get("/untracked").text
    second = pages.get("/untracked", query_string={"older_than": made[2]}).text
    assert [row for row in made if f"/untracked/{row}" in first] == made[2:]
    assert [row for row in made if f"/untracked/{row}" in second] == made[:2]
    assert pages.get("/untracked", query_string={"older_than": "x'"}).status_code == 200


def test_adopting_grants_what_was_bought(
    app: Flask, cast: Cast, shop: Shop, sell: Sell, clock: StandingClock
) -> None:
    clock.now = datetime.now(UTC) + timedelta(seconds=30)  # The sandbox lives in real time.
    row = paid_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK), reference="user 7")
    pages = support_pages(app, cast, shop.runtime)
    page = pages.get(f"/untracked/{row.id}").text
    assert "<strong>PACK</strong>" in page
    form = pages.form(f"/untracked/{row.id}", "/adoption")
    assert form.fields["subject_ref"] == "user 7"
    data = {**form.fields, "note": "found in the books"}
    answer = pages.client.post(form.action, data=data)
    assert answer.status_code == 303
    page = pages.client.get(answer.headers["Location"]).text
    for said in ("Has access", "Checkout adopted manually", "found in the books", "counts for user 7 now"):
        assert said in page, said
    again = pages.client.post(form.action, data=data)
    assert (again.status_code, again.headers["Location"]) == (303, answer.headers["Location"])
    other = pages.client.post(form.action, data={**data, "subject_ref": "somebody else"})
    assert other.status_code == 422
    assert "It already belongs to user 7." in other.text
    assert [row.granted_units for row in granted(shop.runtime)] == [1000]


def test_what_cannot_be_adopted_says_why_and_what_to_do(
    app: Flask, cast: Cast, shop: Shop, sell: Sell
) -> None:
    product = sell("PACK", Kind.USAGE_PACK)
    row = paid_past_licenzy(shop, product)
    with shop.runtime.database.write() as db:
        db.exec(delete(ProductPrice))
    pages = support_pages(app, cast, shop.runtime)
    page = pages.get(f"/untracked/{row.id}").text
    assert f"No product is mapped to {product.prices[0].stripe_price_id}" in page
    assert "Map that price to a product" in page
    assert "/adoption" not in page
    sent = {
        "subject_ref": "u",
        "note": "x",
        "submission_id": "1",
        "csrf_token": csrf_token(pages.client, "/account"),
    }
    for htmx in ({}, {"HX-Request": "true"}):
        answer = pages.client.post(f"{pages.base}/untracked/{row.id}/adoption", data=sent, headers=htmx)
        assert answer.status_code == 422
        assert "Map that price to a product" in answer.text
        assert ("<html" in answer.text) is not bool(htmx)
    assert granted(shop.runtime) == []


def test_stripe_being_away_is_said(app: Flask, cast: Cast, shop: Shop, sell: Sell) -> None:
    row = paid_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    pages = support_pages(app, cast, shop.runtime)
    shop.inject_faults(http_500=50, match="GET /v1/checkout/*")
    page = pages.get(f"/untracked/{row.id}")
    assert page.status_code == 200
    assert "Stripe" in page.text
    assert "/adoption" in page.text


@pytest.mark.parametrize("why", ["key", "permission", "account"])
def test_what_trying_again_does_not_change_says_what_does(
    app: Flask, cast: Cast, shop: Shop, sell: Sell, why: str
) -> None:
    row = paid_past_licenzy(shop, sell("PACK", Kind.USAGE_PACK))
    pages = support_pages(app, cast, shop.runtime)
    sent = {**pages.form(f"/untracked/{row.id}", "/adoption").fields, "subject_ref": "u", "note": "x"}
    if why == "permission":
        shop.inject_faults(forbid=50, match="GET /v1/checkout/*")
    else:
        with shop.runtime.database.write() as db:
            connection, box = db.get_one(Connection, row.connection_id), shop.runtime.secret_box
            rolled = box.encrypt("sk_test_rolled", bound_to=key_label(connection))
            connection.key_sealed = rolled if why == "key" else None
    said = {
        "key": "Save the current one on the Stripe connection page",
        "permission": "Add the permission to the key in Stripe",
        "account": "Connect Stripe for this mode",
    }[why]
    adopted = pages.client.post(f"{pages.base}/untracked/{row.id}/adoption", data=sent)
    for page in (pages.get(f"/untracked/{row.id}").text, adopted.text):
        assert said in page
        assert "Try again in a moment" not in page


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"subject_ref": ""}, "Enter the customer’s subject_ref"),
        ({"subject_ref": "x" * 201}, "1 to 200 characters"),
        ({"subject_ref": "a\u2028b"}, "line separators"),
        ({"note": " "}, "Give a reason"),
        ({"submission_id": "?"}, "Reload the page"),
    ],
)
def test_what_the_form_cannot_hold(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection, values: dict[str, str], said: str
) -> None:
    row = make_untracked(runtime, connection)
    pages = side_pages(app, cast)
    token = csrf_token(pages.client, "/account")
    sent = {"subject_ref": "u", "note": "x", "submission_id": "1", "csrf_token": token, **values}
    answer = pages.client.post(f"{pages.base}/untracked/{row.id}/adoption", data=sent)
    assert answer.status_code == 422
    assert said in answer.text


def test_modes_have_lists_of_their_own(app: Flask, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        live = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    row = make_untracked(runtime, live)
    assert str(row.session_id) in side_pages(app, cast, mode="live").get("/untracked").text
    assert str(row.session_id) not in side_pages(app, cast).get("/untracked").text
