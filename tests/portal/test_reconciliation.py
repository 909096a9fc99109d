"""The reconciliation page: asking for a walk, watching it, reading what it fixed; and one customer again."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.connections.models import Connection
from licenzy.entitlements.models import Purchase
from licenzy.kit.ids import new_id
from licenzy.reconciliation.models import FinishedWalk, Reconciliation
from licenzy.runtime import Runtime
from licenzy.workspace.models import AuditEntry, Role
from tests.checkout.conftest import Shop, sell, shop
from tests.portal.set_up_side import HTMX, SidePages, side_pages
from tests.support.cast import Cast, make_connection, make_subject, make_user
from tests.support.clock import START
from tests.support.purchases import make_entitlement
from tests.support.visits import csrf_token, visiting

__all__ = ["sell", "shop"]


@pytest.fixture
def connection(runtime: Runtime, cast: Cast) -> Connection:
    with runtime.database.write() as db:
        return make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)


@pytest.fixture
def support(app: Flask, cast: Cast, runtime: Runtime) -> SidePages:
    with runtime.database.write() as db:
        make_user(db, email="support@example.com", workspace_id=cast.owner.workspace_id, role=Role.SUPPORT)
    return side_pages(app, cast, email="support@example.com")


def make_walk(runtime: Runtime, connection: Connection, **columns: Any) -> FinishedWalk:
    """A walk that found nothing, unless told otherwise."""
    report = {"events_seen": 1234, **columns.pop("report", {})}
    walk = FinishedWalk(
        id=new_id("wlk"),
        project_id=connection.project_id,
        mode=connection.mode,
        connection_id=connection.id,
        report=report,
        **{"full": False, "began_at": START, "ended_at": START, **columns},
    )
    with runtime.database.write() as db:
        db.add(walk)
    return walk


def difference(entitlement_id: str) -> dict[str, Any]:
    return {
        "entitlement": entitlement_id,
        "before": {"product_code": "PRO", "state": "active", "canceled_at": None},
        "after": {"product_code": "PRO", "state": "canceled", "canceled_at": "2026-11-23T09:30:00Z"},
    }


def asked(runtime: Runtime, connection: Connection) -> Reconciliation | None:
    with runtime.database.read() as db:
        return db.get(Reconciliation, connection.id)


def test_without_stripe_there_is_nothing_to_compare(support: SidePages) -> None:
    page = support.get("/reconciliation").text
    assert "Stripe is not connected in test" in page
    token = csrf_token(support.client, "/account")
    answer = support.client.post(f"{support.base}/reconciliation/walks", data={"csrf_token": token})
    assert answer.status_code == 303
    assert "No Stripe key is saved" in support.get("/reconciliation").text


def test_a_walk_is_asked_for_and_watched(
    support: SidePages, runtime: Runtime, connection: Connection
) -> None:
    page = support.get("/reconciliation").text
    assert "Nothing has been compared yet" in page
    assert "hx-trigger" not in page
    form = support.form("/reconciliation", "/reconciliation/walks")
    for _ in range(2):  # Asking again while one waits asks for the same.
        assert support.client.post(form.action, data=form.fields).status_code == 303
    row = asked(runtime, connection)
    assert row is not None
    assert row.requested_at == START
    page = support.get("/reconciliation").text
    assert "Waiting for the worker" in page
    assert 'hx-trigger="every 2s"' in page
    assert "Reload" in page
    progress = support.get("/reconciliation/progress", headers=HTMX)
    assert progress.status_code == 200
    assert "<html" not in progress.text
    with runtime.database.write() as db:
        where = db.get_one(Reconciliation, connection.id)
        where.step, where.leased_until = "subscriptions", START + timedelta(minutes=15)
        db.add(where)
    assert "Checking subscriptions" in support.get("/reconciliation/progress", headers=HTMX).text
    with runtime.database.write() as db:
        where = db.get_one(Reconciliation, connection.id)
        where.step = where.requested_at = where.leased_until = None
        db.add(where)
    over = support.get("/reconciliation/progress", headers=HTMX)
    assert over.status_code == 286
    assert "hx-trigger" not in over.text
    assert support.get("/reconciliation/progress").status_code == 200


def test_a_walk_tells_every_difference_it_fixed(
    support: SidePages, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        held = make_entitlement(db, subject=subject)
    make_walk(runtime, connection)
    make_walk(
        runtime,
        connection,
        full=True,
        requested_by=cast.owner.user_id,
        report={
            "events_missed": 3,
            "subscriptions_seen": 2,
            "differences": [difference(held.id)],
            "problems": [{"object": "sub_9", "problem": "Unreadable: no items"}],
        },
    )
    page = support.get("/reconciliation").text
    for said in (
        "fixed 1",
        "nothing differed",
        "started by Owner",
        "automatic",
        "1,234 events, 2 subscriptions",
        "3 events had never arrived",
        f"/customers/{subject.id}",
        held.id,
        "23 Nov 2026, 09:30 UTC",
        "1 could not be compared",
        "sub_9",
    ):
        assert said in page, said
    assert page.index("fixed 1") < page.index("nothing differed")


def test_a_walk_that_broke_off_says_why(support: SidePages, runtime: Runtime, connection: Connection) -> None:
    make_walk(runtime, connection, problem="Stripe refused the call <b>.")
    page = support.get("/reconciliation").text
    assert "stopped early" in page
    assert "Stripe refused the call &lt;b&gt;." in page
    assert "not to the end" in page


def test_large_reports_are_cut_and_long_lists_paged(
    support: SidePages, runtime: Runtime, connection: Connection
) -> None:
    made = [make_walk(runtime, connection) for _ in range(11)]
    make_walk(
        runtime,
        connection,
        report={"differences": [difference(f"ent_{number}") for number in range(130)]},
    )
    page = support.get("/reconciliation").text
    assert "fixed 130" in page
    assert "And 30 more" in page
    older = sorted(walk.id for walk in made)[2]
    assert support.get("/reconciliation", query_string={"older_than": older}).text.count('class="walk"') == 2


def test_who_may_ask(
    app: Flask, cast: Cast, runtime: Runtime, connection: Connection, support: SidePages
) -> None:
    viewer = side_pages(app, cast, email=cast.colleague.email)
    page = viewer.get("/reconciliation")
    assert page.status_code == 200
    assert "/reconciliation/walks" not in page.text

    def post(email: str, project_id: str) -> int:
        client = visiting(app, email)
        place = f"/projects/{project_id}/test/reconciliation"
        data = {"csrf_token": csrf_token(client, "/account")}
        return client.post(f"{place}/walks", data=data).status_code

    assert post(cast.colleague.email, cast.project_id) == 403
    assert post(cast.stranger.email, cast.project_id) == 404
    assert asked(runtime, connection) is None
    assert post(cast.owner.email, cast.project_id) == 303
    assert asked(runtime, connection) is not None
    stranger = visiting(app, cast.stranger.email)
    make_walk(runtime, connection, problem="ours alone")
    own = stranger.get(f"/projects/{cast.stranger.project_id}/test/reconciliation").text
    assert "ours alone" not in own
    assert "ours alone" not in side_pages(app, cast, mode="live").get("/reconciliation").text


def test_a_customer_is_read_again(app: Flask, cast: Cast, shop: Shop, support: SidePages) -> None:
    with shop.runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
    place = f"/customers/{subject.id}"
    assert support.send(place, "/resync", {}).status_code == 303
    assert "bought nothing through Stripe" in support.get(place).text
    with shop.runtime.database.write() as db:
        db.add(
            Purchase(
                project_id=cast.project_id,
                mode=subject.mode,
                key="sub_gone",
                subject_id=subject.id,
                created_at=START,
            )
        )
    assert support.send(place, "/resync", {}).status_code == 303
    assert "Could not be compared: sub_gone" in support.get(place).text
    shop.inject_faults(http_500=50)
    assert support.send(place, "/resync", {}).status_code == 303
    assert "What was synced before that is kept" in support.get(place).text
    with shop.runtime.database.read() as db:
        audited = db.exec(select(AuditEntry).where(AuditEntry.action == "subject.resync")).all()
    assert len(audited) == 2


def test_what_a_report_only_counts_is_told(app: Flask, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        entitlement = make_entitlement(db, subject=make_subject(db, project_id=cast.project_id))
    problem = {"object": "sub_9", "problem": "It has no items."}
    counted = {"differences_found": 30_000, "problems_found": 1_200}
    make_walk(
        runtime,
        connection,
        report={"differences": [difference(entitlement.id)], "problems": [problem], **counted},
    )
    page = visiting(app, cast.owner.email).get(f"/projects/{cast.project_id}/test/reconciliation").text
    told = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "30,000 differences fixed" in told
    assert "And 29,999 more." in told
    assert "1,200 could not be compared" in told
    assert "and 1,199 more" in told
