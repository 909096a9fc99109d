"""No endpoint's backlog keeps another one waiting, be the others quick or broken."""

from __future__ import annotations

import socket
import threading

import pytest

from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import EventType
from licenzy.deliveries.sending import Sender
from licenzy.kit.outbound_http import OutboundHttp
from licenzy.runtime import Runtime
from tests.support.cast import Cast
from tests.support.endpoints import make_endpoint, tell
from tests.support.receivers import Request, receiver, status

BACKLOG = 40
OTHERS = 20


@pytest.mark.parametrize("code", [200, 500])
def test_a_backlog_elsewhere_keeps_nobody_waiting(
    database: Database, runtime: Runtime, cast: Cast, code: int
) -> None:
    """Mine has failed once, and has something due when there is much to send to all the others."""
    sent_before: list[int] = []
    stop = threading.Event()
    with receiver(status(code)) as hook, receiver(status(500)) as mine:
        sender = Sender(
            database, runtime.secret_box, OutboundHttp(private_allowed=True), clock=runtime.clock, threads=16
        )

        def make(url: str, event_type: EventType) -> None:
            with database.write() as db:
                make_endpoint(
                    db,
                    project_id=cast.project_id,
                    secret_box=runtime.secret_box,
                    url=url,
                    types=[event_type.value],
                )

        def happen(event_type: EventType, count: int) -> None:
            with database.write() as db:
                tell(db, project_id=cast.project_id, event_type=event_type, count=count, now=runtime.clock())

        def it_came(sock: socket.socket, request: Request) -> None:
            sent_before.append(len(hook.requests))
            stop.set()
            status(200)(sock, request)

        for number in range(OTHERS):
            make(f"http://127.0.0.1:{hook.port}/{number}", EventType.USAGE_CONSUMED)
        make(mine.url, EventType.USAGE_LOW)
        happen(EventType.USAGE_LOW, 1)
        happen(EventType.USAGE_CONSUMED, 1)
        sender.drain()
        mine.answer = it_came
        happen(EventType.USAGE_CONSUMED, BACKLOG)
        happen(EventType.USAGE_LOW, 1)
        sender.run(stop)
    assert sent_before, "it came"
    assert sent_before[0] - OTHERS < OTHERS * BACKLOG // 4
