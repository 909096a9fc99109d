"""`licenzy audit`: for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from licenzy.alignment.modes import Mode
from licenzy.archiving.actions import archive_project
from licenzy.db.unit_of_work import Database
from licenzy.workspace.audit import Actor, record
from tests.cli.test_commands import run  # noqa: F401
from tests.support.cast import Cast
from tests.support.clock import START

if TYPE_CHECKING:
    from tests.cli.test_commands import Run


@pytest.fixture
def logged(database: Database, cast: Cast) -> Cast:
    with database.write() as db:
        for about, mode in (("first", Mode.TEST), ("second", Mode.LIVE)):
            record(
                db,
                actor=Actor(cast.owner.user_id, "192.0.2.1"),
                action="product.created",
                about=about,
                project_id=cast.project_id,
                mode=mode,
                now=START,
            )
        record(db, actor=Actor(), action="password.reset", about=cast.owner.user_id, now=START)
        record(
            db,
            actor=Actor(),
            action="project.renamed",
            about="theirs",
            project_id=cast.stranger.project_id,
            now=START,
        )
    return cast


def abouts(run: Run, *arguments: str) -> list[str]:  # noqa: F811
    result = run("audit", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line)["about"] for line in result.stdout.splitlines()]


def test_a_program_reads_one_object_a_line(run: Run, logged: Cast) -> None:  # noqa: F811
    assert abouts(run) == [logged.owner.user_id, "second", "first"]
    assert abouts(run, "--limit", "1") == [logged.owner.user_id]
    assert abouts(run, "--project", logged.project_id) == ["second", "first"]
    assert abouts(run, "--mode", "test") == ["first"]
    assert abouts(run, "--action", "password.reset") == [logged.owner.user_id]
    assert abouts(run, "--since", "2026-11-24") == []
    assert len(abouts(run, "--since", "2026-11-23", "--until", "2026-11-23")) == 3
    assert len(abouts(run, "--since", "0001-01-01", "--until", "9999-12-31")) == 3
    assert abouts(run, "--workspace", logged.stranger.workspace_id) == ["theirs"]


def test_a_person_reads_words(run: Run, logged: Cast) -> None:  # noqa: F811
    shown = run("audit").output
    assert "2026-11-23 09:30:00  Owner from 192.0.2.1  Created a product  second  live" in shown
    assert "Command line  Reset a password" in shown
    assert "no such entry" in run("audit", "--since", "2027-01-01").output
    refused = run("audit", "--workspace", "wsp_none")
    assert refused.exit_code == 1
    assert "This workspace does not exist." in refused.output


def test_the_log_of_an_archived_project_is_read(
    run: Run,  # noqa: F811
    database: Database,
    logged: Cast,
) -> None:
    with database.write() as db:
        archive_project(db, actor=Actor(), project_id=logged.project_id, now=START)
    shown = abouts(run, "--project", logged.project_id, "--limit", "99999999999999999999")
    assert shown == [logged.project_id, "second", "first"]
