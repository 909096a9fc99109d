"""Every page in a real browser under axe: in both colours, on a wide screen and a narrow one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from licenzy.catalog.models import Kind
from licenzy.deliveries.claims import DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import EventType
from licenzy.entitlements.models import State
from licenzy.portal.docs.renderer import guide_pages
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events.models import EventStatus
from tests.portal.fixtures_events import make_event, record_fact_of
from tests.portal.set_up_side import side_pages
from tests.portal.test_reconciliation import make_walk
from tests.portal.test_untracked import make_untracked
from tests.support.cast import PASSWORD, Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START
from tests.support.endpoints import enqueue_events, make_endpoint
from tests.support.purchases import make_attempt, make_entitlement
from tests.support.servers import served

pytestmark = [pytest.mark.browser, pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)]

AXE = (Path(__file__).parents[1] / "support" / "vendor" / "axe-core" / "axe.min.js").read_text(
    encoding="utf-8"
)
UNFOLD = """document.querySelectorAll("main details").forEach(each =>
    { each.removeAttribute("name"); each.open = true; })"""
LOOK = """axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations.map(each =>
    `${each.id} (${each.impact}): ${each.nodes.map(node => node.target.join(" ")).join(", ")}`))"""
BROKEN = """[...document.querySelectorAll(".event-name")].flatMap(each => [...each.childNodes])
    .filter(part => {
        const range = document.createRange();
        range.selectNodeContents(part);
        return range.getClientRects().length > 1;
    }).map(part => part.textContent)"""
STEPS = ("connect", "webhook", "products", "api-key", "purchase", "go-live")
EMPTY = (
    "/alignment",
    "",
    "/lab",
    "/connection",
    "/products",
    "/products/new",
    "/api-keys",
    "/customers",
    "/events",
    "/webhooks",
    "/deliveries",
    "/settings",
    "/untracked",
    "/grants/new",
    "/reconciliation",
)
PUBLIC = ("/sign-in", "/checkout/done", "/checkout/canceled", "/nothing-here")


@pytest.fixture
def address(app: Flask, settings: Settings) -> Iterator[str]:
    with served(app, port=settings.port) as url:
        yield url


@pytest.fixture
def filled(runtime: Runtime, cast: Cast) -> list[str]:
    """The pages of a side on which something has happened."""
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    untracked = make_untracked(runtime, connection)
    make_walk(runtime, connection, problem="Stripe cannot be reached right now.")
    with runtime.database.write() as db:
        product = make_product(db, project_id=cast.project_id)
        make_product(db, project_id=cast.project_id, product_code="OLD", archived_at=product.created_at)
        make_key(db, project_id=cast.project_id)
        make_key(db, project_id=cast.project_id, name="old", revoked_at=product.created_at)
        subject = make_subject(db, project_id=cast.project_id)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
        held = make_entitlement(db, subject=subject, attempt_id=attempt.id)
        make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, granted_units=5, state=State.CANCELED)
        make_entitlement(db, subject=subject, kind=Kind.USAGE_PACK, granted_units=5)
        make_entitlement(db, subject=subject, state=State.SUSPENDED, reason="disputed")
        for status in EventStatus:
            make_event(db, connection=connection, event_id=f"evt_{status.value}", status=status)
        change = {"entitlement": held.id, "before": None, "after": {"state": "active"}}
        problem = {"object": "sub_9", "problem": "It has no items."}
        report = {"events_missed": 2, "differences": [change], "problems": [problem]}
        record_fact_of(
            db,
            event=make_event(db, connection=connection, event_id="evt_told", changes=[change]),
            entitlement=held,
        )
        endpoint, _secret = make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        for event_type in (EventType.INVOICE_PAYMENT_SUCCEEDED, *[EventType.ENTITLEMENT_UPDATED] * 2):
            enqueue_events(db, project_id=cast.project_id, event_type=event_type, subject_id=subject.id)
        claims = claim_due(db, room={endpoint.id: 2}, now=START)
        answers = ((500, "It answered 500. " * 12, "broken"), (200, None, "ok"))
        outcomes = [
            DeliveryOutcome(claim, START, 12, status=status, error=error, answer=said)
            for claim, (status, error, said) in zip(claims, answers, strict=True)
        ]
        record_outcomes(db, outcomes, now=START)
    make_walk(runtime, connection, full=True, report=report)
    return [
        f"/webhooks/{endpoint.id}",
        f"/deliveries/{claims[0].delivery_id}",
        f"/deliveries/{claims[1].delivery_id}",
        "/deliveries?status=dead",
        f"/products/{product.id}",
        f"/setup/purchase?attempt={attempt.id}",
        f"/customers/{subject.id}",
        "/customers?search=nobody",
        "/events?status=failed",
        "/events?status=parked",
        f"/untracked/{untracked.id}",
        "/untracked?adopted=1",
        "/events/evt_failed",
        "/events/evt_told",
    ]


def sign_in(page: Any, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("E-mail address").fill("owner@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/sign-in" not in url)


def complaints(page: Any, address: str, paths: list[str]) -> list[str]:
    """What axe says of these pages, and which of them are wider than the screen or have no title."""
    found = []
    for path in paths:
        page.goto(address + path)
        page.evaluate(AXE)
        page.evaluate(UNFOLD)
        for width, scheme in ((1280, "light"), (360, "dark")):
            page.set_viewport_size({"width": width, "height": 800})
            # Colours that fade into each other would be measured on their way.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.evaluate("() => new Promise(requestAnimationFrame)")
            found += [f"{path} {scheme}: {each}" for each in page.evaluate(LOOK)]
            if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
                found.append(f"{path} is wider than {width}")
            found += [f"{path} breaks {each} at {width}" for each in page.evaluate(BROKEN)]
        if "·" not in page.title() and not path.startswith("/checkout/"):
            found.append(f"{path} has no title of its own: {page.title()}")
    return found


def test_pages_without_signing_in(browser: Any, address: str, cast: Cast) -> None:
    guide = [f"/docs/{slug}" for slug, _title in guide_pages()]
    assert complaints(browser, address, [*PUBLIC, "/docs", *guide]) == []


def test_an_unclaimed_installation(browser: Any, address: str, runtime: Runtime) -> None:
    token = runtime.settings.derived_secret("claim")
    assert complaints(browser, address, ["/", f"/claim/{token}", "/claim/wrong"]) == []


@pytest.mark.parametrize("mode", ["test", "live"])
def test_a_side_where_nothing_has_happened(browser: Any, address: str, cast: Cast, mode: str) -> None:
    sign_in(browser, address)
    side = f"/projects/{cast.project_id}/{mode}"
    paths = [side + path for path in (*EMPTY, *(f"/setup/{step}" for step in STEPS))]
    assert complaints(browser, address, ["/projects", "/projects/new", "/account", *paths]) == []


def test_a_side_where_something_has_happened(
    browser: Any, address: str, cast: Cast, filled: list[str], app: Flask
) -> None:
    sign_in(browser, address)
    # Prices are read from Stripe on these, which is refused here; they are looked at above.
    asks_stripe = {"/products/new"}
    paths = [*(path for path in EMPTY if path not in asks_stripe), *filled]
    paths += [f"/setup/{step}" for step in STEPS]
    assert {side_pages(app, cast).get(path.partition("?")[0]).status_code for path in paths} == {200}
    side = f"/projects/{cast.project_id}/test"
    assert complaints(browser, address, [*(side + path for path in paths), f"{side}/events/evt_none"]) == []
