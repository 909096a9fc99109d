"""One receiver's trouble is its own: a hanging one delays nobody, one that was down gets everything."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from sqlalchemy import func
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.deliveries import rules
from licenzy.deliveries.models import Delivery, DeliveryAttempt, DeliveryStatus
from licenzy.deliveries.sending import Sender
from licenzy.kit.clock import utc_now
from licenzy.kit.outbound_http import OutboundHttp
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from tests.support.cast import Cast
from tests.support.clock import StandingClock
from tests.support.endpoints import enqueue_events, make_endpoint
from tests.support.receivers import Request, answering, receiver, status
from tests.support.sending import drain
from tests.support.sizes import sizes
from tests.support.threads import join

OTHERS = 49


@pytest.mark.slow
@sizes("rounds", sqlite=(12,), postgres=(6,), soak=(24,))
def test_one_of_fifty_hangs_and_the_others_do_not_notice(
    database: Database, runtime: Runtime, cast: Cast, rounds: int
) -> None:
    arrived: dict[str, float] = {}
    written: dict[int, float] = {}
    with ExitStack() as stack:
        hanging = stack.enter_context(receiver(lambda sock, _request: time.sleep(30)))
        hook = stack.enter_context(receiver())
        quick = hook.answer

        def note_and_answer(sock: socket.socket, request: Request) -> None:
            arrived.setdefault(f"{request.path} {json.loads(request.body)['data']['units']}", time.time())
            quick(sock, request)

        hook.answer = note_and_answer
        with database.write() as db:
            for number in range(OTHERS):
                url = f"http://127.0.0.1:{hook.port}/{number}"
                make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box, url=url)
            make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box, url=hanging.url)
        sender = Sender(database, runtime.secret_box, OutboundHttp(private_allowed=True), clock=utc_now)
        stop = threading.Event()
        thread = threading.Thread(target=sender.run, args=(stop,))
        thread.start()
        for number in range(rounds):
            with database.write() as db:
                enqueue_one_event(db, cast.project_id, number)
            written[number] = time.time()
            time.sleep(1)
        time.sleep(1)
        stop.set()
        # A sender stops although a receiver hangs.
        join(thread, seconds=10)
    took = sorted(
        arrived.get(f"/{endpoint} {number}", float("inf")) - written[number]
        for endpoint in range(OTHERS)
        for number in range(rounds)
    )
    p95 = took[int(len(took) * 0.95)]
    print(
        f"{len(took)} deliveries beside a hanging receiver: p50 {took[len(took) // 2]:.2f} s, p95 {p95:.2f} s"
    )
    assert took[-1] < float("inf")
    assert p95 < 2
    assert hanging.connections >= 2


def enqueue_one_event(db: object, project_id: str, number: int) -> None:
    from licenzy.alignment.modes import Mode
    from licenzy.deliveries.models import EventType, Source
    from licenzy.deliveries.outbox import announce
    from licenzy.deliveries.rules import Data, EventDraft

    happened = [
        EventDraft(EventType.ENTITLEMENT_UPDATED, Source.PORTAL, "manual_grant", None, Data(units=number))
    ]
    announce(db, Scope(project_id, Mode.TEST), drafts=lambda: happened, now=utc_now())  # type: ignore[arg-type]


@pytest.mark.slow
def test_who_was_down_for_a_day_gets_everything_on_schedule(
    database: Database, runtime: Runtime, cast: Cast, clock: StandingClock, sender: Sender
) -> None:
    count = 24
    with receiver(answering(b"")) as hook:
        with database.write() as db:
            make_endpoint(
                db, project_id=cast.project_id, secret_box=runtime.secret_box, url=hook.url, now=clock()
            )
        began = clock()
        up_at = began + timedelta(hours=24)
        for hour in range(count):
            move(database, clock, sender, began + timedelta(hours=hour))
            with database.write() as db:
                enqueue_events(db, project_id=cast.project_id, now=clock())
        move(database, clock, sender, up_at)
        refused = len(hook.requests)
        assert refused >= count * 3
        hook.answer = status(200)
        move(database, clock, sender, up_at + timedelta(hours=30))
        came = [request.headers["webhook-id"] for request in hook.requests[refused:]]
    assert len(came) == len(set(came)) == count
    with database.read() as db:
        rows = db.exec(select(Delivery)).all()
        assert {row.status for row in rows} == {DeliveryStatus.SENT}
        for row in rows:
            begun = db.exec(
                select(DeliveryAttempt.began_at)
                .where(DeliveryAttempt.delivery_id == row.id)
                .order_by(col(DeliveryAttempt.number))
            ).all()
            assert_on_schedule(row.created_at, list(begun))


def move(database: Database, clock: StandingClock, sender: Sender, until: datetime) -> None:
    """Let time pass, stopping at each instant at which something is due."""
    while True:
        drain(sender)
        with database.read() as db:
            due = db.exec(select(func.min(col(Delivery.next_try_at)))).one()
        if due is None or due > until:
            clock.now = max(until, clock.now)
            return
        clock.now = max(due, clock.now)


def assert_on_schedule(written_at: datetime, begun: list[datetime]) -> None:
    assert begun[0] - written_at < timedelta(minutes=1)
    for number, (one, other) in enumerate(pairwise(begun)):
        wanted = rules.DELAYS[number]
        assert abs((other - one) - wanted) <= 0.2 * wanted, f"try {number + 2} after {other - one}"
