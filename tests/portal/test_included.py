"""The rows of included units in a product's form, and the sentence of what a buyer gets, without scripts."""

from __future__ import annotations

import html
import re

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from licenzy.alignment.modes import Mode
from licenzy.catalog.included import Every, IncludedUnits, Rollover, lines_of
from licenzy.catalog.models import Product
from licenzy.catalog.queries import product_by_code
from licenzy.db.unit_of_work import Database
from licenzy.projects.scope import Scope
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.support.cast import Cast

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ROW = {"unit": "images", "units": "1000", "every": "month"}
FULL = {**ROW, "rollover": "y", "at_most": "500", "trial_units": "50", "low_units": "100"}


@pytest.fixture
def pages(app: Flask, cast: Cast, sandbox: Sandbox) -> SidePages:
    return connected(side_pages(app, cast), sandbox)


def row(place: int, values: dict[str, str]) -> dict[str, str]:
    return {f"included-{place}-{name}": value for name, value in values.items()}


@pytest.fixture
def pro(pages: SidePages) -> dict[str, str]:
    page = pages.get("/products/new").text
    offered = re.search(r'<option value="(price_\w+)"[^>]*>[^<]*Pro, monthly', page)
    assert offered is not None
    return {"price_id": offered[1], "kind": "subscription", "product_code": "PRO"}


def send(pages: SidePages, path: str, values: dict[str, str], *, htmx: bool = False) -> TestResponse:
    """Send the form of a page with these values alone, so that no box is checked."""
    token = pages.form(path, path).fields["csrf_token"]
    return pages.client.post(
        pages.base + path, data={"csrf_token": token, **values}, headers=HTMX if htmx else None
    )


def create(pages: SidePages, values: dict[str, str], *, htmx: bool = False) -> TestResponse:
    return send(pages, "/products/new", values, htmx=htmx)


def product(database: Database, cast: Cast) -> Product:
    with database.read() as db:
        found = product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code="PRO")
    assert found is not None
    return found


def sentence(answer: TestResponse) -> str:
    """The last sentence of the page: that of the form."""
    found = re.findall(r'<p class="offer-sentence">(.*?)</p>', answer.text)
    return html.unescape(re.sub(r"<[^>]+>", "", found[-1]))


def rows(answer: TestResponse) -> list[dict[str, str]]:
    """The texts and numbers of the rows, as a browser shows them."""
    found: dict[str, dict[str, str]] = {}
    for element in re.findall(r"<input[^>]*>", answer.text):
        name = re.search(r'name="included-(\d+)-(\w+)"', element)
        if name is not None and 'type="checkbox"' not in element:
            value = re.search(r'value="([^"]*)"', element)
            found.setdefault(name[1], {})[name[2]] = value[1] if value else ""
    return [found[place] for place in sorted(found)]


def test_included_units_are_saved_and_shown_again(
    pages: SidePages, pro: dict[str, str], database: Database, cast: Cast
) -> None:
    blank = {"unit": "", "units": "", "every": "month", "at_most": "", "trial_units": "", "low_units": ""}
    pages_row = {"unit": " pages ", "units": "20", "every": "day"}
    answer = create(pages, {**pro, "trial_days": "14", **row(0, FULL), **row(3, blank), **row(7, pages_row)})
    assert answer.status_code == 303, answer.text
    saved = product(database, cast)
    assert lines_of(saved.included) == (
        IncludedUnits("images", 1000, Every.MONTH, Rollover(500), trial_units=50, low_units=100),
        IncludedUnits("pages", 20, Every.DAY),
    )
    says = (
        "A buyer pays $12.00 a month and gets 1,000 images each month and 20 pages each day; up to 500 "
        "unused images carry over once; 14 days’ trial with 50 images and 20 pages."
    )
    path = f"/products/{saved.id}"
    page = pages.get(path)
    assert page.text.count(says) == 2  # As it is stored, and as the form describes it.
    assert [each["unit"] for each in rows(page)] == ["images", "pages"]
    assert "1,000 images each month (500 carry over), 20 pages each day" in pages.get("/products").text
    assert [(each["units"], each["at_most"]) for each in rows(page)] == [("1000", "500"), ("20", "")]
    same = {**pro, **row(0, FULL), **row(1, pages_row)}
    assert send(pages, path, same).status_code == 303
    again = product(database, cast)
    assert (again.included, again.terms_version) == (saved.included, 1)
    assert send(pages, path, {**pro, **row(0, FULL), **row(1, blank)}).status_code == 303
    assert [line.unit for line in lines_of(product(database, cast).included)] == ["images"]
    assert product(database, cast).terms_version == 2


WRONG = [
    ({"unit": ""}, "unit", "Use 1 to 32 lower-case letters"),
    ({"unit": "pages"}, "unit", "pages is included already"),
    ({"units": ""}, "units", "Enter how many units"),
    ({"units": "x"}, "units", "Not a valid integer value"),
    ({"units": "-1"}, "units", "A whole number from 0"),
    ({"every": "year"}, "every", "Not a valid choice"),
    ({"at_most": "-1"}, "at_most", "A whole number from 0"),
    ({"trial_units": "-1"}, "trial_units", "A whole number from 0"),
    ({"low_units": "-1"}, "low_units", "A whole number from 0"),
]


def test_what_is_wrong_is_said_at_the_field(pages: SidePages, pro: dict[str, str]) -> None:
    first = {**pro, **row(0, {**ROW, "unit": "pages"})}
    for changes, field, says in WRONG:
        answer = create(pages, {**first, **row(2, {**FULL, **changes})}, htmx=True)
        assert answer.status_code == 422
        errors = re.findall(r'id="([\w-]+)-error">.*?<span>(.*?)</span>', answer.text, re.DOTALL)
        assert [name for name, _ in errors] == [f"included-1-{field}"], changes
        assert says in errors[0][1]


def test_too_many_rows_are_refused(pages: SidePages, pro: dict[str, str]) -> None:
    many = {key: text for n in range(11) for key, text in row(n, {**ROW, "unit": f"unit_{n}"}).items()}
    answer = create(pages, {**pro, **many})
    assert (answer.status_code, len(rows(answer))) == (422, 11)
    assert "At most 10 included units." in answer.text


def test_an_odd_number_of_a_row_is_no_row(pages: SidePages, pro: dict[str, str]) -> None:
    for number, name in enumerate(("²", "9" * 5000, "-1", "x", "")):
        odd = {"product_code": f"PRO_{number}", f"included-{name}-unit": "images", "included_act": "add:"}
        assert len(rows(create(pages, {**pro, **odd}))) == 1


def test_rows_are_added_and_removed_without_saving(
    pages: SidePages, pro: dict[str, str], database: Database, cast: Cast
) -> None:
    added = create(pages, {**pro, "included_act": "add:month-rollover"})
    assert added.status_code == 200
    assert [(each["unit"], each["units"], each["at_most"]) for each in rows(added)] == [
        ("units", "1000", "500")
    ]
    assert 'value="PRO"' in added.text
    assert "gets 1,000 units each month; up to 500 unused units carry over once." in sentence(added)
    more = {**pro, **row(0, {**ROW, "unit": "units"}), **row(1, {"unit": "pages", "units": "x"})}
    again = create(pages, {**more, "included_act": "add:day"}, htmx=True)
    assert [(each["unit"], each["units"]) for each in rows(again)] == [
        ("units", "1000"),
        ("pages", "x"),
        ("", "20"),
    ]
    assert re.search(r'<input[^>]*autofocus[^>]*id="included-2-unit"', again.text)
    removed = create(pages, {**more, "included_act": "remove:0"}, htmx=True)
    assert [(each["unit"], each["units"]) for each in rows(removed)] == [("pages", "x")]
    assert len(rows(create(pages, {**more, "included_act": "add:"}))) == 3
    for odd in ("remove:9", "remove:²", "remove:", "nonsense", "add:nonsense"):
        assert create(pages, {**more, "included_act": odd}).status_code == 200
    with database.read() as db:
        assert product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code="PRO") is None


def test_rows_are_added_to_a_product_and_in_the_wizard(
    pages: SidePages, pro: dict[str, str], database: Database, cast: Cast
) -> None:
    wizard = create(pages, {**pro, "included_act": "add:day", "back": "setup"})
    assert wizard.status_code == 200
    assert 'name="back" value="setup"' in wizard.text
    assert len(rows(wizard)) == 1
    create(pages, pro)
    path = f"/products/{product(database, cast).id}"
    added = send(pages, path, {**pro, "included_act": "add:day"})
    assert (added.status_code, len(rows(added))) == (200, 1)
    assert product(database, cast).included == []


def test_the_sentence_follows_what_is_typed(
    pages: SidePages, pro: dict[str, str], database: Database, cast: Cast, sandbox: Sandbox
) -> None:
    def offer(path: str, **values: str) -> TestResponse:
        return pages.get(path, query_string={"duration_unit": "days", **pro, **values}, headers=HTMX)

    new = "/products/new/offer"
    first = offer(new)
    assert sentence(first) == "A buyer pays $12.00 a month and gets access while it is paid."
    seen = re.search(r'name="seen_price" value="([^"]*)"', first.text)
    assert seen is not None
    assert seen[1] == f"{pro['price_id']}|1200|usd|month|1"
    assert sentence(offer(new, seen_price=seen[1], **row(0, FULL))) == (
        "A buyer pays $12.00 a month and gets 1,000 images each month; "
        "up to 500 unused images carry over once."
    )
    # What is read of a price by the form is taken for the sentence, not read again.
    other = f"{pro['price_id']}|500|eur|week|1"
    assert "€5.00 a week" in sentence(offer(new, seen_price=other))
    # A row that says too little does not count yet; other gaps are to be filled first.
    assert sentence(offer(new, **row(0, {**ROW, "units": ""}))) == sentence(first)
    for little in ({"kind": ""}, {"kind": "usage_pack"}, {"duration_unit": "x"}, {"trial_days": "9999"}):
        assert sentence(offer(new, **little)) == "Complete the form to see it."
    assert "gets 5 units" in sentence(offer(new, kind="usage_pack", units="5", price_id=""))
    create(pages, pro)
    edited = f"/products/{product(database, cast).id}/offer"
    assert sentence(offer(edited, grace_days="3")).endswith("3 days of access after a failed payment.")
    assert "€5.00 a week" in sentence(offer(edited, price_id="price_x", seen_price="price_x|500|eur|week|1"))
    assert sentence(offer(edited, price_id="price_unknown")).startswith("A buyer gets access")
