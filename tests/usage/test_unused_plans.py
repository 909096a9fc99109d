"""Plans of a year with units of every month cost nothing until they are used: no row, no job, no write.

The work of every job, and of the first call that uses a plan, is the same however many plans there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, inspect, literal_column, select, table, text

from licenzy.db.tables import Table
from licenzy.db.unit_of_work import Database
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Entitlement, Purchase
from licenzy.factory import create_app
from licenzy.kit.clock import from_unix
from licenzy.subjects.models import Subject
from licenzy.worker.loop import JOBS, make_sender
from tests.conftest import make_settings
from tests.support.cast import make_cast
from tests.support.clock import StandingClock
from tests.support.databases import PostgresServer, SqliteFiles
from tests.support.endpoints import make_endpoint
from tests.support.included_units import ANCHOR, of_year, record
from tests.support.sending import drain
from tests.support.statements import Statements, statements_sent, tables_written
from tests.usage.buying import Customer, consume, customer_with, post

Opened = Callable[[str], AbstractContextManager[str]]

_MONTHS = 11
_FEW = 1_000
_AT_A_TIME = 100_000


@dataclass(frozen=True)
class Work:
    """The statements that an installation ran."""

    in_months: list[str]
    """By all jobs, while nobody used a plan."""
    of_calls: dict[str, list[str]]
    """By each call about a plan that was never used before, in the order of the calls."""


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Gives the address of an empty database for each name."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return lambda _name: server.lent()
    files: SqliteFiles = request.getfixturevalue("sqlite_files")

    @contextmanager
    def made(name: str) -> Iterator[str]:
        (tmp_path / name).mkdir()
        yield files.fresh(tmp_path / name)

    return made


@pytest.mark.parametrize("many", [3 * _FEW, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_plans_cost_nothing_until_they_are_used(opened: Opened, tmp_path: Path, many: int) -> None:
    works = []
    for plans in (_FEW, many):
        with opened(str(plans)) as url:
            works.append(_work(url, tmp_path / f"instance-{plans}", plans))
    few, more = works
    assert tables_written(few.in_months) == []
    assert more.in_months == few.in_months
    assert len(few.in_months) >= _MONTHS * len(JOBS)
    assert more.of_calls == few.of_calls
    written = {name: tables_written(statements) for name, statements in few.of_calls.items()}
    assert written.pop("consume").count("usage_windows") == 2  # It is opened, then drawn.
    assert set(map(len, written.values())) == {0}
    calls = {name: len(statements) for name, statements in few.of_calls.items()}
    print(f"{many} plans: {len(few.in_months)} statements in {_MONTHS} months; {calls}")


def _work(url: str, instance: Path, plans: int) -> Work:
    """Have that many plans for most of a year, then use two of them."""
    clock = StandingClock(from_unix(ANCHOR + 60))
    with statements_sent() as sent:
        app = create_app(make_settings(instance, url), clock=clock)
        parts = app.extensions["licenzy"]
        database: Database = parts.database
        try:
            holder = _sell(database, plans, clock)
            with database.write() as db:
                make_endpoint(db, project_id=holder.subject.project_id, secret_box=parts.secret_box)
            rows = _rows(database)
            assert rows["entitlements"] == plans
            assert rows["usage_windows"] == 0
            in_months = _pass_months(parts, clock, sent)
            assert _rows(database) == rows
            client = app.test_client()
            of_calls: dict[str, list[str]] = {}
            # Of the first one a process learns the key and what else it remembers.
            for plan in (1, 2):
                of_calls = _use(client, holder, f"plan_{plan}", sent)
                assert _rows(database)["usage_windows"] == plan
        finally:
            database.close()
    return Work(in_months, of_calls)


def _pass_months(parts: Any, clock: StandingClock, sent: Statements) -> list[str]:
    """The statements of all jobs, run in each month."""
    sent.taken()
    for _month in range(_MONTHS):
        clock.now += timedelta(days=30, hours=10)
        for job in JOBS.values():
            job(parts)
        assert drain(make_sender(parts)) == 0
    return sent.taken()


def _use(client: FlaskClient, holder: Customer, ref: str, sent: Statements) -> dict[str, list[str]]:
    """The statements of each call about one plan. All is left before the first unit is used."""
    of_calls: dict[str, list[str]] = {}
    check = "/v1/access/check"

    def answered(name: str, answer: Any) -> Any:
        assert answer.status_code == 200, answer.json
        of_calls[name] = sent.taken()
        return answer.json

    sent.taken()
    assert answered("check", post(client, holder, check, {"subject_ref": ref}))["allowed"] is True
    units = {"subject_ref": ref, "unit": "images", "units": 1000}
    assert answered("check units", post(client, holder, check, units))["allowed"] is True
    shown = answered("access", client.get(f"/v1/customer/access/{ref}", headers=holder.headers))
    assert shown["balances"]["images"]["remaining"] == 1000
    left = answered("consume", consume(client, holder, 3, ref=ref, unit="images"))["usage_remaining"]
    assert left == 997
    units["units"] = 998
    assert answered("check again", post(client, holder, check, units))["allowed"] is False
    return of_calls


def _sell(database: Database, plans: int, clock: StandingClock) -> Customer:
    """A customer with a plan as its facts give it, and others with the same, written by the database."""
    with database.write() as db:
        cast = make_cast(db, now=clock())
    holder = customer_with(database, cast, ref="plan_0")
    with database.write() as db:
        record(db, holder.subject, of_year(), now=clock())
    wide = "printf('%026d', n)" if database.is_sqlite else "lpad(n::text, 26, '0')"
    subject_id, key = f"'sbj_' || {wide}", "'sub_plan_' || n"
    copies: list[tuple[type[Table], dict[str, str]]] = [
        (Subject, {"id": subject_id, "subject_ref": "'plan_' || n", "search_text": "'plan_' || n"}),
        (Purchase, {"key": key, "subject_id": subject_id}),
        (
            Entitlement,
            {"id": f"'ent_' || {wide}", "subject_id": subject_id, "purchase_key": key},
        ),
    ]
    for model, columns in copies:
        for first in range(1, plans, _AT_A_TIME):
            _copy(database, model, columns, first, min(first + _AT_A_TIME, plans))
    with database.write() as db:
        db.execute(text("ANALYZE"))
    return holder


def _copy(database: Database, model: type[Table], columns: dict[str, str], first: int, end: int) -> None:
    """Write the one row of a table once more for each number, with other values in some columns."""
    numbers = (
        f"(WITH RECURSIVE s(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM s WHERE n + 1 < {end}) "
        "SELECT n FROM s)"
        if database.is_sqlite
        else f"(SELECT n FROM generate_series({first}, {end - 1}) AS n)"
    )
    copied = table_of(model)
    names = [column.name for column in copied.columns]
    values = ", ".join(columns.get(name, f"one.{name}") for name in names)
    key = next(iter(columns))
    one = f"(SELECT * FROM {copied.name} ORDER BY created_at, {key} DESC LIMIT 1)"
    with database.write() as db:
        db.execute(
            text(
                f"INSERT INTO {copied.name} ({', '.join(names)}) "
                f"SELECT {values} FROM {one} AS one, {numbers} AS numbers"
            )
        )


def _rows(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as db:
        names = inspect(db.connection()).get_table_names()
        return {
            name: db.execute(select(func.count(literal_column("*"))).select_from(table(name))).scalar_one()
            for name in names
        }
