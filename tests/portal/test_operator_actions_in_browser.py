"""Granting and revoking in a real browser, with scripts and without: the access check follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from flask import Flask

from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.portal.test_accessibility import sign_in
from tests.support.cast import Cast, make_key, make_product
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


@pytest.fixture
def allowed(runtime: Runtime, cast: Cast, address: str) -> Callable[[], bool]:
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id)
        token = make_key(db, project_id=cast.project_id)[1]

    def check() -> bool:
        answer = httpx.post(
            f"{address}/v1/access/check",
            json={"subject_ref": "user 7/ä"},
            headers={"Authorization": f"Bearer {token}"},
        )
        return bool(answer.json()["allowed"])

    return check


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_grant_and_revoke(
    chromium: Any, address: str, cast: Cast, allowed: Callable[[], bool], scripts: bool
) -> None:
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(15_000)
    sign_in(page, address)
    page.goto(f"{address}/projects/{cast.project_id}/test/customers")
    page.get_by_role("link", name="Grant a product").click()
    page.get_by_label("Customer", exact=True).fill("user 7/ä")
    page.get_by_role("button", name="Grant the product").click()
    page.get_by_text("Give a reason").wait_for()
    assert not allowed()
    page.get_by_label("Reason").fill("They helped us test.")
    page.get_by_role("button", name="Grant the product").click()
    page.get_by_text("PRO_MONTHLY was granted to user 7/ä.").wait_for()
    page.get_by_role("heading", name="Has access").wait_for()
    assert allowed()

    page.locator("summary", has_text="History").press("Enter")
    page.get_by_text("They helped us test.").wait_for()
    page.locator("summary", has_text="Revoke access…").press("Enter")
    page.get_by_role("button", name="Revoke access").click()
    page.get_by_text("Give a reason").wait_for()
    assert allowed()
    page.locator(".held[id^=ent]").get_by_label("Reason").fill("The test is over.")
    page.get_by_role("button", name="Revoke access").press("Enter")
    page.get_by_text("Revoked. This entitlement").wait_for()
    page.get_by_role("heading", name="No access").wait_for()
    assert not allowed()
    context.close()
