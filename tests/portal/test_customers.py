from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.paging import PAGE_SIZE
from licenzy.entitlements import decision
from licenzy.entitlements.models import State
from licenzy.kit.resources import resource_dir
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from tests.portal.fixtures_events import make_event, record_fact_of
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_product, make_subject
from tests.support.clock import START
from tests.support.purchases import make_attempt, make_entitlement
from tests.support.visits import visiting


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


@pytest.fixture
def subject(runtime: Runtime, cast: Cast) -> Subject:
    with runtime.database.write() as db:
        return make_subject(
            db, project_id=cast.project_id, email="Ada@example.com", stripe_customer_id="cus_9"
        )


def subjects(runtime: Runtime, cast: Cast, *refs: str, **more: Any) -> list[Subject]:
    with runtime.database.write() as db:
        return [make_subject(db, project_id=cast.project_id, subject_ref=ref, **more) for ref in refs]


def test_an_empty_list_says_how_customers_come_about(pages: SidePages) -> None:
    page = pages.get("/customers")
    assert page.status_code == 200
    assert "No customers in test mode yet" in page.text
    assert 'id="search"' not in page.text


@pytest.mark.parametrize("search", ["user_1", "SER_12", "ada@", "EXAMPLE.com", "ÁDA@", " user_123 "])
def test_a_part_of_the_ref_or_the_address_finds_a_customer(
    pages: SidePages, subject: Subject, runtime: Runtime, cast: Cast, search: str
) -> None:
    subjects(runtime, cast, "somebody else")
    page = pages.get("/customers", query_string={"search": search}).text
    assert f"/customers/{subject.id}" in page
    assert "somebody else" not in page


@pytest.mark.parametrize("search", ["user%123", "u_er_123", "cus_", "nobody"])
def test_wildcards_are_letters(pages: SidePages, subject: Subject, search: str) -> None:
    page = pages.get("/customers", query_string={"search": search})
    assert page.status_code == 200
    assert f"/customers/{subject.id}" not in page.text
    assert "Nobody matches" in page.text


@pytest.mark.parametrize("search", ["a\u0085b", "\u202e", "x" * 201])
def test_what_no_ref_can_hold_finds_nobody(pages: SidePages, subject: Subject, search: str) -> None:
    page = pages.get("/customers", query_string={"search": search})
    assert page.status_code == 200
    assert "This cannot be searched for" in page.text


def test_the_list_pages_both_ways(pages: SidePages, runtime: Runtime, cast: Cast) -> None:
    made = subjects(runtime, cast, *(f"user_{number:03}" for number in range(PAGE_SIZE * 2 + 3)))
    newest_first = sorted((subject.id for subject in made), reverse=True)
    sheets = [newest_first[at : at + PAGE_SIZE] for at in range(0, len(newest_first), PAGE_SIZE)]

    def shown(text: str) -> list[str]:
        return [subject for subject in newest_first if f"/customers/{subject}" in text]

    first = pages.get("/customers").text
    assert shown(first) == sheets[0]
    assert "newer_than" not in first
    second = pages.get("/customers", query_string={"older_than": sheets[0][-1]}).text
    last = pages.get("/customers", query_string={"older_than": sheets[1][-1]}).text
    assert (shown(second), shown(last)) == (sheets[1], sheets[2])
    assert "older_than" not in last
    back = pages.get("/customers", query_string={"newer_than": sheets[2][0]}).text
    assert shown(back) == sheets[1]


@pytest.mark.parametrize("place", ["sbj_", "x", "' OR 1=1", "sbj_" + "u" * 26])
def test_a_bad_place_shows_the_first_page(pages: SidePages, subject: Subject, place: str) -> None:
    page = pages.get("/customers", query_string={"older_than": place})
    assert page.status_code == 200
    assert f"/customers/{subject.id}" in page.text


def test_a_place_beyond_the_end_leads_back(pages: SidePages, subject: Subject) -> None:
    page = pages.get("/customers", query_string={"older_than": "sbj_" + "0" * 26}).text
    assert "Back to the newest" in page


def test_a_customer_is_shown_with_the_decision_and_what_led_to_it(
    pages: SidePages, runtime: Runtime, cast: Cast, subject: Subject
) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        product = make_product(db, project_id=cast.project_id)
        attempt = make_attempt(
            db, connection=connection, subject=subject, product=product, amount_total=1200, currency="usd"
        )
        entitlement = make_entitlement(db, subject=subject, attempt_id=attempt.id)
        record_fact_of(db, event=make_event(db, connection=connection), entitlement=entitlement)
        make_event(db, connection=connection, event_id="evt_of_somebody_else")
    page = pages.get(f"/customers/{subject.id}").text
    assert "Has access" in page
    for shown in (entitlement.id, attempt.id, "$12.00", "Ada@example.com", "cus_9", "/events/evt_1"):
        assert shown in page, shown
    assert "evt_of_somebody_else" not in page
    listed = pages.get("/customers").text
    assert "PRO_MONTHLY" in listed


def test_a_refusal_is_explained(pages: SidePages, runtime: Runtime, subject: Subject) -> None:
    page = pages.get(f"/customers/{subject.id}").text
    assert "No access" in page
    assert "no_entitlement" in page
    with runtime.database.write() as db:
        make_entitlement(
            db, subject=subject, kind=Kind.USAGE_PACK, ends_at=None, granted_units=10, used_units=10
        )
    page = pages.get(f"/customers/{subject.id}").text
    assert "All units are used up" in page
    assert "exhausted" in page


def test_the_time_is_that_of_the_sandbox_account(
    pages: SidePages, runtime: Runtime, cast: Cast, subject: Subject
) -> None:
    with runtime.database.write() as db:
        make_entitlement(db, subject=subject, ends_at=START + timedelta(days=2), state=State.ACTIVE)
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    assert "Has access" in pages.get(f"/customers/{subject.id}").text
    with runtime.database.write() as db:
        connection.clock_offset_seconds = 3 * 86_400
        db.add(connection)
    assert "No access" in pages.get(f"/customers/{subject.id}").text


def test_every_reason_has_a_sentence() -> None:
    words = (resource_dir("templates") / "components" / "standing.html").read_text()
    reasons = {"no_entitlement", *decision._NEAREST_FIRST}
    assert [reason for reason in reasons if f'"{reason}":' not in words] == []


def test_customers_of_elsewhere_are_not_found(
    app: Flask, cast: Cast, subject: Subject, pages: SidePages
) -> None:
    assert side_pages(app, cast, mode="live").get(f"/customers/{subject.id}").status_code == 404
    assert f"{subject.id}" not in side_pages(app, cast, mode="live").get("/customers").text
    stranger = visiting(app, cast.stranger.email)
    own = f"/projects/{cast.stranger.project_id}/test/customers"
    assert stranger.get(f"{own}/{subject.id}").status_code == 404
    assert subject.id not in stranger.get(own).text
    assert stranger.get(f"{pages.base}/customers").status_code == 404
    for nobody in ("sbj_" + "0" * 26, "x"):
        assert pages.get(f"/customers/{nobody}").status_code == 404
    assert pages.get("/customers/sbj_%E4").status_code == 400


def test_refs_are_text(pages: SidePages, runtime: Runtime, cast: Cast) -> None:
    (subject,) = subjects(runtime, cast, "<img src=x> '\"{{ 7*7 }}")
    for path in ("/customers", f"/customers/{subject.id}"):
        page = pages.get(path).text
        assert "<img src=x>" not in page
        assert "&lt;img src=x&gt;" in page
    found = pages.get("/customers", query_string={"search": "<img"}).text
    assert 'value="&lt;img"' in found


def test_modes_are_lists_of_their_own(app: Flask, runtime: Runtime, cast: Cast) -> None:
    subjects(runtime, cast, "only_live", mode=Mode.LIVE)
    assert "only_live" in side_pages(app, cast, mode="live").get("/customers").text
    assert "only_live" not in side_pages(app, cast).get("/customers").text
