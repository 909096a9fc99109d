"""SQLite looks rows up by all that an index offers, whatever the tables hold."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event as listening
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.hotpath import consume_sql, snapshot
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from licenzy.usage.queries import owned_by_refs
from tests.entitlements.fixtures_purchases import MONTH, Storefront
from tests.house.test_keys import KEYED
from tests.portal.filled_side import fill_side
from tests.support.cast import Cast, make_key
from tests.support.clock import START
from tests.support.visits import visiting
from tests.support.worker import work_once
from tests.usage.buying import RESERVE

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PREFIX = re.compile(
    r"^(?:SCAN (\w+)|SEARCH (\w+) USING (?!INDEX ix_\w+_with_).*\(project_id=\?(?: AND mode=\?)?\)$)"
)
"""By nothing but the side; an index `…_with_…` holds only the few rows that are asked for."""
LISTS = re.compile(r"ORDER BY \w+\.(id|created_at) DESC.* LIMIT|^SELECT count\(|GROUP BY")
"""What is shown page by page, and what is counted or summed, reads the rows of a side in their order."""
FEW_ROWS = {
    "imports",
    "lab_steps",
    "price_backfills",
    "products",
    "project_sides",
    "resolved_findings",
    "sightings",
}
"""Tables with a row for each click, import, product, price, finding or day, which are read whole."""


@pytest.fixture
def statements(database: Database) -> Iterator[dict[str, Any]]:
    """What is asked of the database, each with one set of values."""
    asked: dict[str, Any] = {}

    def note(
        _connection: Any, _cursor: Any, statement: str, values: Any, _context: Any, executemany: bool
    ) -> None:
        asked.setdefault(statement, values[0] if executemany else values)

    listening.listen(database.engine, "before_cursor_execute", note)
    yield asked
    listening.remove(database.engine, "before_cursor_execute", note)


def walks(database: Database, asked: dict[str, Any]) -> list[str]:
    """The statements that read more of a table than their answer needs."""
    keyed = {table.name for table in KEYED} - FEW_ROWS
    found = []
    with sqlite3.connect(Path(str(database.engine.url.database))) as file:
        for statement, values in asked.items():
            line = " ".join(statement.split())
            if not line.startswith(("SELECT", "UPDATE", "DELETE")) or LISTS.search(line):
                continue
            for *_, step in file.execute(f"EXPLAIN QUERY PLAN {statement}", values):
                match = PREFIX.match(step)
                if match and (match[1] or match[2]) in keyed:
                    found.append(f"{step}: {line}")
    file.close()
    return found


def test_what_pages_and_events_ask_goes_by_whole_keys(
    app: Flask, runtime: Runtime, cast: Cast, statements: dict[str, Any]
) -> None:
    paths = fill_side(runtime, cast)
    owner = visiting(app, cast.owner.email)
    for path in ("", "/customers", "/deliveries", "/events", "/untracked", "/alignment", *paths):
        assert owner.get(f"/projects/{cast.project_id}/test{path}").status_code < 400, path
    scope = Scope(cast.project_id, Mode.TEST)
    with runtime.database.write() as db:
        connection = db.exec(select(Connection)).one()
        _key, token = make_key(db, project_id=cast.project_id)
    storefront = Storefront(app.test_client(), runtime.database, connection)
    pack = storefront.sell(storefront.product(Kind.USAGE_PACK))
    pack.session()
    sale = storefront.sell(storefront.product(Kind.SUBSCRIPTION)).subscribed()
    sale.subscription("active", period=2, at=START + MONTH)
    sale.refund()
    with runtime.database.read() as db:
        ref = db.exec(select(Subject).where(Subject.id == pack.attempt.subject_id)).one().subject_ref
        assert owned_by_refs(db, scope, subject_refs=[ref, "nobody"], now=START)
    calls = app.test_client()
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "one"}
    reserved = calls.post(RESERVE, json={"subject_ref": ref, "units": 2, "ttl_seconds": 60}, headers=headers)
    assert reserved.status_code == 201, reserved.text
    calls.post(
        f"/v1/usage/reservations/{reserved.get_json()['reservation_id']}/commit",
        json={"units": 1},
        headers=headers,
    )
    calls.post(
        RESERVE,
        json={"subject_ref": ref, "units": 2, "ttl_seconds": 60},
        headers={**headers, "Idempotency-Key": "two"},
    )
    work_once(runtime)
    assert len(statements) > 180
    assert walks(runtime.database, statements) == []


@pytest.mark.parametrize(
    "statement",
    [
        snapshot.SQLITE_STATEMENT,
        consume_sql._SQLITE_READ,
        consume_sql._SQLITE_EXPIRED,
        consume_sql._SQLITE_DRAW,
    ],
)
def test_a_check_and_a_consume_read_one_key_of_each_table(database: Database, statement: str) -> None:
    values = ("a", "b") if "?1" in statement else ("a",) * statement.count("?")
    assert walks(database, {statement: values}) == []


def test_without_statistics_a_walk_is_found(database: Database, statements: dict[str, Any]) -> None:
    with database.write() as db:
        db.connection().exec_driver_sql("DELETE FROM sqlite_stat1")
    with database.read() as db:
        owned_by_refs(db, Scope("p", Mode.TEST), subject_refs=list("abcdef"), now=START)
    assert len(walks(database, statements)) == 1
