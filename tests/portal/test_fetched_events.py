"""The wizard on a machine that Stripe cannot reach: how fetching events goes, with scripts and without."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from licenzy.connections.event_polls import CALM, schedule_polls
from licenzy.connections.models import Connection, EventPoll
from licenzy.runtime import Runtime
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import Cast, make_connection
from tests.support.clock import StandingClock


@pytest.fixture
def connection(runtime: Runtime, cast: Cast, clock: StandingClock) -> Connection:
    with runtime.database.write() as db:
        made = make_connection(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=None
        )
        schedule_polls(db, made, anew=True, now=clock())
    return made


@pytest.fixture
def pages(app: Flask, cast: Cast, connection: Connection) -> SidePages:
    return side_pages(app, cast)


def polled(runtime: Runtime, connection: Connection, **columns: Any) -> None:
    with runtime.database.write() as db:
        poll = db.get_one(EventPoll, connection.id)
        for name, value in columns.items():
            setattr(poll, name, value)


def next_at(runtime: Runtime, connection: Connection) -> Any:
    with runtime.database.read() as db:
        return db.get_one(EventPoll, connection.id).next_at


def test_the_step_says_when_events_were_fetched_and_offers_the_command_line(
    pages: SidePages, runtime: Runtime, connection: Connection, clock: StandingClock
) -> None:
    assert "Fetching events from Stripe" in pages.get("/setup/webhook").text
    polled(runtime, connection, polled_at=clock(), next_at=clock() + CALM)
    page = pages.get("/setup/webhook").text
    assert "Fetched, not delivered" in page
    assert f"{clock():%H:%M:%S}" in page
    assert "There is nothing to set up." in page
    assert "stripe listen" in page
    assert 'href="/docs/local-development"' in page


@pytest.mark.parametrize("reads_before", range(1, 5))
def test_the_step_is_whole_while_events_are_fetched(
    pages: SidePages, runtime: Runtime, connection: Connection, clock: StandingClock, reads_before: int
) -> None:
    """Whatever a page has read of it before."""
    read = 0

    def fetch_meanwhile(*executed: Any) -> None:
        nonlocal read
        if "FROM event_polls" not in executed[2]:
            return
        read += 1
        if read == reads_before:
            polled(runtime, connection, polled_at=clock(), next_at=clock() + CALM)

    engine = runtime.database.engine
    event.listen(engine, "after_cursor_execute", fetch_meanwhile)
    try:
        page = pages.get("/setup/webhook")
    finally:
        event.remove(engine, "after_cursor_execute", fetch_meanwhile)
    assert page.status_code == 200
    assert ("Fetching events from Stripe" in page.text) != ("Fetched, not delivered" in page.text)


def test_a_page_that_is_open_has_events_fetched_soon(
    pages: SidePages, runtime: Runtime, connection: Connection, clock: StandingClock
) -> None:
    polled(runtime, connection, polled_at=clock(), next_at=clock() + CALM)
    pages.get("/setup/products")
    assert next_at(runtime, connection) == clock() + CALM
    pages.get("/setup/webhook")
    assert next_at(runtime, connection) == clock()


def test_the_page_looks_again_for_a_quarter_of_an_hour_and_swaps_what_changed(
    pages: SidePages, runtime: Runtime, connection: Connection, clock: StandingClock
) -> None:
    began = int(clock().timestamp())
    asked = f"/setup/webhook/proof?since={began}&was=waiting"
    waiting = pages.get(asked, headers=HTMX)
    assert waiting.status_code == 200
    assert "hx-swap-oob" not in waiting.text
    polled(runtime, connection, polled_at=clock(), next_at=clock() + CALM)
    done = pages.get(asked, headers=HTMX)
    assert "Fetched, not delivered" in done.text
    assert 'id="wizard-side"' in done.text, "the list of steps changes with it"
    again = pages.get(f"/setup/webhook/proof?since={began}&was=fetched", headers=HTMX)
    assert "hx-swap-oob" not in again.text
    clock.advance(minutes=15)
    late = pages.get(asked, headers=HTMX)
    assert late.status_code == 286
    assert "hx-get" not in late.text


def test_a_failure_is_shown_with_its_fix_and_tried_again_on_request(
    app: Flask,
    cast: Cast,
    pages: SidePages,
    runtime: Runtime,
    connection: Connection,
    clock: StandingClock,
) -> None:
    later = clock() + timedelta(minutes=5)
    polled(
        runtime,
        connection,
        failures=9,
        problem="The restricted Stripe key lacks the permission rak_event_read for this call.",
        permission="rak_event_read",
        next_at=later,
    )
    page = pages.get("/setup/webhook").text
    assert "Events could not be fetched" in page
    assert 'data-finding="events_not_fetched"' in page
    assert 'href="/docs/local-development#permissions"' in page
    assert "nothing to set up" not in page
    assert next_at(runtime, connection) == later, "to look at it hurries nothing"
    assert (
        "Fetch events now" not in side_pages(app, cast, email=cast.colleague.email).get("/setup/webhook").text
    )
    assert pages.send("/setup/webhook", "/setup/webhook/fetch", {}).status_code == 303
    assert next_at(runtime, connection) == clock()


def test_events_that_are_delivered_take_the_place_of_what_is_fetched(
    pages: SidePages, runtime: Runtime, connection: Connection, clock: StandingClock
) -> None:
    with runtime.database.write() as db:
        row = db.get_one(Connection, connection.id)
        row.webhook_secret_sealed, row.webhook_secret_masked = "sealed", "whsec_…9f3c"
        row.webhook_secret_saved_at = clock()
        row.proven_at = clock()
    page = pages.get("/setup/webhook").text
    assert "Signed events arrive" in page
    assert "Fetched, not delivered" not in page
