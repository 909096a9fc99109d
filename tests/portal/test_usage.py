"""What a customer's page shows of usage."""

from __future__ import annotations

from flask import Flask
from flask.testing import FlaskClient

from licenzy.db.unit_of_work import Database
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.usage.buying import consume, customer_with, post, reserve


def test_the_ledger_and_what_is_set_aside(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock
) -> None:
    customer, pages = customer_with(database, cast), side_pages(app, cast)
    address = f"/customers/{customer.subject.id}"
    assert 'id="usage"' not in pages.get(address).text, "nothing to show of who has no pack"
    customer.buys(100, product_code="CREDITS")
    page = pages.get(address).text
    assert "No usage yet" in page
    assert 'href="/docs/usage"' in page
    requests = []
    for units in (7, 11):
        requests.append(consume(client, customer, units).headers["Licenzy-Request-Id"])
        clock.advance(minutes=1)
    made = reserve(client, customer, 13, ttl_seconds=600).get_json()["reservation_id"]
    page = pages.get(address).text
    assert page.index(requests[1]) < page.index(requests[0]), "the newest first"
    assert made in page
    assert post(client, customer, f"/v1/usage/reservations/{made}/commit", {"units": 5}).status_code == 200
    page = pages.get(address).text
    assert "Units reserved now" not in page
    assert f"committed from <code>{made}</code>" in page


def test_a_reservation_that_is_over_is_free_on_the_page_too(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock
) -> None:
    customer, pages = customer_with(database, cast), side_pages(app, cast)
    customer.buys(100)
    reserve(client, customer, 100, ttl_seconds=60)
    assert "No access" in pages.get(f"/customers/{customer.subject.id}").text
    clock.advance(seconds=60)
    page = pages.get(f"/customers/{customer.subject.id}").text
    assert "Has access" in page
    listed = pages.get("/customers").text
    assert "Exhausted" not in listed
    assert "exhausted" not in listed
    assert "Units reserved now" not in page


def test_each_unit_has_its_balance(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, clock: StandingClock
) -> None:
    customer, pages = customer_with(database, cast), side_pages(app, cast)
    customer.buys(100, product_code="CREDITS")
    for units in (30, 20):
        customer.buys(units, product_code="IMAGES", unit="images")
    assert consume(client, customer, 31, unit="images").status_code == 200
    assert reserve(client, customer, 2, unit="images").status_code == 201
    page = pages.get(f"/customers/{customer.subject.id}").text
    for shown in (
        # The pack that is used up is no longer available.
        '<dt>Images left</dt><dd class="numbers">17 of 20</dd>',
        '<dt>Units left</dt><dd class="numbers">100 of 100</dd>',
        '<dd class="numbers">17 of 20 images</dd>',
        ">30 images<",
        ">2 images<",
        "17 of 20 images are left.",
    ):
        assert shown in page, shown
