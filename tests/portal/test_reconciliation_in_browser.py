"""Asking for a walk in a real browser: watched live with scripts, by looking again without."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from licenzy.connections.models import Provider
from tests.conftest import LiveServer
from tests.portal.test_accessibility import sign_in
from tests.support.cast import make_cast, make_connection
from tests.support.ports import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_a_walk_is_asked_for_and_ends(chromium: Any, live_server: LiveServer, scripts: bool) -> None:
    parts, sandbox = live_server.runtime, live_server.sandbox
    account = httpx.post(
        f"{sandbox.url}/_sandbox/accounts",
        json={"name": "The tests' shop"},
        headers={"Authorization": f"Bearer {sandbox.control_token}"},
    ).json()
    with parts.database.write() as db:
        cast = make_cast(db, now=parts.clock())
        make_connection(
            db,
            project_id=cast.project_id,
            secret_box=parts.secret_box,
            provider=Provider.SANDBOX,
            stripe_key=account["secret_key"],
            now=parts.clock(),
        )
    context = chromium.new_context(java_script_enabled=scripts)
    page = context.new_page()
    page.set_default_timeout(20_000)
    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/projects/{cast.project_id}/test/reconciliation")
    page.get_by_role("button", name="Compare with Stripe now").press("Enter")
    done = page.get_by_text("Everything, started by Owner")

    def has_ended() -> bool:
        if not scripts and page.get_by_role("link", name="Reload").count():
            page.get_by_role("link", name="Reload").click()
        return bool(done.count())

    wait_until(has_ended, seconds=20, what="the walk has ended")
    page.get_by_role("button", name="Compare with Stripe now").wait_for()
    page.get_by_text("nothing differed").first.wait_for()
    assert page.locator("#walks").count() == 1
    context.close()
