"""Every access check that is answered is counted once, on the side and in the hour it belongs to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select
from werkzeug.test import Client

from licenzy.alignment.modes import Mode
from licenzy.api import check_counter
from licenzy.api.caller import Caller
from licenzy.api.check_counter import CheckCounter
from licenzy.db.unit_of_work import Database
from licenzy.factory import make_runtime
from licenzy.kit.clock import whole_hours
from licenzy.observations.models import CheckCount
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from tests.support.cast import Cast, make_connection, make_key, make_subject
from tests.support.clock import START, StandingClock
from tests.support.ports import wait_until
from tests.support.purchases import make_entitlement

CHECK, BATCH = "/v1/access/check", "/v1/access/check-batch"
Hours = dict[tuple[str, Mode, int], tuple[int, int]]


def hours(database: Database) -> Hours:
    """Allowed and denied checks, by project, mode and hour."""
    with database.read() as db:
        rows = db.exec(select(CheckCount)).all()
    return {(row.project_id, row.mode, row.hour): (row.allowed, row.denied) for row in rows}


def wait_for(database: Database, expected: Hours) -> None:
    wait_until(lambda: hours(database) == expected, seconds=10, what="the checks are counted")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts are written at once instead of every ten seconds."""
    monkeypatch.setattr(check_counter, "PAUSE_SECONDS", 0)


@pytest.fixture
def calls(client: FlaskClient, database: Database, cast: Cast) -> dict[str, Any]:
    """What a call of the owner's test side is sent with; `user_123` may proceed there, others may not."""
    with database.write() as db:
        make_entitlement(db, subject=make_subject(db, project_id=cast.project_id))
        token = make_key(db, project_id=cast.project_id)[1]
    return {"headers": {"Authorization": f"Bearer {token}"}}


def caller(cast: Cast, at: datetime = START, mode: Mode = Mode.TEST) -> Caller:
    return Caller("key_1", Scope(cast.project_id, mode), at + timedelta(days=31), at)


def test_each_way_to_ask_is_counted(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, calls: dict[str, Any]
) -> None:
    behind = Client(partial(Flask.wsgi_app, app), app.response_class)
    for way in (client, behind):
        for ref, query in (("user_123", ""), ("user_123", "explain=true"), ("nobody", ""), ("nobody", "")):
            assert way.post(CHECK, json={"subject_ref": ref}, query_string=query, **calls).status_code == 200
    several = {"subject_refs": ["user_123", "a", "b"]}
    assert client.post(BATCH, json=several, **calls).status_code == 200
    wait_for(database, {(cast.project_id, Mode.TEST, whole_hours(START)): (5, 6)})


def test_refusals_are_no_checks(
    client: FlaskClient, database: Database, cast: Cast, calls: dict[str, Any]
) -> None:
    assert client.post(CHECK, json={"subject_ref": ""}, **calls).status_code == 400
    assert client.post(CHECK, json={"subject_ref": "u"}).status_code == 401
    assert client.post(BATCH, json={"subject_refs": []}, **calls).status_code == 400
    assert client.post(CHECK, json={"subject_ref": "u"}, **calls).status_code == 200
    wait_for(database, {(cast.project_id, Mode.TEST, whole_hours(START)): (0, 1)})


def test_calls_at_the_same_time_are_all_counted(
    app: Flask, database: Database, cast: Cast, calls: dict[str, Any]
) -> None:
    def ask(ref: str) -> None:
        client = app.test_client()
        for _call in range(10):
            assert client.post(CHECK, json={"subject_ref": ref}, **calls).status_code == 200

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, ["user_123", "nobody", "user_123", "user_123"]))
    wait_for(database, {(cast.project_id, Mode.TEST, whole_hours(START)): (30, 10)})


def test_modes_and_hours_are_kept_apart(runtime: Runtime, cast: Cast) -> None:
    context, hour = CheckCounter(runtime), whole_hours(START)
    last_moment = START.replace(minute=59, second=59, microsecond=999_999)
    for at in (START, last_moment, last_moment + timedelta(microseconds=1)):
        context.note(caller(cast, at), True)
    context.note(caller(cast, mode=Mode.LIVE), False)
    ours, live = (cast.project_id, Mode.TEST), (cast.project_id, Mode.LIVE)
    wait_for(runtime.database, {(*ours, hour): (2, 0), (*ours, hour + 1): (1, 0), (*live, hour): (0, 1)})


def test_the_hour_is_our_own_where_a_sandbox_has_moved_its_clock(
    client: FlaskClient, runtime: Runtime, cast: Cast, calls: dict[str, Any]
) -> None:
    with runtime.database.write() as db:
        make_connection(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, clock_offset_seconds=40 * 86_400
        )
    told = client.post(CHECK, json={"subject_ref": "user_123"}, **calls).get_json()
    assert told["allowed"] is False, "the month that was bought is over there"
    wait_for(runtime.database, {(cast.project_id, Mode.TEST, whole_hours(START)): (0, 1)})


def test_what_could_not_be_written_is_written_with_the_next(
    runtime: Runtime, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = check_counter.count_checks, iter([True, True])

    def failing(*args: Any, **counted: Any) -> None:
        real(*args, **counted)
        if next(failures, False):
            raise ConnectionError("the database went away")

    monkeypatch.setattr(check_counter, "count_checks", failing)
    context = CheckCounter(runtime)
    for _check in range(50):
        context.note(caller(cast), True)
    wait_for(runtime.database, {(cast.project_id, Mode.TEST, whole_hours(START)): (50, 0)})
    assert next(failures, False) is False, "both writes have failed"


def test_closing_writes_what_waits(
    runtime: Runtime,
    settings: Settings,
    cast: Cast,
    clock: StandingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check_counter, "PAUSE_SECONDS", 10)
    context = CheckCounter(runtime)
    context.note(caller(cast), True)
    hour = (cast.project_id, Mode.TEST, whole_hours(START))
    wait_for(runtime.database, {hour: (1, 0)})
    for _check in range(5):
        context.note(caller(cast), False)
    assert hours(runtime.database) == {hour: (1, 0)}, "the next write is ten seconds away"
    runtime.database.close()
    again = make_runtime(settings, clock)
    assert hours(again.database) == {hour: (1, 5)}
    again.database.close()
