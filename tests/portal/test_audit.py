"""The page of the audit log: what it shows of each entry, who may open it, its filter and its files."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta

import pytest
from flask import Flask
from sqlalchemy import event
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import create_key
from licenzy.db.unit_of_work import Database
from licenzy.kit import deadline
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.members import remove_member
from licenzy.workspace.models import AuditEntry, Membership, Role, Workspace
from tests.support.cast import Cast
from tests.support.clock import START
from tests.support.visits import csrf_token, visiting


@pytest.fixture
def audit(cast: Cast) -> str:
    return f"/workspaces/{cast.owner.workspace_id}/audit"


def key_of(database: Database, cast: Cast) -> str:
    with database.write() as db:
        key, _token = create_key(
            db,
            Scope(cast.project_id, Mode.LIVE),
            name="backend",
            created_by=cast.owner.user_id,
            ip="192.0.2.7",
            now=START,
        )
        return key.id


def test_an_entry_in_words(app: Flask, cast: Cast, database: Database, audit: str) -> None:
    key_id = key_of(database, cast)
    page = visiting(app, "owner@example.com").get(audit)
    assert page.status_code == 200
    for shown in (
        "Created an API key",
        "from 192.0.2.7",
        "Owner",
        "Our project · live mode",
        "backend",
        "lz_live_…",
    ):
        assert shown in page.text, shown
    assert f'href="/projects/{cast.project_id}/live/api-keys' in page.text
    assert key_id[-10:] in page.text
    assert "Signed in" in page.text


def test_it_is_for_admins_and_owners_of_this_workspace(
    app: Flask, cast: Cast, database: Database, audit: str
) -> None:
    colleague, stranger = visiting(app, "colleague@example.com"), visiting(app, "stranger@example.com")
    token = csrf_token(colleague, "/account")
    assert colleague.get(audit).status_code == 403
    assert "Audit log" not in colleague.get("/projects").text
    refused = colleague.post(f"{audit}/export", data={"csrf_token": token, "format": "csv"})
    assert refused.status_code == 403
    assert stranger.get(audit).status_code == 404
    token = csrf_token(stranger, "/account")
    assert stranger.post(f"{audit}/export", data={"csrf_token": token, "format": "csv"}).status_code == 404
    with database.write() as db:
        db.get_one(Membership, (cast.owner.workspace_id, cast.colleague.user_id)).role = Role.ADMIN
    assert colleague.get(audit).status_code == 200
    assert "Audit log" in colleague.get("/projects").text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("action=api_key.created", True),
        ("action=Credentials", True),
        ("action=sign_in.failed", False),
        ("mode=live", True),
        ("mode=test", False),
        ("person=command_line", False),
        ("from=2026-11-23&to=2026-11-23", True),
        ("from=2026-11-24", False),
        ("from=0001-01-01&to=9999-12-31", True),
        ("from=9999-12-31", False),
        ("to=0001-01-01", False),
        ("q=key_", True),
        ("q=nothing-like-it", False),
        ("action=none&mode=none&from=none&person=none&project=none", True),
        ("project=prj_00000000000000000000000000", True),
    ],
)
def test_filtering(app: Flask, cast: Cast, database: Database, audit: str, query: str, shown: bool) -> None:
    key_of(database, cast)
    page = visiting(app, "owner@example.com").get(f"{audit}?{query}")
    assert page.status_code == 200
    assert ("lz_live_…" in page.text) is shown
    assert ("No matching entries" in page.text) is not shown


@pytest.mark.parametrize(
    ("zone", "query", "shown"),
    [
        # 23 November, 09:30 UTC.
        ("Pacific/Kiritimati", "from=2026-11-23&to=2026-11-23", True),
        ("Pacific/Kiritimati", "to=2026-11-22", False),
        ("America/Anchorage", "from=2026-11-23", True),
        ("Pacific/Pago_Pago", "from=2026-11-23", False),
        ("Pacific/Pago_Pago", "from=2026-11-22&to=2026-11-22", True),
        ("Pacific/Pago_Pago", "from=0001-01-01&to=9999-12-31", True),
        ("Pacific/Kiritimati", "from=0001-01-01&to=9999-12-31", True),
        ("Pacific/Kiritimati", "to=0001-01-01", False),
        ("Pacific/Pago_Pago", "from=9999-12-31", False),
    ],
)
def test_days_are_those_of_the_workspace(
    app: Flask, cast: Cast, database: Database, audit: str, zone: str, query: str, shown: bool
) -> None:
    key_of(database, cast)
    with database.write() as db:
        db.get_one(Workspace, cast.owner.workspace_id).time_zone = zone
    owner = visiting(app, "owner@example.com")
    page = owner.get(f"{audit}?{query}")
    assert page.status_code == 200
    assert ("lz_live_…" in page.text) is shown
    for label in ("From", "To"):
        assert f"{label} ({zone.replace('_', ' ')} time)" in page.text
    if shown:
        filters = dict(part.split("=") for part in query.split("&"))
        file = owner.post(
            f"{audit}/export", data={"csrf_token": csrf_token(owner, audit), "format": "jsonl", **filters}
        )
        assert "api_key.created" in file.text


def test_a_project_of_another_workspace_is_no_filter(
    app: Flask, cast: Cast, database: Database, audit: str
) -> None:
    with database.write() as db:
        record(
            db,
            actor=Actor(cast.stranger.user_id),
            action="project.renamed",
            about="a secret name",
            project_id=cast.stranger.project_id,
            now=START,
        )
    page = visiting(app, "owner@example.com").get(f"{audit}?project={cast.stranger.project_id}")
    assert "a secret name" not in page.text


def test_who_was_removed_is_still_a_person_to_filter_by(
    app: Flask, cast: Cast, database: Database, audit: str
) -> None:
    visiting(app, "colleague@example.com")
    owner, now = visiting(app, "owner@example.com"), START + timedelta(minutes=1)
    with database.write() as db:
        remove_member(
            db,
            workspace_id=cast.owner.workspace_id,
            user_id=cast.colleague.user_id,
            actor=Actor(cast.owner.user_id),
            now=now,
        )
    query = f"person={cast.colleague.user_id}"
    page = owner.get(f"{audit}?{query}").text
    assert f'value="{cast.colleague.user_id}" selected>Colleague (former member)</option>' in page
    assert "Signed in" in page.partition("<table")[2]
    data = {"csrf_token": csrf_token(owner, audit), "format": "jsonl", "person": cast.colleague.user_id}
    (row,) = map(json.loads, owner.post(f"{audit}/export", data=data).text.splitlines())
    assert (row["action"], row["actor"]["user_id"]) == ("sign_in.succeeded", cast.colleague.user_id)


def test_paging_keeps_the_filter(app: Flask, cast: Cast, database: Database, audit: str) -> None:
    with database.write() as db:
        for number in range(30):
            record(
                db,
                actor=Actor(cast.owner.user_id),
                action="project.renamed",
                about=f"thing-{number:02}",
                workspace_id=cast.owner.workspace_id,
                now=START,
            )
    owner = visiting(app, "owner@example.com")
    first = owner.get(f"{audit}?action=project.renamed").text
    assert ("thing-29" in first, "thing-04" in first) == (True, False)
    older = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    assert "action=project.renamed" in older
    second = owner.get(older).text
    assert ("thing-29" in second, "thing-04" in second, "Signed in" in second.partition("<table")[2]) == (
        False,
        True,
        False,
    )
    assert owner.get(f"{audit}?older_than=aud_00000000000000000000000000").status_code == 200


def test_exports_of_some_do_not_hold_the_pages_of_all(app: Flask, audit: str) -> None:
    owner = visiting(app, "owner@example.com")
    sent = {"csrf_token": csrf_token(owner, audit), "format": "csv"}
    begun = [owner.post(f"{audit}/export", data=sent) for _ in range(2)]
    refused = owner.post(f"{audit}/export", data=sent)
    assert (refused.status_code, "export again" in refused.text) == (429, True)
    begun[0].close()
    assert begun[1].text
    for _ in range(3):
        assert owner.post(f"{audit}/export", data=sent).text


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_an_export_has_what_is_filtered_and_is_one_entry(
    app: Flask, cast: Cast, database: Database, audit: str, format_: str
) -> None:
    key_id = key_of(database, cast)
    owner = visiting(app, "owner@example.com")
    filters = {"action": "Credentials", "mode": "live"}
    token = csrf_token(owner, audit)
    file = owner.post(f"{audit}/export", data={"csrf_token": token, "format": format_, **filters})
    assert file.status_code == 200
    assert file.headers["Content-Disposition"] == f'attachment; filename="audit-log-2026-11-23.{format_}"'
    if format_ == "csv":
        (row,) = csv.DictReader(io.StringIO(file.text.removeprefix("\ufeff")))
    else:
        (row,) = map(json.loads, file.text.splitlines())
    assert (row["action"], row["about"]) == ("api_key.created", key_id)
    with database.read() as db:
        (entry,) = db.exec(select(AuditEntry).where(AuditEntry.action == "audit.exported")).all()
    assert (entry.actor_user_id, entry.workspace_id) == (cast.owner.user_id, cast.owner.workspace_id)
    assert entry.after is not None
    assert entry.after["format"] == format_
    assert entry.after["mode"] == "live"
    assert "api_key.created" in entry.after["actions"]
    unknown = owner.post(f"{audit}/export", data={"csrf_token": token, "format": "exe"})
    assert unknown.status_code == 404


def test_a_long_file_is_not_cut_off_by_the_time_that_a_page_may_take(
    app: Flask, cast: Cast, database: Database, audit: str
) -> None:
    owner = visiting(app, cast.owner.email)
    data = {"csrf_token": csrf_token(owner, audit), "format": "csv"}
    left: list[float] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if "audit_log.id DESC" in statement:
            left.append(deadline.seconds_left())

    with deadline.within(1):
        assert owner.post(f"{audit}/export", data=data, buffered=True).status_code == 200
        assert deadline.seconds_left() <= 1
    assert left
    assert min(left) > deadline.CALL_SECONDS
