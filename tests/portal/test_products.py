from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.queries import product_by_code, products
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.support.cast import Cast, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import make_entitlement


@pytest.fixture
def pages(app: Flask, cast: Cast, sandbox: Sandbox) -> SidePages:
    return connected(side_pages(app, cast), sandbox)


def price_of(pages: SidePages, words: str) -> str:
    """The id of a price that the form offers under these words."""
    page = pages.get("/products/new").text
    offered = re.search(rf'<option value="(price_\w+)"[^>]*>[^<]*{words}', page)
    assert offered is not None, page
    return offered[1]


def found(database: Database, cast: Cast, code: str) -> Product | None:
    with database.read() as db:
        return product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code=code)


def test_a_product_is_made_without_scripts(pages: SidePages, database: Database, cast: Cast) -> None:
    values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
    answer = pages.send("/products/new", "/products/new", values)
    assert answer.status_code == 303, answer.text
    product = found(database, cast, "PRO")
    assert product is not None
    assert product.kind is Kind.SUBSCRIPTION
    page = pages.get("/products").text
    assert "$12.00" in page
    assert "PRO" in page


def test_the_wizard_s_form_leads_on_to_the_next_step(pages: SidePages) -> None:
    values = {"price_id": price_of(pages, "Day pass"), "kind": "time_pass", "product_code": "DAY"}
    answer = pages.send(
        "/setup/products", "/products/new", {**values, "duration": "2", "duration_unit": "days"}
    )
    assert answer.status_code == 303
    assert answer.headers["Location"].endswith("/setup")  # Which leads to the next step.
    assert "2 days" in pages.get("/setup/products").text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"product_code": "price_123"}, "looks like a Stripe ID"),
        ({"product_code": ""}, "Enter a product code"),
        ({"kind": "time_pass", "duration": "1", "duration_unit": "days"}, "paid once"),
        ({"kind": ""}, "Choose what a purchase gives"),
        ({"kind": "nonsense"}, "Not a valid choice"),
        ({"price_id": "price_unknown"}, "no such price"),
        ({"features": "<img src=x>"}, "not a valid feature code"),
        ({"limits": "projects 10"}, "Write each limit as code = number"),
        ({"limits": "a = 1\na = 2"}, "Write each limit as code = number"),
        ({"limits": "a = -1"}, "Write each limit as code = number"),
        ({"limits": "a b = 1"}, "not a valid limit code"),
        ({"limits": "a = 9007199254740992"}, "or unlimited"),
        ({"price_id": ""}, "Pick a price"),
        ({"trial_days": "9999"}, "1 to 730"),
        ({"trial_days": "x"}, "Not a valid integer value"),
    ],
)
def test_what_is_wrong_is_said_at_the_form(pages: SidePages, changes: dict[str, str], says: str) -> None:
    values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
    answer = pages.send("/products/new", "/products/new", {**values, **changes}, htmx=True)
    assert answer.status_code == 422
    assert answer.text.lstrip().startswith("<form")
    assert says in answer.text
    assert "<img src=x>" not in answer.text


def test_picking_a_price_proposes_the_kind(pages: SidePages) -> None:
    for words, kind in (("Pro, monthly", "subscription"), ("1000 credits", "time_pass")):
        query = {"price_id": price_of(pages, words), "product_code": "KEPT", "back": ""}
        answer = pages.get("/products/new/proposal", query_string=query, headers=HTMX)
        assert answer.status_code == 200
        assert f'value="{kind}" checked' in answer.text
        assert 'value="KEPT"' in answer.text


@pytest.mark.parametrize(("mark", "kept"), [("100", 100), ("0", 0), ("", None)])
def test_a_pack_has_a_mark_for_running_low(
    pages: SidePages, database: Database, cast: Cast, mark: str, kept: int | None
) -> None:
    pack = {"price_id": price_of(pages, "Day pass"), "kind": "usage_pack", "product_code": "CREDITS"}
    values = {**pack, "units": "1000", "usage_low_units": mark}
    answer = pages.send("/products/new", "/products/new", values)
    assert answer.status_code == 303, answer.text
    product = found(database, cast, "CREDITS")
    assert product is not None
    assert product.usage_low_units == kept
    again = pages.send("/products/new", "/products/new", {**values, "usage_low_units": "-1"})
    assert again.status_code == 422
    assert "A whole number from 0" in again.text


def test_a_pack_names_its_unit_until_somebody_has_it(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    pack = {"price_id": price_of(pages, "Day pass"), "kind": "usage_pack", "product_code": "CREDITS"}
    refused = pages.send("/products/new", "/products/new", {**pack, "units": "5", "unit": "My Images"})
    assert refused.status_code == 422
    assert "Use 1 to 32 lower-case letters, digits or _" in refused.text
    values = {**pack, "units": "5", "unit": " images "}
    assert pages.send("/products/new", "/products/new", values).status_code == 303
    product = found(database, cast, "CREDITS")
    assert product is not None
    assert product.unit == "images"
    path = f"/products/{product.id}"
    assert pages.send(path, path, {**pack, "unit": "pages"}).status_code == 303
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        make_entitlement(db, subject=subject, product_code="CREDITS", kind=Kind.USAGE_PACK, unit="pages")
    page = pages.get(path).text
    assert 'name="unit"' not in page
    assert "its unit stays:</span> <strong>pages</strong>" in page
    assert pages.send(path, path, {**pack, "units": "6"}).status_code == 303
    refused = pages.send(path, path, {**pack, "unit": "images"})
    assert refused.status_code == 422
    assert "its unit stays pages" in refused.text
    again = found(database, cast, "CREDITS")
    assert again is not None
    assert (again.unit, again.units) == ("pages", 6)


def test_an_edit_keeps_code_and_kind(pages: SidePages, database: Database, cast: Cast) -> None:
    values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
    pages.send("/products/new", "/products/new", values)
    product = found(database, cast, "PRO")
    assert product is not None
    path = f"/products/{product.id}"
    yearly = price_of(pages, "Pro, yearly")
    changed = {"price_id": yearly, "kind": "usage_pack", "product_code": "X", "features": "a, b a"}
    answer = pages.send(path, path, {**changed, "grace_days": "2"})
    assert answer.status_code == 303, answer.text
    after = found(database, cast, "PRO")
    assert after is not None
    assert (
        after.kind,
        after.features,
        after.grace_days,
        [price.interval for price in after.selling_prices],
    ) == (
        Kind.SUBSCRIPTION,
        ["a", "b"],
        2,
        ["year"],
    )


def test_archiving_and_restoring_in_test_needs_a_click(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id)
    assert pages.send(f"/products/{product.id}", "/archival", {}).status_code == 303
    assert "No longer sold" in pages.get("/products").text
    assert pages.send("/products", "/restoration", {}).status_code == 303
    with database.read() as db:
        assert len(products(db, Scope(cast.project_id, Mode.TEST))) == 1


def test_in_live_the_code_must_be_typed_to_archive(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id, mode=Mode.LIVE)
    live = side_pages(app, cast, mode="live")
    path = f"/products/{product.id}"
    assert live.send(path, "/archival", {"typed": "pro_monthly"}).status_code == 422
    assert live.send(path, "/archival", {"typed": "PRO_MONTHLY"}).status_code == 303


def test_without_a_connection_the_form_says_why_there_are_no_prices(app: Flask, cast: Cast) -> None:
    page = side_pages(app, cast).get("/products/new")
    assert page.status_code == 200
    assert "No Stripe key is saved" in page.text


def test_a_shared_price_is_pointed_out(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        for code in ("ONE", "TWO"):
            make_product(db, project_id=cast.project_id, product_code=code, stripe_price_id="price_same")
    assert "ONE and TWO are mapped to" in side_pages(app, cast).get("/products").text


def test_names_from_stripe_are_text(app: Flask, cast: Cast, database: Database) -> None:
    with database.write() as db:
        make_product(db, project_id=cast.project_id, stripe_product_name="<script>alert(1)</script>")
    page = side_pages(app, cast).get("/products").text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_limits_are_saved_and_shown(pages: SidePages, database: Database, cast: Cast) -> None:
    values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
    limits = {"limits": "projects = 10\r\n seats=Unlimited, files = 0", "adds": "y"}
    assert pages.send("/products/new", "/products/new", {**values, **limits}).status_code == 303
    product = found(database, cast, "PRO")
    assert product is not None
    assert (product.limits, product.adds) == ({"projects": 10, "seats": None, "files": 0}, True)
    assert "files +0, projects +10, seats +unlimited" in pages.get("/products").text
    page = pages.get(f"/products/{product.id}").text
    assert "files = 0\nprojects = 10\nseats = unlimited</textarea>" in page
    answer = pages.send(
        f"/products/{product.id}", f"/products/{product.id}", {**values, "limits": "", "adds": ""}
    )
    assert answer.status_code == 303
    changed = found(database, cast, "PRO")
    assert changed is not None
    assert (changed.limits, changed.adds, changed.terms_version) == ({}, False, 2)


def test_a_free_product_needs_no_price(pages: SidePages, database: Database, cast: Cast) -> None:
    free = {"kind": "free", "product_code": "FREE", "limits": "projects = 1", "is_default": "y"}
    answer = pages.send("/products/new", "/products/new", {**free, "grace_days": "3", "grants_access": ""})
    assert answer.status_code == 303, answer.text
    product = found(database, cast, "FREE")
    assert product is not None
    assert (product.kind, product.prices, product.is_default) == (Kind.FREE, [], True)
    assert (product.grace_days, product.adds, product.grants_access) == (0, False, False)
    listed = pages.get("/products").text
    assert "default product" in listed
    assert "no price" not in listed
    page = pages.get(f"/products/{product.id}").text
    assert "Stripe price" not in page
    second = pages.send("/products/new", "/products/new", {**free, "product_code": "BASIC"}, htmx=True)
    assert second.status_code == 422
    assert "FREE is the default product of this mode" in second.text
    changed = {**free, "is_default": "", "grants_access": "", "limits": "projects = 2"}
    assert pages.send(f"/products/{product.id}", f"/products/{product.id}", changed).status_code == 303
    pages.send("/products/new", "/products/new", {**free, "product_code": "BASIC"})
    basic = found(database, cast, "BASIC")
    assert basic is not None
    assert basic.is_default


def test_an_archived_default_product_comes_back_only_to_its_own_place(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    made: dict[str, Any] = {"project_id": cast.project_id, "kind": Kind.FREE, "is_default": True}
    with database.write() as db:
        archived = make_product(db, product_code="OLD", archived_at=START, **made)
        make_product(db, product_code="FREE", **made)
    answer = pages.send("/products", f"/products/{archived.id}/restoration", {})
    assert answer.status_code == 303
    assert "FREE is the default product of this mode" in pages.get("/products").text
    still = found(database, cast, "OLD")
    assert still is not None
    assert still.archived_at is not None
