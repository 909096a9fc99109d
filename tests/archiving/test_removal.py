"""Of a deleted project nothing remains but the audit log, however often its removal is interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, func, select

from licenzy.archiving import removal
from licenzy.archiving.actions import archive_project, delete_project
from licenzy.archiving.removal import owned_rows, remove_next
from licenzy.db.engine import make_engine
from licenzy.db.tables import Table as Model
from licenzy.db.unit_of_work import Database
from licenzy.projects.models import Project
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from tests.archiving.every_table import fill_every_table, mentions
from tests.support.cast import Cast, make_project
from tests.support.clock import START
from tests.support.worker import work_once


@pytest.fixture
def filled(database: Database, cast: Cast) -> str:
    """A project with rows in every table beside the cast's own, which have such rows too."""
    with database.write() as db:
        gone = make_project(db, workspace_id=cast.owner.workspace_id, name="Gone soon")
        fill_every_table(db, project_id=gone)
        fill_every_table(db, project_id=cast.project_id)
        fill_every_table(db, project_id=cast.stranger.project_id)
    return gone


def delete(database: Database, project_id: str) -> None:
    with database.write() as db:
        archive_project(db, actor=Actor(), project_id=project_id, now=START)
    with database.write() as db:
        delete_project(db, actor=Actor(), project_id=project_id, now=START)


def counts(database: Database, *, without: str) -> dict[str, int]:
    """The rows of every table but those that name the project."""
    with database.read() as db:
        every = {
            table.name: db.connection().execute(select(func.count()).select_from(table)).scalar_one()
            for table in Model.metadata.sorted_tables
            if table.name != "audit_log"
        }
        own = mentions(db, without)
    return {name: number - own.get(name, 0) for name, number in every.items()}


def remove_all(database: Database) -> None:
    while remove_next(database):
        pass


def everywhere(database: Database, text: str) -> dict[str, int]:
    with database.read() as db:
        return mentions(db, text)


def test_every_table_that_leads_to_a_project_is_filled_and_emptied(database: Database, cast: Cast) -> None:
    with database.write() as db:
        filled = fill_every_table(db, project_id=cast.project_id)
    assert set(everywhere(database, cast.project_id)) == filled | {"projects"}
    owned = {
        table.name for table in Model.metadata.sorted_tables if owned_rows(table, cast.project_id) is not None
    }
    assert owned - {"audit_log"} == filled - {"account_paces"}


def test_nothing_of_a_deleted_project_remains(database: Database, cast: Cast, filled: str) -> None:
    others = counts(database, without=filled)
    assert len(everywhere(database, filled)) > 40
    delete(database, filled)
    remove_all(database)
    assert set(everywhere(database, filled)) == {"audit_log"}
    assert counts(database, without=filled) == others


def test_nothing_is_removed_of_projects_that_are_not_deleted(
    database: Database, cast: Cast, filled: str
) -> None:
    before = counts(database, without="nobody")
    with database.write() as db:
        archive_project(db, actor=Actor(), project_id=filled, now=START)
    assert not remove_next(database)
    assert counts(database, without="nobody") == before


@contextmanager
def dying_at(database: Database, statement: int) -> Iterator[None]:
    """The database as one whose client is gone at its n-th deletion: what was not committed is undone."""
    seen = 0

    def count(_connection: Any, _cursor: Any, sql: str, *_more: Any) -> None:
        nonlocal seen
        seen += sql.startswith("DELETE")
        if seen == statement:
            raise KeyboardInterrupt

    event.listen(database.engine, "before_cursor_execute", count)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", count)


def test_a_removal_goes_on_after_it_was_killed(
    database: Database, database_url: str, cast: Cast, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "AT_ONCE", 7)
    others = counts(database, without=filled)
    delete(database, filled)
    left = []
    for statement in (1, 3, 9, 20):
        with pytest.raises(KeyboardInterrupt), dying_at(database, statement):
            remove_all(database)
        left.append(sum(everywhere(database, filled).values()))
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1] > 0
    # Another process takes over.
    successor = Database(make_engine(database_url))
    remove_all(successor)
    successor.close()
    assert set(everywhere(database, filled)) == {"audit_log"}
    assert counts(database, without=filled) == others


def test_one_transaction_removes_a_few_rows(
    database: Database, cast: Cast, filled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "AT_ONCE", 5)
    delete(database, filled)
    before = sum(everywhere(database, filled).values())
    assert remove_next(database)
    assert sum(everywhere(database, filled).values()) == before - 5


def test_the_worker_removes_what_was_deleted(runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        gone = make_project(db, workspace_id=cast.owner.workspace_id, name="Gone soon")
    delete(runtime.database, gone)
    work_once(runtime)
    with runtime.database.read() as db:
        assert db.get(Project, gone) is None
        assert db.get(Project, cast.project_id) is not None
