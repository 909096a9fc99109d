"""Giving terms to customers in a real browser: confirmed by the keyboard, and watched until it is done."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from licenzy.connections.models import Provider
from licenzy.entitlements.models import Entitlement
from tests.conftest import LiveServer
from tests.portal.test_accessibility import sign_in
from tests.support.cast import make_cast, make_connection, make_product
from tests.support.holders import make_holders
from tests.support.ports import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_an_older_version_is_given_and_watched(chromium: Any, live_server: LiveServer, scripts: bool) -> None:
    parts = live_server.runtime
    with parts.database.write() as db:
        cast = make_cast(db, now=parts.clock())
        here: dict[str, Any] = {"project_id": cast.project_id, "now": parts.clock()}
        make_connection(db, secret_box=parts.secret_box, provider=Provider.STRIPE, stripe_key="", **here)
        product = make_product(db, features=["v1"], **here)
        make_holders(db, product, 300, now=parts.clock())
        for row in db.exec(select(Entitlement)):
            row.terms_version = None
            row.features = ["v0"]
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(20_000)
    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/projects/{cast.project_id}/test/products/{product.id}")
    page.get_by_role("link", name="Give… version 1 to customers").press("Enter")
    page.get_by_text("300 entitlements will change").wait_for()
    assert page.get_by_text("features: v0 → v1").count() == 3
    page.get_by_role("button", name="Change 300 entitlements").press("Enter")
    page.get_by_role("heading", name="Terms").wait_for()
    done = page.get_by_text("300 changed, done")

    def has_ended() -> bool:
        if not scripts and page.get_by_role("link", name="Reload").count():
            page.get_by_role("link", name="Reload").click()
            page.reload()
        return bool(done.count())

    wait_until(has_ended, seconds=20, what="all have the version")
    assert page.locator("#terms").count() == 1
    assert page.get_by_role("button", name="Stop").count() == 0
    context.close()
