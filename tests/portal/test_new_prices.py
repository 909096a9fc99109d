"""Creating prices on the pages of products, which only a connection to the sandbox does."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Product
from licenzy.catalog.queries import product_by_code
from licenzy.connections.models import Connection, Provider
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from licenzy.workspace.models import AuditEntry
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.support.cast import Cast
from tests.support.visits import location

NEW = "/products/new"
MONTHLY = {"name": "Pro", "amount": "20", "currency": "eur", "interval": "month"}


@pytest.fixture
def pages(app: Flask, cast: Cast, sandbox: Sandbox) -> SidePages:
    return connected(side_pages(app, cast), sandbox)


def product(database: Database, cast: Cast, code: str) -> Product:
    with database.read() as db:
        found = product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code=code)
    assert found is not None
    return found


def sold_at(database: Database, cast: Cast, code: str) -> list[tuple[str, int | None, str, str | None]]:
    prices = product(database, cast, code).selling_prices
    return [(price.label, price.unit_amount, price.currency, price.interval) for price in prices]


def sell(pages: SidePages, values: dict[str, str], more: dict[str, str]) -> None:
    """Create a price, and the product that the page then proposes."""
    created = pages.send(NEW, "/products/prices", values)
    assert created.status_code == 303, created.text
    path = location(created).removeprefix(pages.base)
    form = pages.form(path, NEW)
    picked = {"price_id": path.partition("price_id=")[2]}
    assert pages.client.post(form.action, data={**form.fields, **picked, **more}).status_code == 303


def test_a_product_is_sold_at_prices_that_are_created(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    sell(pages, MONTHLY, {})
    path = f"/products/{product(database, cast, 'PRO').id}"
    form = pages.form(path, "/prices/new")
    assert (form.fields["currency"], form.fields["price_label"]) == ("EUR", "year")
    yearly = {"amount": "200.00", "interval": "year"}
    assert pages.send(path, "/prices/new", yearly).status_code == 303
    assert sold_at(database, cast, "PRO") == [
        ("default", 2000, "eur", "month"),
        ("year", 20_000, "eur", "year"),
    ]
    assert len({price.stripe_product_id for price in product(database, cast, "PRO").prices}) == 1
    with database.read() as db:
        created = db.exec(select(AuditEntry.after).where(AuditEntry.action == "price.created")).all()
    assert sorted(entry["price"] for entry in created if entry) == [
        "€20.00 every month",
        "€200.00 every year",
    ]


def test_a_price_that_is_paid_once(pages: SidePages, database: Database, cast: Cast) -> None:
    once = {**MONTHLY, "name": "Credits", "amount": "900", "currency": "JPY", "interval": "once"}
    sell(pages, once, {"kind": "usage_pack", "units": "500"})
    assert sold_at(database, cast, "CREDITS") == [("default", 900, "jpy", None)]
    path = f"/products/{product(database, cast, 'CREDITS').id}"
    refused = pages.send(path, "/prices/new", {"amount": "1", "interval": "month", "price_label": "month"})
    assert refused.status_code == 422
    assert "Not a valid choice" in refused.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": ""}, "Enter a name"),
        ({"name": " "}, "Enter a name"),
        ({"amount": "1,000"}, "Enter an amount such as 20 or 20.50"),
        ({"amount": "1.5", "currency": "JPY"}, "Enter an amount such as 20."),
        ({"amount": "1.234", "currency": "KWD"}, "two decimals at most"),
        ({"amount": "1000000"}, "Enter a smaller amount"),
        ({"currency": "E1"}, "a code of three letters"),
        ({"interval": "decade"}, "Not a valid choice"),
    ],
)
def test_what_is_wrong_with_a_price_is_said_at_its_form(
    pages: SidePages, changes: dict[str, str], says: str
) -> None:
    for htmx in (False, True):
        refused = pages.send(NEW, "/products/prices", {**MONTHLY, **changes}, htmx=htmx)
        assert refused.status_code == 422
        assert says in refused.text
        assert ("<html" in refused.text) is not htmx


def test_a_form_that_is_sent_twice_creates_one_price(pages: SidePages) -> None:
    form = pages.form(NEW, "/products/prices")
    filled = {**form.fields, **MONTHLY}
    first, second = (location(pages.client.post(form.action, data=filled)) for _ in range(2))
    assert first == second
    other = pages.client.post(form.action, data={**filled, "amount": "21"})
    assert location(other) != first


def test_another_label_than_one_can_be_is_refused(pages: SidePages, database: Database, cast: Cast) -> None:
    sell(pages, MONTHLY, {})
    path = f"/products/{product(database, cast, 'PRO').id}"
    refused = pages.send(
        path, "/prices/new", {"amount": "200", "interval": "year", "price_label": "A Year"}, htmx=True
    )
    assert refused.status_code == 422
    assert "lower-case letters" in refused.text
    assert len(sold_at(database, cast, "PRO")) == 1


def test_a_price_that_does_not_fit_what_is_included_is_not_created(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    images = {"unit": "images", "units": "10", "every": "month"}
    sell(pages, MONTHLY, {f"included-0-{name}": value for name, value in images.items()})
    path = f"/products/{product(database, cast, 'PRO').id}"
    weekly = {"amount": "5", "interval": "week", "price_label": "week"}
    refused = pages.send(path, "/prices/new", weekly, htmx=True)
    assert refused.status_code == 422
    assert 'id="new_price_interval-error"' in refused.text
    assert "includes images every month" in refused.text
    with database.read() as db:
        created = db.exec(select(AuditEntry).where(AuditEntry.action == "price.created")).all()
    assert len(created) == 1


def test_a_connection_to_stripe_itself_creates_none(pages: SidePages, database: Database) -> None:
    form = pages.form(NEW, "/products/prices")
    with database.write() as db:
        for connection in db.exec(select(Connection)):
            connection.provider = Provider.STRIPE
            db.add(connection)
    assert "Create a price in the sandbox" not in pages.get(NEW).text
    assert pages.client.post(form.action, data={**form.fields, **MONTHLY}, headers=HTMX).status_code == 404


def test_live_creates_none(pages: SidePages) -> None:
    form = pages.form(NEW, "/products/prices")
    live = form.action.replace("/test/", "/live/")
    assert pages.client.post(live, data={**form.fields, **MONTHLY}).status_code == 404
