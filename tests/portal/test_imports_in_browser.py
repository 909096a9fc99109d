"""An import in a real browser, by clicks alone: with scripts it is watched, without by looking again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.connections.models import Provider
from licenzy.entitlements.models import Entitlement
from licenzy.imports.models import ImportRow
from tests.conftest import LiveServer
from tests.portal.test_accessibility import complaints_here, sign_in
from tests.support.cast import make_cast, make_connection, make_product, make_subject
from tests.support.ports import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


def make_account(live_server: LiveServer) -> str:
    """A side whose account sold for years: 8 name their customer, 3 an address, 2 have an unknown price."""
    parts, sandbox = live_server.runtime, live_server.sandbox
    control = {"Authorization": f"Bearer {sandbox.control_token}"}
    account = httpx.post(
        f"{sandbox.url}/_sandbox/accounts", json={"name": "The tests' shop"}, headers=control
    ).json()
    at_stripe = stripe.StripeClient(account["secret_key"], base_addresses={"api": sandbox.url})
    prices = []
    for name in ("Pro", "Old plan"):
        params: Any = {"unit_amount": 1200, "currency": "usd", "product_data": {"name": name}}
        params["recurring"] = {"interval": "month"}
        prices.append(at_stripe.v1.prices.create(params).id)
    for order in (
        {"count": 8, "prices": prices[:1], "metadata": {"user_id": "user_{n}"}},
        {"count": 3, "prices": prices[:1], "email": "known{n}@example.com"},
        {"count": 2, "prices": prices[1:], "metadata": {"user_id": "old_{n}"}},
    ):
        made = httpx.post(
            f"{sandbox.url}/_sandbox/accounts/{account['account']}/subscriptions", json=order, headers=control
        )
        assert made.status_code < 300, made.text
    with parts.database.write() as db:
        now = parts.clock() - timedelta(minutes=1)
        cast = make_cast(db, now=now)
        here: dict[str, Any] = {"project_id": cast.project_id, "now": now}
        make_connection(
            db,
            secret_box=parts.secret_box,
            provider=Provider.SANDBOX,
            stripe_key=account["secret_key"],
            **here,
        )
        make_product(db, product_code="PRO", kind=Kind.SUBSCRIPTION, stripe_price_id=prices[0], **here)
        for number in range(3):
            make_subject(db, subject_ref=f"known_{number}", email=f"known{number}@example.com", **here)
    return f"/projects/{cast.project_id}/test"


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_an_account_is_brought_along(
    chromium: Any, live_server: LiveServer, scripts: bool, tmp_path: Path
) -> None:
    side = make_account(live_server)
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(20_000)
    found: list[str] = []

    def check(what: str) -> None:
        """What is wrong with the page as it is; axe needs scripts."""
        if scripts:
            found.extend(complaints_here(page, what))
            page.set_viewport_size({"width": 1280, "height": 800})

    def comes(text: str) -> None:
        def is_there() -> bool:
            if not scripts and page.get_by_role("link", name="Reload").count():
                page.get_by_role("link", name="Reload").click()
            return bool(page.get_by_text(text).count())

        wait_until(is_there, seconds=30, what=text)

    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}{side}/customers")
    page.get_by_role("navigation").get_by_role("link", name="Import", exact=True).click()
    page.get_by_role("heading", name="What is imported").wait_for()
    check("start")
    page.get_by_label("Metadata keys").fill("user_id")
    page.get_by_role("button", name="Read the account").press("Enter")
    comes("3 purchases are ambiguous.")
    check("preview")

    # One is assigned, one left out by its box, and the last by what its address proposes.
    page.get_by_role("button", name="Assign sub_").first.press("Enter")
    page.get_by_text("is assigned to known_").wait_for()
    page.get_by_role("checkbox", name="Select sub_").first.check()
    page.get_by_role("button", name="Leave out the selected").click()
    page.get_by_text("1 purchase is left out.").wait_for()
    page.get_by_role("button", name="Accept 1 proposal by e-mail").click()
    page.get_by_text("10 purchases are ready to import.").wait_for()
    page.get_by_role("link", name="Price not mapped").click()
    page.get_by_text("Old plan").wait_for()
    check("prices")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download all as CSV").click()
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 14

    mine = tmp_path / "mine.csv"
    mine.write_text("subject_ref,product_code\nuser_1,PRO\nsomebody,PRO\n", encoding="utf-8")
    compare = page.locator("#compare")
    compare.get_by_label("CSV file").set_input_files(mine)
    compare.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="10 differences").wait_for()
    check("differences")
    page.get_by_role("navigation", name="Breadcrumb").get_by_role("link", name="Import").click()

    page.get_by_text("Import 10 purchases…").click()
    page.get_by_role("button", name="Import 10 purchases", exact=True).click()
    comes("10 purchases were imported")
    check("report")
    page.get_by_role("link", name="user_1", exact=True).click()
    page.get_by_text("user_1").first.wait_for()
    context.close()
    assert found == []
    with live_server.runtime.database.read() as db:
        assert len(db.exec(select(Entitlement)).all()) == 10
        rows = db.exec(select(ImportRow)).all()
    assert sum(row.result == "imported" for row in rows) == 10
    assert sum(row.left_out for row in rows) == 1


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    chromium: Any, live_server: LiveServer, tmp_path: Path
) -> None:
    side = make_account(live_server)
    page = chromium.new_page()
    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}{side}/imports")
    large = tmp_path / "large.csv"
    large.write_bytes(b"x" * (20 * 1024 * 1024 + 1))
    file = page.get_by_label("CSV file")
    file.set_input_files(large)
    said = "element => element.validationMessage"
    assert file.evaluate(said) == "The file is larger than 20 MB. Split it into smaller files."
    small = tmp_path / "small.csv"
    small.write_text("subject_ref,email\n", encoding="utf-8")
    file.set_input_files(small)
    assert file.evaluate(said) == ""
    page.close()
