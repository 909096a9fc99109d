"""A merchant with 500 subscribers moves in by clicks alone: claim, connect, map, import, compare.

Also without scripts, where pages are looked at again instead of being watched.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import ProductPrice
from licenzy.connections.models import Connection
from licenzy.connections.sandbox_customers import existing_customers
from licenzy.entitlements.models import Entitlement
from licenzy.kit.csv_text import as_csv
from tests.conftest import LiveServer
from tests.journeys.test_newcomer_in_a_browser import fill_in_owner
from tests.support.ports import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["sqlite"], indirect=True),
]
MAPPED = "Pro, monthly"
"""The price that is mapped of those which the account sold at."""


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_five_hundred_subscribers_are_brought_along(
    chromium: Any, live_server: LiveServer, scripts: bool, tmp_path: Path
) -> None:
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{live_server.url}/claim/{live_server.settings.derived_secret('claim')}")
    fill_in_owner(page)
    page.get_by_role("button", name="Create owner account").click()
    page.get_by_label("Name").fill("Example shop")
    page.get_by_role("button", name="Create project").click()
    page.get_by_role("button", name="Use it with 500 subscriptions").click()
    map_price(page, scripts)

    page.get_by_role("navigation").get_by_role("link", name="Import", exact=True).click()
    page.get_by_label("Metadata keys").fill("user")
    page.get_by_role("button", name="Read the account").click()
    come(page, "are ready to import")
    ready = int(re.findall(r"(\d+) purchases are ready to import", page.content())[0])
    assert ready > 50

    # What the merchant's own records say: who has the mapped price.
    listed = subscribers(live_server)
    mine = tmp_path / "mine.csv"
    mine.write_text(as_csv(("subject_ref", "product_code"), [(ref, "PRO") for ref in listed]))
    page.get_by_text(f"Import {ready} purchases…").click()
    page.get_by_role("button", name=f"Import {ready} purchases", exact=True).click()
    come(page, f"{ready} purchases were imported")
    page.get_by_label("CSV file").set_input_files(mine)
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Everyone in your list has access in Licenzy, and nobody else.").wait_for()
    context.close()
    with live_server.runtime.database.read() as db:
        assert len(db.exec(select(Entitlement)).all()) == ready


def map_price(page: Any, scripts: bool) -> None:
    """Sell PRO at one of the account's prices."""
    page.get_by_role("heading", name="Add a product").wait_for()
    chosen = page.locator("#price_id option", has_text=MAPPED).first.get_attribute("value")
    page.locator("#price_id").select_option(chosen)
    if scripts:
        page.locator("#price_id-help").get_by_text(chosen).wait_for()
    else:
        page.get_by_role("button", name="Save product").click()
    page.get_by_label("Product code").fill("PRO")
    page.get_by_role("button", name="Save product").click()
    page.get_by_text("PRO").first.wait_for()


def come(page: Any, text: str) -> None:
    """Wait for words; without scripts by the page's own link."""

    def is_there() -> bool:
        again = page.get_by_role("link", name="Reload")
        if not page.get_by_text(text).count() and again.count():
            again.click()
        return bool(page.get_by_text(text).count())

    wait_until(is_there, seconds=60, what=text)


def subscribers(live_server: LiveServer) -> list[str]:
    """Who has access at the account by the mapped price, and is named by it."""
    with live_server.runtime.database.read() as db:
        connection = db.exec(select(Connection)).one()
    found = existing_customers(live_server.settings, connection)
    mapped = price_of(live_server)
    return [
        f"user_{number}"
        for number, each in enumerate(found.subscriptions)
        # Of a sixth the sessions in which they bought name the user, as `client_reference_id`.
        if (each["metadata"].get("user") or number % 6 == 1)
        and mapped in each["stripe_price_ids"]
        and each["status"] in {"active", "trialing"}
    ]


def price_of(live_server: LiveServer) -> str:
    """The price that PRO is sold at."""
    with live_server.runtime.database.read() as db:
        return db.exec(select(ProductPrice)).one().stripe_price_id
