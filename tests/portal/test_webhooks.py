"""Webhook endpoints and deliveries on their pages, without scripts and with htmx."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.claims import DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import Delivery, DeliveryStatus, EventType, WebhookEndpoint
from licenzy.runtime import Runtime
from licenzy.workspace.models import Membership, Role
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import Cast, make_subject
from tests.support.clock import START, StandingClock
from tests.support.endpoints import enqueue_events, make_endpoint
from tests.support.visits import location

URL = "https://example.com/hooks/licenzy"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/]{43}=")
TYPES = ["entitlement.updated", "purchase.finalized"]


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


@pytest.fixture
def endpoint(database: Database, runtime: Runtime, cast: Cast) -> WebhookEndpoint:
    with database.write() as db:
        return make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box, url=URL)[0]


def as_role(app: Flask, database: Database, cast: Cast, role: Role) -> SidePages:
    with database.write() as db:
        found = db.exec(select(Membership).where(Membership.user_id == cast.colleague.user_id)).one()
        found.role = role
    return side_pages(app, cast, email=cast.colleague.email)


def read(database: Database) -> list[WebhookEndpoint]:
    with database.read() as db:
        return list(db.exec(select(WebhookEndpoint).order_by(col(WebhookEndpoint.id))))


def written(database: Database) -> list[Delivery]:
    with database.read() as db:
        return list(db.exec(select(Delivery).order_by(col(Delivery.id))))


def end(database: Database, endpoint: WebhookEndpoint, **outcome: Any) -> None:
    """One try of each due delivery ends like this."""
    with database.write() as db:
        claims = claim_due(db, room={endpoint.id: 100}, now=START)
        record_outcomes(db, [DeliveryOutcome(claim, START, 12, **outcome) for claim in claims], now=START)


def test_an_endpoint_is_added_and_its_secret_shown_once(pages: SidePages, database: Database) -> None:
    assert "Add your first webhook endpoint" in pages.get("/webhooks").text
    answer = pages.send("/webhooks", "/webhooks", {"url": URL, "types": TYPES})
    (made,) = read(database)
    assert location(answer) == f"{pages.base}/webhooks/{made.id}"
    assert "Copy it now" not in pages.get("/webhooks").text
    answer = pages.get(f"/webhooks/{made.id}")
    assert answer.headers["Cache-Control"] == "no-store"
    (secret,) = set(SECRET.findall(answer.text))
    assert (made.url, made.types) == (URL, ["purchase.finalized", "entitlement.updated"])
    for path in ("/webhooks", f"/webhooks/{made.id}", "/deliveries"):
        page = pages.get(path)
        assert page.status_code == 200
        assert secret not in page.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url": "", "types": TYPES}, "Enter the address"),
        ({"url": "http://127.0.0.1:80/x", "types": TYPES}, "LICENZY_ALLOW_PRIVATE_WEBHOOKS=on"),
        ({"url": "http://localhost/x", "types": TYPES}, "The address leads to this machine"),
        ({"url": "http://0x7f.1/", "types": TYPES}, "must have a host"),
        ({"url": "https://[v1.fe]/", "types": TYPES}, "must have a host"),
        ({"url": "https://bücher.example/", "types": TYPES}, "xn--"),
        ({"url": "https://user:pw@example.com/", "types": TYPES}, "user name or password"),
        ({"url": "https://example.com:/x", "types": TYPES}, "a port after the colon"),
        ({"url": URL, "types": []}, "Choose at least one"),
        ({"url": URL, "types": ["nonsense"]}, "valid choice"),
        ({"url": URL, "types": TYPES, "description": "x" * 201}, "200"),
        ({"url": URL, "types": TYPES, "description": "a\u202eb"}, "invisible characters"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused(
    pages: SidePages, database: Database, values: dict[str, Any], said: str
) -> None:
    answer = pages.send("/webhooks", "/webhooks", values)
    assert answer.status_code == 422
    assert said in answer.text
    assert read(database) == []


def test_live_wants_https(app: Flask, cast: Cast) -> None:
    pages = side_pages(app, cast, mode="live")
    answer = pages.send("/webhooks", "/webhooks", {"url": "http://example.com/", "types": TYPES})
    assert answer.status_code == 422
    assert "must begin with https:// in live mode" in answer.text


def test_an_endpoint_is_changed_paused_and_resumed(
    pages: SidePages, database: Database, endpoint: WebhookEndpoint
) -> None:
    here = f"/webhooks/{endpoint.id}"
    other = "https://example.org/other"
    answer = pages.send(here, here, {"url": other, "types": ["usage.low"], "description": "billing"})
    assert answer.status_code == 303
    (changed,) = read(database)
    assert (changed.url, changed.types, changed.description) == (other, ["usage.low"], "billing")
    assert pages.send(here, "/pause", {}).status_code == 303
    assert read(database)[0].paused_at == START
    assert "Events wait since" in pages.get(here).text
    assert pages.send(here, "/resumption", {}).status_code == 303
    assert read(database)[0].paused_at is None


def test_a_wrong_change_stays_in_its_form(pages: SidePages, endpoint: WebhookEndpoint) -> None:
    here = f"/webhooks/{endpoint.id}"
    answer = pages.send(here, here, {"url": "nonsense", "types": TYPES}, htmx=True)
    assert answer.status_code == 422
    assert "<html" not in answer.text
    assert "must begin with https://" in answer.text


def test_a_secret_is_rotated_with_overlap(
    pages: SidePages, database: Database, endpoint: WebhookEndpoint, clock: StandingClock
) -> None:
    answer = pages.send(f"/webhooks/{endpoint.id}", "/secret", {"overlap": "24"})
    assert location(answer) == f"{pages.base}/webhooks/{endpoint.id}"
    assert len(set(SECRET.findall(pages.get(f"/webhooks/{endpoint.id}").text))) == 1
    (rotated,) = read(database)
    assert rotated.previous_secret_until is not None
    assert (rotated.previous_secret_until - clock()).total_seconds() == 24 * 3600
    assert rotated.previous_secret_sealed == endpoint.secret_sealed
    pages.send(f"/webhooks/{endpoint.id}", "/secret", {"overlap": "0"})
    assert read(database)[0].previous_secret_sealed is None


def test_a_test_is_a_delivery_like_any_other(
    pages: SidePages, database: Database, endpoint: WebhookEndpoint
) -> None:
    answer = pages.send(f"/webhooks/{endpoint.id}", "/test", {"event_type": "usage.low"})
    assert answer.status_code == 303
    (row,) = written(database)
    assert answer.location.endswith(f"/deliveries/{row.id}")
    page = pages.get(f"/deliveries/{row.id}")
    assert "Waiting to be sent" in page.text
    assert "&#34;reason&#34;: &#34;test&#34;" in page.text
    state = pages.get(f"/deliveries/{row.id}", headers={"HX-Request": "true"})
    assert state.status_code == 200
    assert "<html" not in state.text
    end(database, endpoint, status=200, answer="thanks")
    state = pages.get(f"/deliveries/{row.id}", headers={"HX-Request": "true"})
    assert state.status_code == 286
    assert "Sent: the endpoint answered 200" in state.text


def test_an_endpoint_is_deleted_by_its_host_in_live(
    app: Flask, database: Database, runtime: Runtime, cast: Cast
) -> None:
    with database.write() as db:
        made, _secret = make_endpoint(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, url=URL, mode=Mode.LIVE
        )
    pages = side_pages(app, cast, mode="live")
    here = f"/webhooks/{made.id}"
    assert pages.send(here, "/removal", {"typed": "nonsense"}).status_code == 422
    assert pages.send(here, "/removal", {"typed": "example.com"}).status_code == 303
    assert read(database)[0].secret_sealed is None
    assert pages.get(here).status_code == 404


def test_deliveries_are_listed_and_filtered(
    pages: SidePages, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    assert "No deliveries in test mode yet" in pages.get("/deliveries").text
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id, count=30)
        enqueue_events(db, project_id=cast.project_id, event_type=EventType.USAGE_LOW)
    page = pages.get("/deliveries")
    assert page.text.count('class="row-link"') == 25
    assert "older_than" in page.text
    assert pages.get("/deliveries?type=usage.low").text.count('class="row-link"') == 1
    assert "No matching deliveries" in pages.get("/deliveries?status=dead").text
    assert pages.get(f"/deliveries?to={endpoint.id}&status=pending").status_code == 200
    for odd in ("?status=x", "?type=%00", "?to=whe_x", "?older_than=zz", "?to=' OR 1=1"):
        assert pages.get(f"/deliveries{odd}").status_code in {200, 400}


def test_what_failed_is_told_and_sent_again(
    pages: SidePages, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id, count=3)
    end(
        database, endpoint, status=500, error="The endpoint answered 500.", answer="<script>alert(1)</script>"
    )
    row = written(database)[0]
    assert row.status is DeliveryStatus.FAILED
    page = pages.get(f"/deliveries/{row.id}").text
    assert "The endpoint answered 500." in page
    assert "Next attempt: 23 Nov 2026, 09:30 UTC" in page
    badge = '<span class="pill pill-warn">failed</span></span>'
    assert f'<span id="delivery-badge">{badge}' in page
    fragment = pages.get(f"/deliveries/{row.id}", headers=HTMX)
    assert f'<span id="delivery-badge" hx-swap-oob="true">{badge}' in fragment.text
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert pages.send(f"/deliveries/{row.id}", "/requeue", {}).status_code == 303
    again = next(each for each in written(database) if each.id == row.id)
    assert (again.status, again.tries, again.next_try_at) == (DeliveryStatus.PENDING, 0, START)
    bounds = {"since": "2026-11-23T09:00", "until": "2026-11-23T10:00"}
    form = pages.form(f"/deliveries/{row.id}", "/requeue")
    nowhere = pages.client.post(form.action.replace(row.id, f"dlv_{'0' * 26}"), data=form.fields)
    assert nowhere.status_code == 404
    assert "API reference" not in nowhere.text
    answer = pages.send("/deliveries", "/deliveries/requeue", {"endpoint": endpoint.id, **bounds})
    assert answer.status_code == 303
    assert "2 deliveries will be resent" in pages.get("/deliveries").text
    assert {each.status for each in written(database)} == {DeliveryStatus.PENDING}
    assert pages.send("/deliveries", "/deliveries/requeue", {"since": "nonsense"}).status_code == 422


def test_payloads_are_for_support_and_hold_no_secret(
    app: Flask, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="user_very_private")
        enqueue_events(db, project_id=cast.project_id, subject_id=subject.id)
    end(database, endpoint, status=200, answer="an answer of theirs")
    (row,) = written(database)
    seen = as_role(app, database, cast, Role.VIEWER).get(f"/deliveries/{row.id}").text
    assert "need the support role" in seen
    assert "an answer of theirs" not in seen
    assert "webhook-signature" not in seen
    seen = as_role(app, database, cast, Role.SUPPORT).get(f"/deliveries/{row.id}").text
    assert "webhook-signature: v1," in seen
    assert "an answer of theirs" in seen
    assert not SECRET.search(seen)


def test_a_customer_s_page_shows_what_was_told_of_them(
    pages: SidePages, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        enqueue_events(db, project_id=cast.project_id, subject_id=subject.id)
        enqueue_events(db, project_id=cast.project_id)
    page = pages.get(f"/customers/{subject.id}").text
    assert page.count("/deliveries/dlv_") == 1


def test_what_is_dead_does_not_wait_for_an_endpoint_that_is_gone(
    pages: SidePages, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id)
    end(database, endpoint, status=410, error="The endpoint answered 410.")
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id)
    assert read(database)[0].disabled_reason == "gone"
    (row,) = written(database)
    page = pages.get(f"/deliveries/{row.id}").text
    assert "Failed permanently" in page
    assert "Waiting" not in page


def test_nothing_is_signed_for_a_deleted_endpoint(
    pages: SidePages, database: Database, cast: Cast, endpoint: WebhookEndpoint
) -> None:
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id)
    pages.send(f"/webhooks/{endpoint.id}", f"/webhooks/{endpoint.id}/removal", {})
    (row,) = written(database)
    page = pages.get(f"/deliveries/{row.id}").text
    assert "Not sent: the endpoint was deleted" in page
    assert "webhook-signature" not in page
    assert "so nothing can be signed" in page


def test_a_secret_waits_only_for_its_own_page_and_session_and_not_for_long(
    app: Flask, cast: Cast, pages: SidePages, endpoint: WebhookEndpoint, clock: StandingClock
) -> None:
    here = f"/webhooks/{endpoint.id}"
    answer = pages.send(here, "/secret", {"overlap": "24"})
    assert not SECRET.search(str(answer.headers)), "neither the address nor the cookie shows it"
    other = side_pages(app, cast)
    assert not SECRET.search(other.get(here).text)
    clock.advance(seconds=301)
    assert not SECRET.search(pages.get(here).text)


def test_endpoints_of_one_host_have_different_titles(
    pages: SidePages, database: Database, cast: Cast
) -> None:
    for path in ("/orders", "/billing"):
        assert pages.send("/webhooks", "/webhooks", {"url": f"https://example.com{path}", "types": TYPES})
    titles = {
        title
        for each in read(database)
        for title in re.findall("<title>(.*?)</title>", pages.get(f"/webhooks/{each.id}").text)
    }
    assert len(titles) == 2
    assert any(title.startswith("example.com/orders ") for title in titles)
