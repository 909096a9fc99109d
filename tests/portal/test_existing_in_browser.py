"""A sandbox with existing customers, asked for in a real browser with scripts and without."""

from __future__ import annotations

from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.connections.queries import connection_of
from licenzy.connections.sandbox_customers import existing_customers
from licenzy.portal.connections.forms import EXISTING_CUSTOMERS
from licenzy.projects.scope import Scope
from tests.conftest import LiveServer
from tests.portal.test_accessibility import complaints_here, sign_in
from tests.support.cast import make_cast

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
def test_an_account_that_existed_before_is_chosen_in_setup(
    live_server: LiveServer, chromium: Any, scripts: bool
) -> None:
    parts = live_server.runtime
    with parts.database.write() as db:
        cast = make_cast(db)
    context = chromium.new_context(
        java_script_enabled=scripts, color_scheme="dark", viewport={"width": 360, "height": 740}
    )
    page = context.new_page()
    page.set_default_timeout(20_000)
    sign_in(page, live_server.url)
    page.goto(f"{live_server.url}/projects/{cast.project_id}/test/setup/connect")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if scripts:
        assert complaints_here(page, "setup") == []
    page.get_by_role("button", name=f"Use it with {EXISTING_CUSTOMERS} subscriptions").press("Enter")
    page.get_by_text(f"Its account has {EXISTING_CUSTOMERS} existing subscriptions.").wait_for()
    with parts.database.read() as db:
        connection = connection_of(db, Scope(cast.project_id, Mode.TEST))
    assert connection is not None
    assert len(existing_customers(parts.settings, connection).subscriptions) == EXISTING_CUSTOMERS
    context.close()
