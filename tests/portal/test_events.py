from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection
from licenzy.db.paging import PAGE_SIZE
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.workspace.models import AuditEntry, Role
from tests.portal.fixtures_events import make_event, record_fact_of
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_subject, make_user
from tests.support.clock import START
from tests.support.purchases import event, make_entitlement
from tests.support.visits import csrf_token, visiting
from tests.support.worker import work_once

CHANGE = {
    "entitlement": "ent_1",
    "before": {"state": "active", "valid_until": "2026-01-01T00:00:00Z", "reason": None},
    "after": {"state": "canceled", "valid_until": "2026-01-01T00:00:00Z", "reason": "refunded"},
}


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


@pytest.fixture
def connection(runtime: Runtime, cast: Cast) -> Connection:
    with runtime.database.write() as db:
        return make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)


def test_an_empty_list_says_when_events_come(pages: SidePages) -> None:
    page = pages.get("/events")
    assert page.status_code == 200
    assert "No events in test mode yet" in page.text


def test_events_are_listed_with_whom_they_concern(
    pages: SidePages, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        event = make_event(db, connection=connection, changes=[CHANGE])
        record_fact_of(db, event=event, entitlement=make_entitlement(db, subject=subject))
        make_event(db, connection=connection, event_id="evt_2", type="charge.refunded")
    page = pages.get("/events").text
    assert page.index("/events/evt_2") < page.index(f"/events/{event.event_id}")
    assert page.count(f"/customers/{subject.id}") == 1
    assert "changed an entitlement" in page
    assert f"/customers/{subject.id}" in pages.get("/events/evt_1").text


@pytest.mark.parametrize("status", list(EventStatus))
def test_each_status_can_be_asked_for_and_has_words(
    pages: SidePages, runtime: Runtime, connection: Connection, status: EventStatus
) -> None:
    with runtime.database.write() as db:
        for each in EventStatus:
            make_event(db, connection=connection, event_id=f"evt_{each.value}", status=each, note="Because.")
    page = pages.get("/events", query_string={"status": status.value}).text
    assert [each for each in EventStatus if f"/events/evt_{each.value}" in page] == [status]
    assert pages.get(f"/events/evt_{status.value}").status_code == 200


def test_an_unknown_status_shows_all(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection)
    for nonsense in ("x", "APPLIED", "applied'--"):
        assert "/events/evt_1" in pages.get("/events", query_string={"status": nonsense}).text


def test_only_the_events_about_one_object(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, object_id="sub_1")
        make_event(db, connection=connection, event_id="evt_2", object_id="sub_2")
    page = pages.get("/events", query_string={"about": "sub_2"}).text
    assert "/events/evt_2" in page
    assert "/events/evt_1" not in page
    assert "No such event" in pages.get("/events", query_string={"about": "sub_3"}).text


def test_the_list_pages_within_its_filter(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        for number in range(PAGE_SIZE + 1):
            make_event(db, connection=connection, event_id=f"evt_{number:03}", status=EventStatus.IGNORED)
        make_event(db, connection=connection, event_id="evt_applied")
    first = pages.get("/events", query_string={"status": "ignored"}).text
    assert "/events/evt_001" in first
    assert "/events/evt_000" not in first
    older = first[first.index("older_than=") :].split('"', 1)[0].split("&")[0]
    key = older.partition("=")[2]
    second = pages.get("/events", query_string={"status": "ignored", "older_than": key}).text
    assert "/events/evt_000" in second
    assert "/events/evt_applied" not in second


@pytest.mark.parametrize("place", ["x", "-1", "9" * 30, "٣", ""])
def test_a_bad_place_shows_the_first_page(
    pages: SidePages, runtime: Runtime, connection: Connection, place: str
) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection)
    page = pages.get("/events", query_string={"older_than": place})
    assert page.status_code == 200
    assert "/events/evt_1" in page.text


def test_what_an_event_changed_is_shown_before_and_after(
    pages: SidePages, runtime: Runtime, connection: Connection
) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, changes=[CHANGE, {**CHANGE, "before": None}])
    page = pages.get("/events/evt_1").text
    assert "it changed 2 entitlements" in page
    assert "refunded" in page
    assert page.count("valid until") == 1  # It is the same before and after in the first, new in the second.


def test_a_failed_event_says_what_comes_next(
    pages: SidePages, runtime: Runtime, connection: Connection
) -> None:
    with runtime.database.write() as db:
        failing: dict[str, Any] = {"status": EventStatus.FAILED, "note": "KeyError: 'x'"}
        later = START + timedelta(minutes=1)
        make_event(db, connection=connection, **failing, tries=2, next_try_at=later)
        make_event(db, connection=connection, event_id="evt_2", **failing, tries=8, parked_at=START)
    assert "is retried" in pages.get("/events/evt_1").text
    assert "no longer retried" in pages.get("/events/evt_2").text
    overview = pages.get().text
    assert "2 events not applied yet" in overview
    assert "/events/evt_2" in overview


def test_parked_events_can_be_asked_for(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, status=EventStatus.FAILED)
        make_event(db, connection=connection, event_id="evt_2", status=EventStatus.FAILED, parked_at=START)
        make_event(db, connection=connection, event_id="evt_3", parked_at=START)
    page = pages.get("/events", query_string={"status": "parked"}).text
    assert [each for each in "123" if f"/events/evt_{each}" in page] == ["2"]
    assert "Replay all failed events" in page


def test_how_often_it_was_sent_is_listed(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, duplicates=1)
        make_event(db, connection=connection, event_id="evt_2", duplicates=3)
    page = pages.get("/events").text
    assert "sent again once" in page
    assert "sent again 3 times" in page


def expired_session(runtime: Runtime, connection: Connection, event_id: str, **columns: Any) -> None:
    """An event that can really be applied: a session that nobody paid."""
    body = event(
        "checkout.session.expired",
        {
            "id": f"cs_{event_id}",
            "object": "checkout.session",
            "mode": "payment",
            "status": "expired",
            "payment_status": "unpaid",
        },
        event_id=event_id,
    )
    with runtime.database.write() as db:
        make_event(db, connection=connection, event_id=event_id, payload=json.dumps(body), **columns)


def test_an_event_is_replayed_whatever_became_of_it(
    pages: SidePages, runtime: Runtime, connection: Connection
) -> None:
    for status in ("failed", "applied", "ignored", "received"):
        expired_session(runtime, connection, f"evt_{status}", status=EventStatus(status), changes=[CHANGE])
        answer = pages.send(f"/events/evt_{status}", f"/evt_{status}/replay", {})
        assert answer.status_code == 303
        page = pages.get(f"/events/evt_{status}").text
        assert "Replayed: nothing differs" in page
        assert "refunded" in page, "what it changed the first time stays"
    with runtime.database.read() as db:
        assert set(db.exec(select(StripeEvent.status))) == {EventStatus.IGNORED}
        audited = db.exec(select(AuditEntry.action).where(AuditEntry.action == "event.replay")).all()
    assert len(audited) == 4


def test_a_replay_that_fails_says_so(pages: SidePages, runtime: Runtime, connection: Connection) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, status=EventStatus.FAILED, parked_at=START, tries=8)
    assert pages.send("/events/evt_1", "/evt_1/replay", {}).status_code == 303
    page = pages.get("/events/evt_1").text
    assert "Applying it failed again" in page
    assert "no longer retried" in page


@pytest.mark.parametrize("status", [EventStatus.WRONG_MODE, EventStatus.WRONG_ACCOUNT, EventStatus.INVALID])
def test_what_can_never_be_applied_is_not_replayed(
    pages: SidePages, runtime: Runtime, connection: Connection, status: EventStatus
) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection, status=status)
    assert "/replay" not in pages.get("/events/evt_1").text
    token = csrf_token(pages.client, "/account")
    answer = pages.client.post(f"{pages.base}/events/evt_1/replay", data={"csrf_token": token})
    assert answer.status_code == 404


def test_all_parked_events_are_tried_again_by_the_worker(
    app: Flask, cast: Cast, pages: SidePages, runtime: Runtime, connection: Connection
) -> None:
    failed: dict[str, Any] = {"status": EventStatus.FAILED, "parked_at": START, "tries": 8}
    for name in ("evt_1", "evt_2"):
        expired_session(runtime, connection, name, **failed)
    with runtime.database.write() as db:
        theirs = make_connection(db, project_id=cast.stranger.project_id, secret_box=runtime.secret_box)
        make_event(db, connection=theirs, event_id="evt_theirs", **failed)
    assert pages.send("/events?status=parked", "/events/parked/replay", {}).status_code == 303
    assert "2 events are tried again now" in pages.get("/events").text
    work_once(runtime)
    with runtime.database.read() as db:
        rows = {row.event_id: row.parked_at for row in db.exec(select(StripeEvent))}
        done = db.exec(select(StripeEvent.event_id).where(StripeEvent.status == EventStatus.IGNORED)).all()
    assert rows["evt_theirs"] == START
    assert sorted(done) == ["evt_1", "evt_2"]
    token = csrf_token(pages.client, "/account")
    answer = pages.client.post(f"{pages.base}/events/parked/replay", data={"csrf_token": token})
    assert answer.status_code == 303
    assert "No event has failed permanently" in pages.get("/events").text


def test_payloads_are_for_support_and_above(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection, pages: SidePages
) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection)
        make_event(db, connection=connection, event_id="invalid:0", payload='{"name": "\\ud800"} no json')
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    assert "buyer@example.com" in pages.get("/events/evt_1").text
    assert "no json" in pages.get("/events/invalid:0").text
    support = side_pages(app, cast, email="support@example.com")
    assert "buyer@example.com" in support.get("/events/evt_1").text
    viewer = side_pages(app, cast, email=cast.colleague.email).get("/events/evt_1")
    assert viewer.status_code == 200
    assert "buyer@example.com" not in viewer.text
    assert "needs the role support or higher" in viewer.text


def test_events_of_elsewhere_are_not_found(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection, pages: SidePages
) -> None:
    with runtime.database.write() as db:
        make_event(db, connection=connection)
        theirs = make_connection(db, project_id=cast.stranger.project_id, secret_box=runtime.secret_box)
        live = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
        make_event(db, connection=theirs, event_id="evt_theirs")
        make_event(db, connection=live, event_id="evt_live")
    assert pages.get("/events/evt_1").status_code == 200
    for foreign in ("evt_theirs", "evt_live", "evt_0", "x" * 300, "ä"):
        assert pages.get(f"/events/{foreign}").status_code == 404, foreign
    listed = pages.get("/events").text
    assert "evt_theirs" not in listed
    assert "evt_live" not in listed
    assert visiting(app, cast.stranger.email).get(f"{pages.base}/events").status_code == 404


def test_the_same_event_id_elsewhere_names_nobody_of_ours(
    pages: SidePages, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    with runtime.database.write() as db:
        theirs = make_connection(db, project_id=cast.stranger.project_id, secret_box=runtime.secret_box)
        somebody = make_subject(db, project_id=cast.stranger.project_id, subject_ref="their_customer")
        record_fact_of(
            db, event=make_event(db, connection=theirs), entitlement=make_entitlement(db, subject=somebody)
        )
        make_event(db, connection=connection)
    assert "their_customer" not in pages.get("/events").text
    assert "their_customer" not in pages.get("/events/evt_1").text
