"""Which entries a workspace has, how they are narrowed and paged, and how many rows that takes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db.paging import NEWEST, Place
from licenzy.db.unit_of_work import Database
from licenzy.kit.clock import to_micros
from licenzy.kit.csv_text import csv_parts
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor, record
from licenzy.workspace.audit_export import COLUMNS, csv_lines, json_lines
from licenzy.workspace.audit_log import (
    COMMAND_LINE,
    STRANGER,
    AuditFilter,
    all_entries,
    entries_page,
)
from licenzy.workspace.invitations import accept_invitation, invite
from licenzy.workspace.links import Links
from licenzy.workspace.members import remove_member
from licenzy.workspace.models import AuditEntry, Membership, Role
from tests.support.cast import Cast, make_project, make_user
from tests.support.clock import START

MANY = 60_000


def note(database: Database, action: str, *, about: str = "it", at: int = 0, **more: object) -> None:
    """An entry `at` minutes after the start."""
    actor = Actor(more.pop("user_id", None), more.pop("ip", None))  # type: ignore[arg-type]
    with database.write() as db:
        record(db, actor=actor, action=action, about=about, now=START + timedelta(minutes=at), **more)  # type: ignore[arg-type]


def actions(database: Database, workspace_id: str, wanted: AuditFilter | None = None) -> list[str]:
    with database.read() as db:
        return [each.action for each in all_entries(db, wanted or AuditFilter(), workspace_id=workspace_id)]


def test_a_workspace_has_what_was_done_in_it_and_what_its_people_did(database: Database, cast: Cast) -> None:
    ours, theirs = cast.owner.workspace_id, cast.stranger.workspace_id
    note(database, "of.workspace", at=1, workspace_id=ours)
    note(database, "of.project", at=2, project_id=cast.project_id, mode=Mode.TEST)
    note(database, "of.person", at=3, user_id=cast.colleague.user_id, ip="192.0.2.1")
    note(database, "about.person", at=4, about=cast.colleague.user_id)
    note(database, "of.nobody", at=5, about="nobody@example.com", ip="192.0.2.9")
    note(database, "their.workspace", at=6, workspace_id=theirs)
    note(database, "their.project", at=7, project_id=cast.stranger.project_id)
    note(database, "their.person", at=8, user_id=cast.stranger.user_id)
    note(database, "about.their_person", at=9, about=cast.stranger.user_id)
    assert actions(database, ours) == ["of.nobody", "about.person", "of.person", "of.project", "of.workspace"]
    assert actions(database, theirs) == [
        "about.their_person",
        "their.person",
        "their.project",
        "their.workspace",
    ]


def test_what_a_member_does_to_a_member_stands_once(database: Database, cast: Cast) -> None:
    note(database, "of.person", user_id=cast.owner.user_id, about=cast.colleague.user_id)
    assert actions(database, cast.owner.workspace_id) == ["of.person"]


def test_entries_of_people_are_those_of_the_time_in_which_they_were_members(
    database: Database, cast: Cast, runtime: Runtime
) -> None:
    ours, theirs, person = cast.owner.workspace_id, cast.stranger.workspace_id, cast.colleague.user_id
    links, owner = Links("http://127.0.0.1:8000", runtime.secret_box, mailed=False), Actor(cast.owner.user_id)

    def join(at: int) -> None:
        now = START + timedelta(minutes=at)
        with database.write() as db:
            link = invite(
                db,
                links,
                workspace_id=ours,
                email="colleague@example.com",
                role=Role.ADMIN,
                actor=owner,
                now=now,
            )
        with database.write() as db:
            accept_invitation(db, token=link.url.rpartition("/")[2], actor=Actor(person), now=now)

    def leave(at: int, actor: Actor) -> None:
        with database.write() as db:
            remove_member(
                db, workspace_id=ours, user_id=person, actor=actor, now=START + timedelta(minutes=at)
            )

    def both(name: str, at: int) -> None:
        note(database, f"{name}.by", at=at, user_id=person, ip="192.0.2.1")
        note(database, f"{name}.about", at=at, about=person)

    def seen(wanted: AuditFilter | None = None, of: str = ours) -> list[str]:
        shown = actions(database, of, wanted)
        return [each for each in shown if not each.startswith(("member.", "invitation."))]

    both("first", 1)
    leave(10, owner)
    both("between", 11)
    assert seen() == ["first.about", "first.by"]
    join(20)
    both("second", 21)
    leave(30, Actor(person))
    both("after", 31)
    expected = ["second.about", "second.by", "first.about", "first.by"]
    assert seen() == expected
    assert seen(AuditFilter(person=person)) == ["second.by", "first.by"]
    assert seen(AuditFilter(person=COMMAND_LINE)) == ["second.about", "first.about"]
    assert seen(AuditFilter(actions=("first.by", "between.by", "first.about"))) == ["first.about", "first.by"]
    assert seen(AuditFilter(words="second")) == ["second.about", "second.by"]
    assert seen(AuditFilter(since=START + timedelta(minutes=15))) == ["second.about", "second.by"]
    # To the other workspace belongs what comes after they joined it, and to ours what comes until then.
    with database.write() as db:
        db.add(
            Membership(
                workspace_id=theirs,
                user_id=person,
                role=Role.VIEWER,
                created_at=START + timedelta(minutes=40),
            )
        )
    both("theirs", 41)
    assert seen(of=theirs) == ["theirs.about", "theirs.by"]
    join(50)
    both("third", 51)
    assert seen() == ["third.about", "third.by", *expected]
    assert seen(of=theirs) == ["third.about", "third.by", "theirs.about", "theirs.by"]
    with database.read() as db:
        place, paged = NEWEST, list[str]()
        while True:
            page = entries_page(db, AuditFilter(), workspace_id=ours, place=place, size=3)
            paged += [each.action for each in page.rows]
            if page.older is None:
                break
            place = page.older
        assert paged == actions(database, ours)
        assert page.newer is not None
        above = entries_page(db, AuditFilter(), workspace_id=ours, place=page.newer, size=3)
        assert [each.action for each in above.rows] == paged[-3 - len(page.rows) : -len(page.rows)]


def test_an_entry_of_a_project_outlives_it_and_one_of_an_older_version_is_found(
    database: Database, cast: Cast
) -> None:
    note(database, "of.project", project_id=cast.project_id)
    with database.write() as db:
        assert db.exec(select(AuditEntry.workspace_id)).one() == cast.owner.workspace_id
        # As code before this version writes it.
        db.add(AuditEntry(id="aud_old", at=START, action="of.older", project_id=cast.project_id, about="it"))
    assert sorted(actions(database, cast.owner.workspace_id)) == ["of.older", "of.project"]
    assert actions(database, cast.stranger.workspace_id) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"actions": ("a.one",)}, ["a.one"]),
        ({"actions": ("a.one", "sign.in")}, ["sign.in", "a.one"]),
        ({"person": COMMAND_LINE}, ["c.three"]),
        ({"person": STRANGER}, ["d.four"]),
        ({"mode": Mode.LIVE}, ["b.two"]),
        (
            {"since": START + timedelta(minutes=2), "until": START + timedelta(minutes=4)},
            ["c.three", "b.two"],
        ),
        ({"words": "KEY_"}, ["a.one"]),
        ({"words": "thr"}, ["c.three"]),
        ({"words": "%"}, []),
    ],
)
def test_narrowing(database: Database, cast: Cast, wanted: dict[str, object], expected: list[str]) -> None:
    of = {"project_id": cast.project_id}
    note(database, "a.one", about="key_1", at=1, user_id=cast.owner.user_id, mode=Mode.TEST, **of)
    note(database, "b.two", at=2, user_id=cast.colleague.user_id, mode=Mode.LIVE, **of)
    note(database, "c.three", at=3, workspace_id=cast.owner.workspace_id)
    note(database, "d.four", at=4, ip="192.0.2.1", **of)
    note(database, "sign.in", at=5, user_id=cast.owner.user_id, ip="192.0.2.1")
    assert actions(database, cast.owner.workspace_id, AuditFilter(**wanted)) == expected  # type: ignore[arg-type]


def test_narrowing_to_a_person_and_a_project(database: Database, cast: Cast) -> None:
    with database.write() as db:
        other = make_project(db, workspace_id=cast.owner.workspace_id)
    note(database, "a.test", at=1, user_id=cast.owner.user_id, project_id=cast.project_id, mode=Mode.TEST)
    note(database, "b.none", at=2, user_id=cast.owner.user_id, project_id=cast.project_id)
    note(database, "c.other", at=3, user_id=cast.owner.user_id, project_id=other)
    note(database, "sign.in", at=4, user_id=cast.owner.user_id)
    ours = cast.owner.workspace_id
    assert actions(database, ours, AuditFilter(project_id=cast.project_id)) == ["b.none", "a.test"]
    assert actions(database, ours, AuditFilter(person=cast.owner.user_id)) == [
        "sign.in",
        "c.other",
        "b.none",
        "a.test",
    ]
    assert actions(database, ours, AuditFilter(person=cast.stranger.user_id)) == []
    assert actions(database, ours, AuditFilter(project_id=cast.stranger.project_id)) == []


def test_pages_lead_down_and_up_through_entries_of_one_instant(database: Database, cast: Cast) -> None:
    for each in range(7):
        note(database, f"a.{each}", at=each // 3, workspace_id=cast.owner.workspace_id)
    with database.read() as db:

        def page(place: Place) -> tuple[list[str], Place | None, Place | None]:
            found = entries_page(db, AuditFilter(), workspace_id=cast.owner.workspace_id, place=place, size=3)
            return [each.action for each in found.rows], found.newer, found.older

        first, none, older = page(NEWEST)
        assert (first, none) == (["a.6", "a.5", "a.4"], None)
        assert older is not None
        second, newer, older = page(older)
        assert second == ["a.3", "a.2", "a.1"]
        assert older is not None
        third, up, end = page(older)
        assert (third, end) == (["a.0"], None)
        assert up is not None
        assert newer is not None
        assert page(up)[0] == second
        assert page(newer)[:2] == (first, None)


def test_a_place_of_another_workspace_is_none(database: Database, cast: Cast) -> None:
    note(database, "a.ours", at=2, workspace_id=cast.owner.workspace_id)
    note(database, "a.theirs", at=1, workspace_id=cast.stranger.workspace_id)
    with database.read() as db:
        foreign = db.exec(select(AuditEntry.id).where(AuditEntry.action == "a.theirs")).one()
        place = Place(newer_than=foreign)
        page = entries_page(db, AuditFilter(), workspace_id=cast.owner.workspace_id, place=place)
        assert ([each.action for each in page.rows], page.newer, page.older) == (["a.ours"], None, None)


def test_files(database: Database, cast: Cast) -> None:
    note(
        database,
        "product.created",
        about="=cmd()",
        user_id=cast.owner.user_id,
        ip="192.0.2.1",
        workspace_id=cast.owner.workspace_id,
        after={"name": "Ünits, many"},
    )
    with database.read() as db:
        entries = list(all_entries(db, AuditFilter(), workspace_id=cast.owner.workspace_id))
        table = "".join(csv_parts(COLUMNS, csv_lines(db, entries)))
    (row,) = csv.DictReader(io.StringIO(table.removeprefix("\ufeff")))
    assert (row["actor"], row["in_words"], row["about"]) == ("Owner", "Created a product", "'=cmd()")
    assert json.loads(row["after"]) == {"name": "Ünits, many"}
    (line,) = json_lines(entries)
    assert json.loads(line) == {
        "id": entries[0].id,
        "at": "2026-11-23T09:30:00Z",
        "actor": {"type": "user", "user_id": cast.owner.user_id, "ip": "192.0.2.1"},
        "action": "product.created",
        "project_id": None,
        "mode": None,
        "about": "=cmd()",
        "before": None,
        "after": {"name": "Ünits, many"},
    }


@pytest.fixture
def many(database: Database, cast: Cast) -> str:
    """A workspace with many entries: by twenty people, in two modes, and of one action that is rare."""
    with database.write() as db:
        for each in range(20):
            make_user(
                db, email=f"p{each}@example.com", workspace_id=cast.owner.workspace_id, role=Role.VIEWER
            )
        people = [row[0] for row in db.execute(text("SELECT id FROM users ORDER BY id"))]
        rows = (
            {
                "id": f"aud_{each:026}",
                "at": to_micros(START) + each,
                "actor": people[each % len(people)],
                "action": "rare.done" if each == 7 else "common.done",
                # A third are of people and of no workspace.
                "workspace": None if each % 3 == 0 else cast.owner.workspace_id,
                "project": None if each % 3 == 0 else cast.project_id,
                "mode": None if each % 3 == 0 else "live" if each < 100 else "test",
                "about": f"thing_{each}" if each % 3 else people[each % len(people)],
            }
            for each in range(MANY)
        )
        db.connection().execute(
            text(
                "INSERT INTO audit_log "
                "(id, at, actor_user_id, action, workspace_id, project_id, mode, about) "
                "VALUES (:id, :at, :actor, :action, :workspace, :project, :mode, :about)"
            ),
            list(rows),
        )
    if not database.is_sqlite:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE audit_log"))
    return cast.owner.workspace_id


@pytest.fixture
def work(database: Database) -> Iterator[list[int]]:
    """How much each statement took: instructions of SQLite's machine, or rows that Postgres handled."""
    taken: list[int] = []
    engine = database.engine

    def counted(connection, cursor, statement, parameters, context, executemany) -> None:  # type: ignore[no-untyped-def]
        if "audit_log" not in statement or statement.startswith("EXPLAIN"):
            return
        if database.is_sqlite:
            raw = connection.connection.driver_connection
            steps = [0]

            def step() -> int:
                steps[0] += 1
                return 0

            raw.set_progress_handler(step, 100)
            raw.execute(statement, parameters).fetchall()
            raw.set_progress_handler(None, 0)
            taken.append(steps[0] * 100)
        else:
            with connection.connection.driver_connection.cursor() as explaining:
                explaining.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters)
                taken.append(_rows(explaining.fetchone()[0][0]["Plan"]))

    event.listen(engine, "before_cursor_execute", counted)
    yield taken
    event.remove(engine, "before_cursor_execute", counted)


def _rows(plan: dict[str, Any]) -> int:
    loops: int = plan["Actual Loops"]
    own = (int(plan["Actual Rows"]) + int(plan.get("Rows Removed by Filter", 0))) * loops
    return own + sum(_rows(each) for each in plan.get("Plans", []))


FILTERS: list[dict[str, Any]] = [
    {},
    {"actions": ("rare.done",)},
    {"actions": ("rare.done", "never.done")},
    {"actions": ("common.done",)},
    {"person": COMMAND_LINE},
    {"person": "colleague"},
    {"mode": Mode.LIVE},
    {"project_id": "ours"},
    {"project_id": "ours", "mode": Mode.LIVE},
    {"until": START + timedelta(microseconds=60)},
]


def test_a_page_takes_as_many_rows_as_it_shows(
    database: Database, cast: Cast, many: str, work: list[int]
) -> None:
    named = {"colleague": cast.colleague.user_id, "ours": cast.project_id}
    for asked in FILTERS:
        work.clear()
        wanted = {key: named.get(each, each) if key != "actions" else each for key, each in asked.items()}
        with database.read() as db:
            page = entries_page(db, AuditFilter(**wanted), workspace_id=many)
            assert page.rows or wanted["person"] == COMMAND_LINE, asked
            middle = Place(older_than=f"aud_{MANY // 2:026}")
            entries_page(db, AuditFilter(**wanted), workspace_id=many, place=middle)
        # 24 ranges of at most 26 rows each, some of them handled several times; all rows would be 60,000.
        assert sum(work) / 2 < (120_000 if database.is_sqlite else 8_000), (asked, work)


def test_words_are_searched_for_in_a_part_only(database: Database, many: str) -> None:
    with database.read() as db:
        page = entries_page(db, AuditFilter(words="thing_59999"), workspace_id=many)
        assert [each.about for each in page.rows] == ["thing_59999"]
