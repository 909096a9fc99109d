from __future__ import annotations

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.connections.sandbox_customers import existing_customers
from licenzy.db.unit_of_work import Database
from licenzy.portal.connections.forms import EXISTING_CUSTOMERS
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.conftest import Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock

BODY = "51AbcDefGhiJklMnoPqrStuv"


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


def saved(database: Database, cast: Cast, mode: Mode = Mode.TEST) -> Connection | None:
    with database.read() as db:
        return connection_of(db, Scope(cast.project_id, mode))


@pytest.mark.parametrize(
    "pasted",
    [f"pk_test_{BODY}", f"sk_live_{BODY}", f"whsec_{BODY}", f"sk_org_{BODY}", f"prod_{BODY}", "<script>x"],
)
@pytest.mark.parametrize("page", ["/connection", "/setup/connect"])
def test_a_refused_key_is_said_on_the_page_it_was_pasted_on_and_never_repeated(
    pages: SidePages, page: str, pasted: str
) -> None:
    answer = pages.send(page, "/connection/key", {"stripe_key": pasted})
    assert answer.status_code == 422
    assert "field-error" in answer.text
    assert pasted not in answer.text
    assert ("Step 1 of 5" in answer.text) is (page == "/setup/connect")


def test_htmx_gets_the_form_alone(pages: SidePages) -> None:
    answer = pages.send("/connection", "/connection/key", {"stripe_key": f"pk_test_{BODY}"}, htmx=True)
    assert answer.status_code == 422
    assert answer.text.lstrip().startswith("<form")
    assert "<html" not in answer.text
    assert "publishable" in answer.text


def test_a_key_is_named_while_it_is_typed_and_never_sent_back(pages: SidePages) -> None:
    form = pages.form("/connection", "/connection/key")
    assert f'hx-post="{form.action}/verdict"' in pages.get("/connection").text
    for typed, says in (
        ("sk_live_secret0123456789", "live mode key"),
        ("sk_test_51abcdef", "for test mode"),
        ("", ""),
    ):
        answer = pages.client.post(
            f"{form.action}/verdict", data={**form.fields, "stripe_key": typed}, headers=HTMX
        )
        assert answer.status_code == 200
        assert says in answer.text
        assert "<html" not in answer.text
        assert not typed or typed not in answer.text


def test_a_key_stripe_cannot_be_asked_about_is_not_saved(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    answer = pages.send("/connection", "/connection/sandbox", {})
    assert answer.status_code == 422
    assert "sandbox is not running" in answer.text
    assert saved(database, cast) is None


def test_the_sandbox_is_connected_without_scripts(
    pages: SidePages, sandbox: Sandbox, database: Database, cast: Cast
) -> None:
    connected(pages, sandbox)
    connection = saved(database, cast)
    assert connection is not None
    page = pages.get("/connection").text
    assert connection.account_id is not None
    assert connection.account_id in page
    assert connection.key_masked is not None
    assert connection.key_masked in page


def test_the_sandbox_comes_with_existing_customers_on_request(
    pages: SidePages, sandbox: Sandbox, runtime: Runtime, cast: Cast
) -> None:
    connected(pages, sandbox)
    first = saved(runtime.database, cast)
    assert first is not None
    assert existing_customers(runtime.settings, first).subscriptions == []
    for _ in range(2):
        asked = {"existing_customers": "1"}
        assert pages.send("/connection", "/connection/sandbox", asked).status_code == 303
        assert "existing subscriptions." in pages.get("/connection").text
        assert len(existing_customers(runtime.settings, first).subscriptions) == EXISTING_CUSTOMERS


def test_no_page_ever_shows_a_stored_secret(
    pages: SidePages, sandbox: Sandbox, runtime: Runtime, cast: Cast
) -> None:
    from licenzy.connections.actions import stripe_key, webhook_secrets

    connected(pages, sandbox)
    connection = saved(runtime.database, cast)
    assert connection is not None
    secrets = [
        stripe_key(runtime.secret_box, connection),
        *webhook_secrets(runtime.secret_box, connection, now=runtime.clock()),
    ]
    for path in ("", "/connection", "/setup/connect", "/setup/webhook", "/setup/purchase"):
        page = pages.get(path)
        assert page.headers["Cache-Control"] == "no-store"
        for secret in secrets:
            assert secret[8:-4] not in page.text
        assert connection.key_sealed is not None
        assert connection.key_sealed not in page.text


def test_the_sandbox_is_for_test_alone(app: Flask, cast: Cast, sandbox: Sandbox) -> None:
    live = side_pages(app, cast, mode="live")
    assert "Use the sandbox" not in live.get("/connection").text
    token = live.form("/connection", "/connection/key").fields["csrf_token"]
    assert live.client.post(live.base + "/connection/sandbox", data={"csrf_token": token}).status_code == 404


def test_a_loopback_address_gets_the_stripe_command_instead_of_the_button(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=None)
    page = pages.get("/setup/webhook").text
    assert "stripe listen" in page
    assert "Set up webhook" not in page


def test_a_stripe_key_pasted_as_signing_secret_is_named(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=None)
    answer = pages.send("/connection", "/webhook-secret", {"webhook_secret": f"sk_test_{BODY}"})
    assert answer.status_code == 422
    assert "a Stripe secret key" in answer.text
    assert BODY not in answer.text
    good = pages.send("/connection", "/webhook-secret", {"webhook_secret": f"whsec_{BODY}"})
    assert good.status_code == 303


def test_in_live_the_project_s_name_must_be_typed_to_disconnect(
    app: Flask, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    live = side_pages(app, cast, mode="live")
    assert live.send("/connection", "/connection/removal", {"typed": "something"}).status_code == 422
    connection = saved(runtime.database, cast, Mode.LIVE)
    assert connection is not None
    assert connection.key_sealed is not None
    assert live.send("/connection", "/connection/removal", {"typed": "Our project"}).status_code == 303
    gone = saved(runtime.database, cast, Mode.LIVE)
    assert gone is not None
    assert gone.key_sealed is None


def test_credentials_need_the_password_given_recently(
    pages: SidePages, runtime: Runtime, clock: StandingClock, cast: Cast
) -> None:
    form = pages.form("/connection", "/connection/key")
    clock.advance(minutes=31)
    assert "Confirm that it is you" in pages.get("/connection").text
    answer = pages.client.post(form.action, data={**form.fields, "stripe_key": f"sk_test_{BODY}"})
    assert answer.status_code == 303
    assert "/account/confirm" in answer.headers["Location"]
    assert saved(runtime.database, cast) is None
