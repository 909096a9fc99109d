"""The versions of a product's terms on its page, and giving one of them to those who have the product."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from flask import Flask
from sqlmodel import select
from werkzeug.test import TestResponse

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Product
from licenzy.catalog.queries import product_by_code
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.grants import OperatorContext, grant
from licenzy.entitlements.holder_batches import change_next
from licenzy.entitlements.holders import changes_of
from licenzy.entitlements.models import Entitlement, TermChange
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.portal.test_products import price_of
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.support.holders import make_holders
from tests.support.visits import Form, forms_of


class ProductPage:
    """The page of a product that four customers have."""

    def __init__(self, pages: SidePages, database: Database, cast: Cast, clock: StandingClock) -> None:
        self.pages, self.database, self.clock = pages, database, clock
        self.scope = Scope(cast.project_id, Mode.TEST)
        values = {"price_id": price_of(pages, "Pro, monthly"), "kind": "subscription", "product_code": "PRO"}
        made = pages.send("/products/new", "/products/new", {**values, "features": "v1"})
        assert made.status_code == 303
        with database.write() as db:
            make_holders(db, self.product(), 4, now=clock())
        self.path = f"/products/{self.product().id}"

    def product(self) -> Product:
        with self.database.read() as db:
            found = product_by_code(db, self.scope, product_code="PRO")
        assert found is not None
        return found

    def edits(self, *, htmx: bool = False, **values: str) -> TestResponse:
        """Send the form of the product; these are the values that differ from the product's."""
        form = self.pages.form(self.path, self.path)
        return self._send(form, values, HTMX if htmx else None)

    def confirms(self, answer: TestResponse, **values: str) -> TestResponse:
        """Send the form of an answer, as its button does."""
        form = next(each for each in forms_of(answer) if each.action.endswith(self.path))
        return self._send(form, {"holders": "now", **values})

    def _send(
        self, form: Form, values: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> TestResponse:
        boxes = ("allow_promotion_codes", "automatic_tax", "adjustable_quantity")
        chosen = {
            "price_id": self.product().prices[0].stripe_price_id,
            "kind": "subscription",
            "duration_unit": "days",
            "holders": "new",
        }
        fields = {name: value for name, value in form.fields.items() if name not in boxes}
        sent = fields | chosen | dict(values)
        return self.pages.client.post(form.action, data=sent, headers=headers)

    def works(self, **sizes: int) -> bool:
        return self.database.retrying(lambda db: change_next(db, now=self.clock(), **sizes))

    def changes(self) -> list[TermChange]:
        with self.database.read() as db:
            return changes_of(db, self.scope, product_id=self.product().id)

    def shown(self) -> str:
        return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", self.pages.get(self.path).text))


@pytest.fixture
def page(app: Flask, cast: Cast, sandbox: Sandbox, database: Database, clock: StandingClock) -> ProductPage:
    return ProductPage(connected(side_pages(app, cast), sandbox), database, cast, clock)


def test_an_edit_is_for_new_purchases_unless_somebody_chooses_otherwise(page: ProductPage) -> None:
    assert page.edits(features="v2").status_code == 303
    assert (page.product().terms_version, page.changes()) == (2, [])
    assert "features: v1 → v2 New purchases only" in page.shown()


@pytest.mark.parametrize("htmx", [False, True])
def test_an_edit_for_holders_is_shown_first_and_saved_when_it_is_confirmed(
    page: ProductPage, htmx: bool
) -> None:
    asked = page.edits(features="v2", holders="now", htmx=htmx)
    assert asked.status_code == 200
    for words in ("4 entitlements will change", "user_000000", "1 → 2", "features: v1 → v2"):
        assert words in asked.text
    assert asked.text.count("features: v1 → v2") == 3, "three examples"
    assert asked.text.lstrip().startswith("<form" if htmx else "<!doctype")
    assert (page.product().terms_version, page.changes()) == (1, []), "nothing is saved yet"
    confirmed = page.confirms(asked)
    assert confirmed.status_code == 303
    (change,) = page.changes()
    assert (page.product().terms_version, change.version, change.state) == (2, 2, "running")
    assert change.requested_by is not None


def test_what_was_shown_is_what_is_confirmed(page: ProductPage) -> None:
    asked = page.edits(features="v2", holders="now")
    again = page.confirms(asked, features="v3")
    assert again.status_code == 200
    assert "features: v1 → v3" in again.text
    assert page.product().terms_version == 1
    assert page.confirms(again).status_code == 303
    assert page.product().features == ["v3"]


def test_an_edit_that_is_refused_shows_no_preview(page: ProductPage) -> None:
    refused = page.edits(features="v 2!", holders="now")
    assert refused.status_code == 422
    assert "is not a valid feature code" in refused.text
    assert 'id="preview"' not in refused.text


def test_an_edit_that_changes_no_terms_of_anybody_is_saved_at_once(page: ProductPage) -> None:
    assert page.edits(automatic_tax="y", holders="now").status_code == 303
    assert (page.product().automatic_tax, page.changes()) == (True, [])


def test_progress_is_shown_until_it_is_done(page: ProductPage) -> None:
    page.confirms(page.edits(features="v2", holders="now"))
    progress = f"{page.path}/terms/progress"
    assert "within seconds" in page.pages.get(progress, headers=HTMX).text
    page.works(batch=3)
    shown = page.pages.get(progress, headers=HTMX)
    assert shown.status_code == 200
    assert "3 of 4 entitlements checked, 3 changed" in shown.text
    assert "hx-get" in shown.text
    while page.works():
        pass
    shown = page.pages.get(progress, headers=HTMX)
    assert shown.status_code == 286
    assert "hx-get" not in shown.text
    assert "4 changed, done" in shown.text
    plain = page.pages.get(progress)
    assert (plain.status_code, plain.location) == (303, f"{page.pages.base}{page.path}#terms")


def test_it_is_stopped_and_taken_back_from_the_list_of_versions(page: ProductPage) -> None:
    page.confirms(page.edits(features="v2", holders="now"))
    page.works(batch=3)
    stopped = page.pages.send(page.path, "/cancellation", {})
    assert stopped.status_code == 303
    assert "3 changed, stopped" in page.shown()
    assert not page.works()
    back = f"{page.path}/terms/1/holders"
    preview = page.pages.get(back).text
    for words in ("3 entitlements will change", "2 → 1", "features: v2 → v1", "stay on version 2"):
        assert words in preview
    assert page.pages.send(back, "/terms/1/holders", {}).status_code == 303
    while page.works():
        pass
    assert "No entitlement will change" in page.pages.get(back).text
    assert [(each.version, each.changed) for each in page.changes()] == [(1, 3), (2, 3)]


def test_a_free_product_is_given_to_those_who_were_granted_it(
    page: ProductPage, database: Database, cast: Cast, clock: StandingClock
) -> None:
    pages = page.pages
    free = {"kind": "free", "product_code": "FREE", "limits": "projects = 1"}
    assert pages.send("/products/new", "/products/new", free).status_code == 303
    scope = Scope(cast.project_id, Mode.TEST)
    with database.read() as db:
        product = product_by_code(db, scope, product_code="FREE")
    assert product is not None
    path = f"/products/{product.id}"
    shown = pages.get(path).text
    assert "Versions of the terms of FREE" in shown
    assert "Who gets a change of terms" not in shown, "nobody has it"
    assert "Give…" not in shown
    with database.write() as db:
        operator = OperatorContext(scope, Actor(cast.owner.user_id), "", clock())
        grant(db, operator, subject_ref="user_1", product=product)
    assert "all customers who have one now" in pages.get(path).text
    asked = pages.send(path, path, {**free, "limits": "projects = 2", "holders": "now"})
    assert "1 entitlement will change" in asked.text
    assert "limits: projects: 1 → projects: 2" in asked.text
    form = next(each for each in forms_of(asked) if each.action.endswith(path))
    values = {**form.fields, "limits": "projects = 2", "holders": "now"}
    assert pages.client.post(form.action, data=values).status_code == 303
    while database.retrying(lambda db: change_next(db, now=clock())):
        pass
    with database.read() as db:
        (row,) = db.exec(select(Entitlement).where(Entitlement.product_code == "FREE")).all()
    assert (row.limits, row.terms_version, row.kind) == ({"projects": 2}, 2, "free")


def test_versions_and_changes_that_are_not_there(page: ProductPage) -> None:
    assert page.pages.get(f"{page.path}/terms/9/holders").status_code == 404
    other = "prd_" + "0" * 26
    assert page.pages.get(f"/products/{other}/terms/1/holders").status_code == 404
