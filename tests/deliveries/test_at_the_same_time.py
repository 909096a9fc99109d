"""Operators ask for a great many deliveries again while senders work: nobody has to give way."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.actions import EndpointContext, delete_endpoint
from licenzy.deliveries.claims import DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import Delivery, DeliveryAttempt, DeliveryStatus
from licenzy.deliveries.outbox import requeue
from licenzy.kit.clock import utc_now
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast
from tests.support.endpoints import make_endpoint, tell

SECONDS = 5.0


@pytest.mark.slow
def test_operators_and_senders_do_not_wait_for_each_other_in_a_circle(
    database: Database, runtime: Runtime, cast: Cast
) -> None:
    with database.write() as db:
        made = [
            make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box)[0].id
            for _ in range(8)
        ]
    for _ in range(4):
        with database.write() as db:
            tell(db, project_id=cast.project_id, count=100, now=utc_now())
    until = time.monotonic() + SECONDS
    troubles: list[Exception] = []
    made_again: list[int] = []

    def repeat(once: Callable[[], None]) -> None:
        while time.monotonic() < until and not troubles:
            try:
                once()
            except Exception as error:
                troubles.append(error)

    def send() -> None:
        told: list[DeliveryOutcome] = []

        for _ in range(10):
            with database.write() as db:
                record_outcomes(db, told, now=utc_now())
                claims = claim_due(db, room=dict.fromkeys(made, 8), now=utc_now())
            told = [DeliveryOutcome(each, utc_now(), 1, status=random.choice([200, 500])) for each in claims]
        with database.write() as db:
            record_outcomes(db, told, now=utc_now())

    def ask_again() -> None:
        with database.write() as db:
            context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), utc_now())
            made_again.append(requeue(db, context, statuses=DeliveryStatus))

    def delete_one() -> None:
        time.sleep(SECONDS / 10)
        if len(made) > 4:
            with database.write() as db:
                context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), utc_now())
                delete_endpoint(db, context, endpoint_id=made.pop())

    jobs = [send] * 3 + [ask_again] * 2 + [delete_one]
    threads = [threading.Thread(target=repeat, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    with database.read() as db:
        assert len(db.exec(select(DeliveryAttempt)).all()) > 300, "senders have worked"
        gone = select(Delivery.status).where(col(Delivery.endpoint_id).not_in(made))
        assert DeliveryStatus.FAILED not in db.exec(gone).all(), "nothing is due where the endpoint is gone"
    assert sum(made_again) > 300, "and operators"
