from __future__ import annotations

import html
import re

import httpx
import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.actions import note_signed_event
from licenzy.connections.models import Provider
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.conftest import LiveServer, Sandbox
from tests.portal.set_up_side import HTMX, SidePages, connected, side_pages
from tests.support.cast import Cast, make_cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import StandingClock
from tests.support.ports import wait_until
from tests.support.purchases import make_attempt, make_entitlement
from tests.support.visits import forms_of


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


def test_the_wizard_leads_to_the_step_to_go_on_with(pages: SidePages, runtime: Runtime, cast: Cast) -> None:
    assert pages.get("/setup").headers["Location"].endswith("/test/setup/connect")
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    assert pages.get("/setup").headers["Location"].endswith("/test/setup/products")


@pytest.mark.parametrize("mode", ["test", "live"])
def test_every_step_opens_on_an_empty_side(app: Flask, cast: Cast, mode: str) -> None:
    pages = side_pages(app, cast, mode=mode)
    for step in ("connect", "webhook", "products", "api-key", "purchase", "go-live"):
        page = pages.get(f"/setup/{step}")
        assert page.status_code == 200, step
        assert 'aria-current="step"' in page.text


def test_the_overview_says_what_is_next_and_what_does_not_fit(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    assert "Start setup" in pages.get().text
    with runtime.database.write() as db:
        make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            provider=Provider.SANDBOX,
            webhook_secret=None,
        )
        make_product(db, project_id=cast.project_id, active=False)
    page = pages.get().text
    assert "buyers would pay and get no access" not in page  # The next step, and no fault yet.
    assert "Next: <strong>Webhook</strong>" in page
    assert "Stripe price archived" in page


def test_the_overview_counts_who_was_granted_and_what_was_created(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        product = make_product(db, project_id=cast.project_id)
        buyer = make_subject(db, project_id=cast.project_id)
        make_attempt(db, connection=connection, subject=buyer, product=product)
        make_entitlement(db, subject=make_subject(db, project_id=cast.project_id, subject_ref="granted"))
    page = pages.get().text
    assert '<dd>2<span class="tile-note">with a checkout or a grant</span>' in page
    assert '<dd>0<span class="tile-note">paid, of 1 created</span>' in page


def test_the_way_on_names_what_is_skipped_and_what_is_next(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    page = pages.get("/setup/connect").text
    assert 'Skip this step <span class="wizard-next">Next: Webhook</span>' in page
    assert "Step 1 of 5" in page
    assert "0 of 5 steps verified" in page
    assert not re.search(r'class="wizard-dot"[^>]*>6<', page)
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    page = pages.get("/setup/connect").text
    assert "Next: Webhook" in page
    assert "Skip this step" not in page


def test_the_webhook_step_listens_until_a_signed_event_arrives(
    pages: SidePages, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    waiting = pages.get("/setup/webhook/proof", headers=HTMX)
    assert waiting.status_code == 200
    assert "hx-trigger" in waiting.text
    with runtime.database.write() as db:
        note_signed_event(db, connection_id=connection.id, event_id="evt_42", now=clock.advance(minutes=1))
    proven = pages.get("/setup/webhook/proof", headers=HTMX)
    assert proven.status_code == 286
    assert "evt_42" in proven.text
    assert "hx-trigger" not in proven.text
    assert 'hx-swap-oob="true"' in proven.text


def test_the_webhook_step_stops_listening_after_45_seconds_and_names_the_likely_cause(
    app: Flask, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    pages = side_pages(app, cast, mode="live")  # In test mode here, events are fetched.
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    waiting = pages.get("/setup/webhook").text
    address = re.findall(r'hx-get="([^"]+/proof[^"]*)"', waiting)[0]
    clock.advance(seconds=44)
    assert pages.client.get(address, headers=HTMX).status_code == 200
    clock.advance(seconds=1)
    stopped = pages.client.get(address, headers=HTMX)
    assert stopped.status_code == 286
    assert "hx-trigger" not in stopped.text
    assert "stripe listen" in stopped.text
    assert "Listen again" in stopped.text
    assert "Listening for the first signed event" in pages.get("/setup/webhook").text
    for odd in ("x", "-1", "99999999999999999999", "9e9"):
        assert pages.get(f"/setup/webhook/proof?since={odd}", headers=HTMX).status_code in (200, 286), odd


def test_the_line_to_paste_is_run_from_the_page_with_the_key_just_made(
    pages: SidePages, cast: Cast, runtime: Runtime
) -> None:
    assert pages.send("/setup/api-key", "/api-keys", {"name": "backend"}).status_code == 303
    made = pages.get("/setup/api-key")
    token = re.findall(r"lz_test_[0-9A-Za-z]{49}", made.text)[0]
    form = next(form for form in forms_of(made) if form.action.endswith("/setup/api-key"))
    assert form.fields["api_key"] == token
    ran = pages.client.post(form.action, data=form.fields)
    assert ran.status_code == 200
    answered = html.unescape(ran.text)
    assert '"allowed": false' in answered
    assert "Licenzy-Mode: test" in answered
    assert token in ran.text  # Without scripts the page is a new one, and the key is still to be copied.
    fragment = pages.client.post(form.action, data=form.fields, headers=HTMX)
    assert "<html" not in fragment.text
    for page in (ran, fragment):
        assert "was used" in page.text  # At once: the step is proven by the call.
        assert 'data-label="Last used">just now' in page.text
    assert fragment.text.count('hx-swap-oob="true"') == 4
    assert '<h2 id="step-title" hx-swap-oob="true">API key</h2>' in fragment.text
    assert '<h2 id="step-title">API key</h2>' in ran.text


def test_only_a_key_of_this_side_is_run(pages: SidePages, cast: Cast, runtime: Runtime) -> None:
    with runtime.database.write() as db:
        _key, mine = make_key(db, project_id=cast.project_id)
        _key, live = make_key(db, project_id=cast.project_id, mode=Mode.LIVE)
        _key, foreign = make_key(db, project_id=cast.stranger.project_id)
        _key, revoked = make_key(db, project_id=cast.project_id, revoked_at=runtime.clock())
    values = {"subject_ref": "user_1"}
    for token, status, says in (
        (mine, 200, '"allowed": false'),
        (live, 422, "not an API key of this project in test mode"),
        (foreign, 422, "not an API key of this project in test mode"),
        (revoked, 200, "api_key_revoked"),
        ("sk_test_" + "a" * 24, 422, "Stripe"),
        ("", 422, "Paste the key"),
        (mine[:-1] + "!", 422, ""),
    ):
        answer = pages.send("/setup/api-key", "/setup/api-key", {**values, "api_key": token}, htmx=True)
        assert answer.status_code == status, (token[:8], answer.text)
        assert says in html.unescape(answer.text)
        assert token == "" or token not in answer.text


def test_a_step_that_drifted_says_why_and_is_the_one_to_go_on_with(
    pages: SidePages, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        make_product(db, project_id=cast.project_id, active=False)
    page = pages.get("/setup/products").text
    assert "wizard-step is-drifted" in page
    assert 'data-finding="price_inactive"' in page
    assert pages.get("/setup").headers["Location"].endswith("/setup/products")


def test_the_timeline_stops_by_itself_and_never_tells_a_browser_286(
    pages: SidePages, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        subject = make_subject(db, project_id=cast.project_id)
        product = make_product(db, project_id=cast.project_id)
        attempt = make_attempt(
            db,
            connection=connection,
            subject=subject,
            product=product,
            checkout_url="https://pay.example.com",
        )
    address = f"/setup/purchase/{attempt.id}/timeline"
    waiting = pages.get(address, headers=HTMX)
    assert waiting.status_code == 200
    assert 'rel="noopener"' in waiting.text
    clock.advance(seconds=46)
    assert "It has probably not been paid yet" in pages.get(address, headers=HTMX).text
    with runtime.database.write() as db:
        attempt.status = AttemptStatus.PAID
        db.add(attempt)
        make_entitlement(db, subject=subject, attempt_id=attempt.id)
    done = pages.get(address, headers=HTMX)
    assert done.status_code == 286
    assert "It works from end to end" in done.text
    assert pages.get(address).status_code == 200


def test_buying_needs_a_buyer_and_a_product(
    pages: SidePages, runtime: Runtime, cast: Cast, sandbox: Sandbox
) -> None:
    connected(pages, sandbox)
    with runtime.database.write() as db:
        make_product(db, project_id=cast.project_id, stripe_price_id="price_gone")
    for values, says in (
        ({"subject_ref": "", "product_code": "PRO_MONTHLY"}, "Name the buyer"),
        ({"subject_ref": "a\x01b", "product_code": "PRO_MONTHLY"}, "control characters"),
        ({"subject_ref": "user_1", "product_code": "NOPE"}, "Not a valid choice"),
        ({"subject_ref": "user_1", "product_code": "PRO_MONTHLY"}, "Stripe refused the call"),
    ):
        answer = pages.send("/setup/purchase", "/setup/purchase", values, htmx=True)
        assert answer.status_code == 422, values
        assert says in answer.text


def test_a_ref_with_markup_and_quotes_is_text_on_the_page(
    pages: SidePages, runtime: Runtime, cast: Cast
) -> None:
    ref = "<script>alert('x')</script>\"\\"
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        make_attempt(
            db,
            connection=connection,
            subject=make_subject(db, project_id=cast.project_id, subject_ref=ref),
            product=make_product(db, project_id=cast.project_id),
        )
    page = pages.get("/setup/purchase").text
    assert "<script>alert(" not in page
    assert "&lt;script&gt;alert(" in page


def test_the_whole_wizard_without_scripts(live_server: LiveServer) -> None:
    """From nothing to a true check by forms alone, with the hosted page paid over HTTP."""
    app, parts = live_server.app, live_server.runtime
    with parts.database.write() as db:
        cast = make_cast(db, now=parts.clock())
    pages = side_pages(app, cast)
    assert pages.send("/setup/connect", "/connection/sandbox", {}).status_code == 303
    assert pages.send("/setup/webhook", "/connection/endpoint", {"rotate": ""}).status_code == 303
    listed = pages.get("/setup/products").text
    offered = re.search(r'<option value="(price_\w+)"[^>]*>[^<]*Day pass', listed)
    assert offered is not None, listed
    product = {
        "price_id": offered[1],
        "kind": "time_pass",
        "product_code": "DAY_PASS",
        "duration": "1",
        "duration_unit": "days",
    }
    assert pages.send("/setup/products", "/products/new", product).status_code == 303
    assert pages.send("/setup/api-key", "/api-keys", {"name": "backend"}).status_code == 303
    made = pages.get("/setup/api-key")
    token = re.findall(r"lz_test_[0-9A-Za-z]{49}", made.text)[0]
    buy = pages.send(
        "/setup/purchase", "/setup/purchase", {"subject_ref": "user_9", "product_code": "DAY_PASS"}
    )
    assert buy.status_code == 303, buy.text
    watched = buy.headers["Location"]
    page = pages.client.get(watched).text
    hosted = re.findall(r'href="([^"]+)" target="_blank"', page)[0]
    assert hosted.startswith(live_server.sandbox.url)

    def allowed() -> bool:
        answer = httpx.post(
            f"{live_server.url}/v1/access/check",
            json={"subject_ref": "user_9"},
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
        )
        return bool(answer.raise_for_status().json()["allowed"])

    assert not allowed()
    httpx.post(hosted, data={"action": "pay"}, trust_env=False)
    wait_until(allowed, seconds=15, what="the check answers true")
    page = pages.client.get(watched).text
    assert "It works from end to end" in page
    assert page.count("step-done") == 5
    assert pages.get("/setup/webhook").text.count("Signed events arrive") == 1
    with parts.database.read() as db:
        from licenzy.setup.queries import setup_facts
        from licenzy.setup.rules import StepState, steps

        facts = setup_facts(
            db,
            Scope(cast.project_id, Mode.TEST),
            base_url=parts.settings.base_url,
            now=parts.clock(),
        )
    proven = {step.name.value for step in steps(facts, []) if step.state is StepState.DONE}
    assert {"connect", "webhook", "products", "purchase"} <= proven
