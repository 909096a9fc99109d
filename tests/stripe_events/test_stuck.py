"""An event over which a process died is taken up by the worker within a minute, and applied once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from sqlmodel import Session, select

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import Fact
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events import receive, record
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.worker.loop import work_once
from tests.entitlements.sale import SECRET, Till
from tests.support.cast import Cast, make_connection
from tests.support.clock import START, StandingClock
from tests.support.ports import wait_until

ROOT = Path(__file__).resolve().parents[2]
DIES_BEFORE_THE_COMMIT = """
import os, signal, sys
from datetime import datetime
from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from licenzy.stripe_events.receive import apply_due_event
parts = make_runtime(load_settings())
with parts.database.write() as db:
    print(apply_due_event(db, now=datetime.fromisoformat(sys.argv[1])).status, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def till(app: Flask, runtime: Runtime, cast: Cast) -> Till:
    with runtime.database.write() as db:
        connection = make_connection(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=SECRET
        )
    return Till(app.test_client(), runtime.database, connection)


def event(till: Till) -> StripeEvent:
    with till.database.read() as db:
        return db.exec(select(StripeEvent)).one()


def test_an_event_whose_worker_was_killed_is_taken_up_within_a_minute(
    till: Till,
    runtime: Runtime,
    settings: Settings,
    clock: StandingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sale = till.sell(till.product(Kind.USAGE_PACK))

    def refuse(*_: Any, **__: Any) -> None:
        raise LookupError("not yet")

    with monkeypatch.context() as patch:
        patch.setattr(receive, "apply_event", refuse)
        assert sale.session().status is EventStatus.FAILED
    due = event(till).next_try_at
    assert due is not None
    assert due - START <= timedelta(seconds=60)
    died = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_THE_COMMIT, due.isoformat()],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")},
            "LICENZY_INSTANCE": str(settings.instance),
            "LICENZY_DATABASE_URL": settings.database_url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "applied\n"), died.stderr
    assert (event(till).status, event(till).tries, sale.held()) == (EventStatus.FAILED, 1, [])
    clock.now = START + timedelta(seconds=60)
    # Postgres notices a moment later that the process which held the row is gone.
    wait_until(lambda: work_once(runtime) > 0, seconds=10, what="the worker takes it up")
    assert (event(till).status, event(till).tries) == (EventStatus.APPLIED, 2)
    assert sale.row().granted_units == 1000
    with till.database.read() as db:
        assert len(db.exec(select(Fact)).all()) == 1


def test_an_event_that_fails_leaves_the_others_of_its_page_alone(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconciliation applies a page of missed events in one session."""
    sale, told = till.sell(till.product(Kind.SUBSCRIPTION)), list[dict[str, Any]]()
    with monkeypatch.context() as patch:
        patch.setattr(Till, "deliver", lambda _till, value: told.append(value))
        sale.session()
        sale.subscription()
    link, broken = record.link_payments, iter([True])

    def link_payments(db: Session, scope: Scope, **named: Any) -> Any:
        if next(broken, False):
            db.execute(text("SELECT nothing FROM nowhere"))
        return link(db, scope, **named)

    monkeypatch.setattr(record, "link_payments", link_payments)
    with till.database.write() as db:
        kept = [
            receive.receive(
                db, connection=till.connection, event=receive.read_payload(body), body=body, now=START
            )
            for body in (json.dumps(value).encode() for value in told)
        ]
        notes = [row.note for row in kept]
    assert [row.status for row in kept] == [EventStatus.FAILED, *[EventStatus.APPLIED] * (len(told) - 1)], (
        notes
    )
    assert len(told) > 1


def test_an_event_that_was_kept_and_never_tried_is_taken_up_within_a_minute(
    till: Till, runtime: Runtime, clock: StandingClock
) -> None:
    sale = till.sell(till.product(Kind.USAGE_PACK))
    sale.session(paid="unpaid")
    with till.database.write() as db:
        row = db.exec(select(StripeEvent)).one()
        row.status, row.tries, row.next_try_at = EventStatus.RECEIVED, 0, START + timedelta(seconds=20)
    clock.now = START + timedelta(seconds=60)
    assert work_once(runtime) == 1
    assert event(till).status is EventStatus.APPLIED
