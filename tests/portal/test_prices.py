"""The prices of a product on its page."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import PriceBackfill, Product
from licenzy.catalog.queries import product_by_code
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import UnmappedItem
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.portal.test_products import price_of
from tests.support.cast import Cast, make_product, make_product_price
from tests.support.clock import START


@pytest.fixture
def pages(app: Flask, cast: Cast, sandbox: Sandbox) -> SidePages:
    return connected(side_pages(app, cast), sandbox)


@pytest.fixture
def path(pages: SidePages, database: Database, cast: Cast) -> str:
    """The page of a product that is sold monthly."""
    values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
    assert pages.send("/products/new", "/products/new", values).status_code == 303
    return f"/products/{pro(database, cast).id}"


def pro(database: Database, cast: Cast) -> Product:
    with database.read() as db:
        found = product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code="PRO")
    assert found is not None
    return found


def states(database: Database, cast: Cast) -> list[tuple[str, bool]]:
    return [(price.label, price.selling) for price in pro(database, cast).prices]


def test_a_price_is_added_labelled_retired_sold_again_and_removed(
    pages: SidePages, path: str, database: Database, cast: Cast
) -> None:
    yearly = price_of(pages, "Pro, yearly")
    added = pages.send(path, "/prices", {"price_id": yearly, "price_label": "year"})
    assert added.status_code == 303, added.text
    page = pages.get(path).text
    for words in ("$12.00 / month", "$120.00 / year", "selling", yearly):
        assert words in page
    assert "year: $120.00 / year" in pages.get("/products").text
    assert states(database, cast) == [("default", True), ("year", True)]

    first = pro(database, cast).prices[0].id
    assert pages.send(path, f"/{first}/label", {"price_label": "month"}).status_code == 303
    assert states(database, cast) == [("month", True), ("year", True)]
    assert "This product is sold at 2 prices" in pages.get(path).text
    assert pages.send(path, "/products/" + path.rsplit("/", 1)[1], {"features": "a"}).status_code == 303
    assert pro(database, cast).features == ["a"]

    assert pages.send(path, f"/{first}/retirement", {}).status_code == 303
    assert states(database, cast) == [("month", False), ("year", True)]
    form = next(each for each in [pages.form(path, "/prices")] if each.fields.get("price_label") == "month")
    assert pages.client.post(form.action, data=form.fields).status_code == 303
    assert states(database, cast) == [("month", True), ("year", True)]

    pages.send(path, f"/{first}/retirement", {})
    assert pages.send(path, f"/{first}/removal", {}).status_code == 303
    assert states(database, cast) == [("year", True)]


def test_what_is_wrong_with_a_price_is_said_at_its_form(
    pages: SidePages, path: str, database: Database, cast: Cast
) -> None:
    for values, says in (
        ({"price_id": price_of(pages, "Pro, yearly"), "price_label": "A B"}, "lower-case letters"),
        ({"price_id": "", "price_label": "year"}, "Pick a price"),
        ({"price_id": "price_unknown", "price_label": "year"}, "no such price"),
        ({"price_id": price_of(pages, "Pro, yearly"), "price_label": ""}, "Enter a label"),
    ):
        answer = pages.send(path, "/prices", values, htmx=True)
        assert answer.status_code == 422
        assert answer.text.lstrip().startswith("<form")
        assert says in answer.text
    assert states(database, cast) == [("default", True)]
    first = pro(database, cast).prices[0].id
    pages.send(path, f"/{first}/label", {"price_label": "NO"})
    assert "lower-case letters" in pages.get(path).text


def test_the_form_of_another_price_proposes_a_label_that_is_free(pages: SidePages, path: str) -> None:
    yearly = price_of(pages, "Pro, yearly")
    page = pages.get(f"{path}?add={yearly}").text
    form = next(part for part in page.split("<form") if 'id="add-price"' in part)
    assert f'<option value="{yearly}" selected>' in form
    assert 'value="year"' in form


def test_the_search_for_subscriptions_shows_its_progress(
    pages: SidePages, path: str, database: Database
) -> None:
    search = f"{path}/prices/search"
    assert "within seconds" in pages.get(search, headers=HTMX).text
    with database.write() as db:
        row = db.exec(select(PriceBackfill)).one()
        row.searched, row.total, row.found = 200, 1200, 3
    answer = pages.get(search, headers=HTMX)
    assert (answer.status_code, "200 of 1,200 subscriptions" in answer.text) == (200, True), answer.text
    with database.write() as db:
        db.exec(select(PriceBackfill)).one().finished_at = START
    answer = pages.get(search, headers=HTMX)
    assert (answer.status_code, "3 subscriptions hold" in answer.text) == (286, True)
    assert pages.get(search).status_code == 303


def test_an_unmapped_price_is_mapped_in_one_click(
    pages: SidePages, path: str, database: Database, cast: Cast
) -> None:
    yearly = price_of(pages, "Pro, yearly")
    with database.write() as db:
        unmapped = UnmappedItem(
            project_id=cast.project_id,
            mode=Mode.TEST,
            purchase_key="sub_1",
            stripe_price_id=yearly,
            stripe_product_id="prod_unknown",
            seen_at=START,
        )
        db.add(unmapped)
    page = pages.get("/alignment").text
    assert f"1 subscription holds {yearly}." in page
    assert f"/products/new?price_id={yearly}" in page
    form = pages.get(f"/products/new?price_id={yearly}").text
    assert f'<option value="{yearly}" selected>' in form
    assert 'value="subscription" checked' in form

    same = pro(database, cast).prices[0].stripe_product_id
    with database.write() as db:
        db.exec(select(UnmappedItem)).one().stripe_product_id = same
    page = pages.get("/alignment").text
    assert f"{path}?add={yearly}#add-price" in page


def test_the_list_says_where_nothing_can_be_bought(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id, retired_at=START)
        make_product_price(db, product, label="old", retired_at=START)
    pages = side_pages(app, cast)
    assert "no price" in pages.get("/products").text
    assert "sold at no prices" in pages.get(f"/products/{product.id}").text


def test_in_live_the_label_must_be_typed(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id, mode=Mode.LIVE, label="month")
    live, path = side_pages(app, cast, mode="live"), f"/products/{product.id}"
    price = product.prices[0].id

    def labels() -> list[tuple[str, bool]]:
        with database.read() as db:
            found = product_by_code(db, Scope(cast.project_id, Mode.LIVE), product_code=product.product_code)
        assert found is not None
        return [(each.label, each.selling) for each in found.prices]

    live.send(path, f"/{price}/retirement", {"typed": "Month"})
    assert "That is not the price’s label." in live.get(path).text
    assert labels() == [("month", True)]
    live.send(path, f"/{price}/retirement", {"typed": "month"})
    assert labels() == [("month", False)]
    live.send(path, f"/{price}/removal", {"typed": ""})
    assert labels() == [("month", False)]
    live.send(path, f"/{price}/removal", {"typed": "month"})
    assert labels() == []
