"""Pages write times in the zone and format of their workspace, and forms mean the same zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask import Flask
from werkzeug.datastructures import MultiDict

from licenzy.db.unit_of_work import Database
from licenzy.portal.deliveries.forms import ResendForm
from licenzy.portal.formatting import day, instant, zone_words
from licenzy.portal.imports.forms import ImportForm
from licenzy.runtime import Runtime
from licenzy.workspace.models import DateFormat, Membership, Role, Workspace
from tests.portal.set_up_side import side_pages
from tests.support.cast import Cast, make_connection, make_key
from tests.support.visits import visiting

WINTER = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
SUMMER = datetime(2026, 7, 1, 23, 30, tzinfo=UTC)


def choose(database: Database, workspace_id: str, zone: str, words: DateFormat) -> None:
    with database.write() as db:
        here = db.get_one(Workspace, workspace_id)
        here.time_zone, here.date_format = zone, words


@pytest.fixture
def berlin(database: Database, cast: Cast) -> Cast:
    choose(database, cast.owner.workspace_id, "Europe/Berlin", DateFormat.DAY_FIRST)
    return cast


@pytest.mark.parametrize(
    ("zone", "words", "winter", "summer"),
    [
        ("UTC", DateFormat.DAY_FIRST, "23 Nov 2026, 09:30 UTC", "1 Jul 2026, 23:30 UTC"),
        ("Europe/Berlin", DateFormat.DAY_FIRST, "23 Nov 2026, 10:30 CET", "2 Jul 2026, 01:30 CEST"),
        ("America/New_York", DateFormat.MONTH_FIRST, "Nov 23, 2026, 04:30 EST", "Jul 1, 2026, 19:30 EDT"),
        ("Asia/Kathmandu", DateFormat.ISO, "2026-11-23, 15:15 UTC+5:45", "2026-07-02, 05:15 UTC+5:45"),
        ("Mars/Olympus", DateFormat.ISO, "2026-11-23, 09:30 UTC", "2026-07-01, 23:30 UTC"),
    ],
)
def test_a_person_sees_times_as_their_first_workspace_writes_them(
    app: Flask, cast: Cast, database: Database, zone: str, words: DateFormat, winter: str, summer: str
) -> None:
    choose(database, cast.owner.workspace_id, zone, words)
    client = visiting(app, cast.owner.email)
    with client:
        client.get("/account")
        assert (instant(WINTER), instant(SUMMER)) == (winter, summer)


def test_who_is_not_signed_in_sees_utc(app: Flask, berlin: Cast) -> None:
    client = app.test_client()
    with client:
        client.get("/sign-in")
        assert instant(WINTER) == "23 Nov 2026, 09:30 UTC"
    assert day(SUMMER) == "1 Jul 2026"


def test_a_project_is_shown_in_the_zone_of_its_own_workspace(
    app: Flask, berlin: Cast, database: Database
) -> None:
    choose(database, berlin.stranger.workspace_id, "Asia/Tokyo", DateFormat.ISO)
    with database.write() as db:
        since = db.get_one(Membership, (berlin.owner.workspace_id, berlin.owner.user_id)).created_at
        there, user_id = berlin.stranger.workspace_id, berlin.owner.user_id
        db.add(Membership(workspace_id=there, user_id=user_id, role=Role.ADMIN, created_at=since))
    client = visiting(app, berlin.owner.email)
    for path, words in (
        (f"/projects/{berlin.stranger.project_id}/test/settings", "Asia/Tokyo time"),
        (f"/workspaces/{berlin.stranger.workspace_id}/team", "Asia/Tokyo time"),
        (f"/projects/{berlin.project_id}/test/settings", "Europe/Berlin time"),
        ("/projects", "Europe/Berlin time"),
    ):
        with client:
            assert client.get(path).status_code == 200
            assert zone_words() == words, path


def test_pages_name_the_zone(app: Flask, berlin: Cast, runtime: Runtime, database: Database) -> None:
    with database.write() as db:
        make_connection(db, project_id=berlin.project_id, secret_box=runtime.secret_box, key_saved_at=WINTER)
        make_key(db, project_id=berlin.project_id, expires_at=SUMMER.replace(year=2027))
    pages = side_pages(app, berlin)
    connection = pages.get("/connection").text
    assert re.search(r"\d{1,2} \w{3} 2026, \d\d:\d\d CES?T", connection)
    assert " UTC" not in re.sub(r"<[^>]+>", "", connection)
    assert "until 2 Jul 2027" in pages.get("/api-keys").text
    assert "in Europe/Berlin time" in pages.get("").text


@pytest.mark.parametrize(
    ("entered", "instant_meant"),
    [
        ("2026-11-23T10:30", datetime(2026, 11, 23, 9, 30, tzinfo=UTC)),
        ("2026-07-02T01:30", datetime(2026, 7, 1, 23, 30, tzinfo=UTC)),
        ("2026-10-25T02:30", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29T02:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ],
)
def test_times_that_are_entered_are_those_of_the_page(
    app: Flask, berlin: Cast, entered: str, instant_meant: datetime
) -> None:
    client = visiting(app, berlin.owner.email)
    with client:
        page = client.get(f"/projects/{berlin.project_id}/test/deliveries").text
        assert zone_words() == "Europe/Berlin time"
        form = ResendForm(formdata=_sent(since=entered, until=""))
        form.offer([])
        assert form.bounds() == (instant_meant, None)
        assert form.since.label.text == "Created from (Europe/Berlin time)"
        imports = ImportForm(formdata=_sent(payments_since=entered[:10]))
        assert imports.since is not None
        assert f"{imports.since:%H:%M}" in {"22:00", "23:00"}
        assert "Europe/Berlin time" in imports.payments_since.description
    assert "Created from (UTC)" not in page


def _sent(**values: str) -> MultiDict[str, str]:
    return MultiDict(values)
