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
from licenzy.entitlements.links import link_payments
from licenzy.entitlements.models import Fact
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events import receive, record
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.entitlements.fixtures_purchases import Storefront
from tests.support.cast import Cast, make_connection
from tests.support.clock import START, StandingClock
from tests.support.ports import wait_until
from tests.support.worker import work_once

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
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    return Storefront(app.test_client(), runtime.database, connection)


def event(storefront: Storefront) -> StripeEvent:
    with storefront.database.read() as db:
        return db.exec(select(StripeEvent)).one()


def test_an_event_whose_worker_was_killed_is_taken_up_within_a_minute(
    storefront: Storefront,
    runtime: Runtime,
    settings: Settings,
    clock: StandingClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))

    def refuse(*_: Any, **__: Any) -> None:
        raise LookupError("not yet")

    with monkeypatch.context() as patch:
        patch.setattr(receive, "apply_event", refuse)
        assert sale.session().status is EventStatus.FAILED
    due = event(storefront).next_try_at
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
    assert (event(storefront).status, event(storefront).tries, sale.entitlements()) == (
        EventStatus.FAILED,
        1,
        [],
    )
    clock.now = START + timedelta(seconds=60)
    # Postgres notices a moment later that the process which held the row is gone.
    wait_until(lambda: work_once(runtime) > 0, seconds=10, what="the worker takes it up")
    assert (event(storefront).status, event(storefront).tries) == (EventStatus.APPLIED, 2)
    assert sale.row().granted_units == 1000
    with storefront.database.read() as db:
        assert len(db.exec(select(Fact)).all()) == 1


def test_an_event_that_fails_leaves_the_others_of_its_page_alone(
    storefront: Storefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reconciliation applies a page of missed events in one session."""
    sale, told = storefront.sell(storefront.product(Kind.SUBSCRIPTION)), list[dict[str, Any]]()
    with monkeypatch.context() as patch:
        patch.setattr(Storefront, "deliver", lambda _storefront, value: told.append(value))
        sale.session()
        sale.subscription()
    broken = iter([True])

    def broken_once(db: Session, scope: Scope, **named: Any) -> Any:
        if next(broken, False):
            db.execute(text("SELECT nothing FROM nowhere"))
        return link_payments(db, scope, **named)

    monkeypatch.setattr(record, "link_payments", broken_once)
    with storefront.database.write() as db:
        kept = [
            receive.receive(
                db, connection=storefront.connection, event=receive.read_payload(body), body=body, now=START
            )
            for body in (json.dumps(value).encode() for value in told)
        ]
        notes = [row.note for row in kept]
    assert [row.status for row in kept] == [EventStatus.FAILED, *[EventStatus.APPLIED] * (len(told) - 1)], (
        notes
    )
    assert len(told) > 1


def test_an_event_that_was_kept_and_never_tried_is_taken_up_within_a_minute(
    storefront: Storefront, runtime: Runtime, clock: StandingClock
) -> None:
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))
    sale.session(paid="unpaid")
    with storefront.database.write() as db:
        row = db.exec(select(StripeEvent)).one()
        row.status, row.tries, row.next_try_at = EventStatus.RECEIVED, 0, START + timedelta(seconds=20)
    clock.now = START + timedelta(seconds=60)
    assert work_once(runtime) == 1
    assert event(storefront).status is EventStatus.APPLIED


def test_an_event_that_fails_again_and_again_waits_longer_each_time_and_is_then_parked(
    storefront: Storefront, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise LookupError("not yet")

    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))
    monkeypatch.setattr(receive, "apply_event", refuse)
    assert sale.session().status is EventStatus.FAILED
    waits = list[float]()
    while (due := event(storefront).next_try_at) is not None:
        with storefront.database.write() as db:
            assert receive.apply_due_event(db, now=due, random=lambda: 0.5) is not None
        again = event(storefront).next_try_at
        waits += [(again - due).total_seconds()] if again is not None else []
    assert waits == [40, 80, 160, 320, 640, 1280]
    assert event(storefront).tries == receive.MAX_TRIES
    assert event(storefront).parked_at is not None
