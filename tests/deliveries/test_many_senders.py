"""Several senders share the outbox: each delivery arrives, and twice only where a sender was killed."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlmodel import col, select
from standardwebhooks import Webhook, WebhookVerificationError

from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Delivery, DeliveryStatus, OutboundEvent
from licenzy.kit.clock import utc_now
from licenzy.runtime import Runtime
from tests.deliveries.fleet import fleet
from tests.support.cast import Cast
from tests.support.endpoints import make_endpoint, tell
from tests.support.receivers import Receiver, Request, receiver
from tests.support.sizes import sizes

ENDPOINTS = 10


@contextmanager
def told(
    database: Database, runtime: Runtime, cast: Cast, events: int
) -> Iterator[tuple[Receiver, dict[str, str]]]:
    """Ten endpoints that are told of `events` each; the receiver, and the secret of each path."""
    secrets: dict[str, str] = {}
    with receiver() as hook:
        with database.write() as db:
            for number in range(ENDPOINTS):
                _endpoint, secrets[f"/{number}"] = make_endpoint(
                    db,
                    project_id=cast.project_id,
                    secret_box=runtime.secret_box,
                    url=f"http://127.0.0.1:{hook.port}/{number}",
                )
        for first in range(0, events, 500):
            with database.write() as db:
                tell(db, project_id=cast.project_id, count=min(500, events - first), now=utc_now())
        yield hook, secrets


def assert_all_arrived(database: Database, hook: Receiver, events: int) -> Counter[tuple[str, str]]:
    """Each event at each endpoint; how often each came."""
    with database.read() as db:
        ids = set(db.exec(select(OutboundEvent.id)).all())
    assert len(ids) == events
    came = Counter((request.path, request.headers["webhook-id"]) for request in hook.requests)
    assert set(came) == {(f"/{number}", event_id) for number in range(ENDPOINTS) for event_id in ids}
    return came


def assert_signed(requests: list[Request], secrets: dict[str, str]) -> None:
    """The reference library takes every one, and none of them with a byte changed."""
    chance = random.Random(7)
    for request in requests:
        known = Webhook(secrets[request.path])
        known.verify(request.body, request.headers)
        flipped = bytearray(request.body)
        flipped[chance.randrange(len(flipped))] ^= 1
        with pytest.raises(WebhookVerificationError):
            known.verify(bytes(flipped).decode("latin-1"), request.headers)


@pytest.mark.slow
@sizes("deliveries", sqlite=(5_000,), postgres=(1_000,))
def test_four_senders_make_one_try_for_each_delivery(
    database: Database, runtime: Runtime, cast: Cast, deliveries: int
) -> None:
    events = deliveries // ENDPOINTS
    with told(database, runtime, cast, events) as (hook, _secrets):
        with fleet(runtime.settings, database, size=4) as senders:
            senders.await_sent(deliveries, seconds=200)
        assert senders.tries() == (deliveries, 0)
        came = assert_all_arrived(database, hook, events)
    assert set(came.values()) == {1}


def kill_while_sending(
    database: Database, runtime: Runtime, cast: Cast, *, deliveries: int, kills: int, seconds: float
) -> None:
    events = deliveries // ENDPOINTS
    with told(database, runtime, cast, events) as (hook, secrets):
        began = time.monotonic()
        with fleet(runtime.settings, database, size=4) as senders:
            for number in range(1, kills + 1):
                # Spread over the run, so that each kill meets a sender with its hands full.
                senders.await_sent(deliveries * number // (kills + 2), seconds=seconds)
                senders.kill_one()
            senders.await_sent(deliveries, seconds=seconds)
            begun, untold = senders.tries()
        came = assert_all_arrived(database, hook, events)
        extra = sum(came.values()) - deliveries
        print(
            f"{deliveries} deliveries, {kills} kills: {untold} tries cut off, {extra} came twice, "
            f"{time.monotonic() - began:.0f} s"
        )
        assert senders.kills == kills
        assert untold >= kills, "kills that hit no try under way prove nothing"
        assert begun - untold <= deliveries + extra
        assert extra <= untold, "only what a killed sender had in its hands came twice"
        sample = hook.requests if len(hook.requests) <= 20_000 else random.sample(hook.requests, 10_000)
        assert_signed([each for each in sample if fresh(each)], secrets)
    with database.read() as db:
        unsent = select(Delivery.id).where(col(Delivery.status) != DeliveryStatus.SENT)
        assert db.exec(unsent).all() == []


def fresh(request: Request) -> bool:
    """Whether the reference library still takes its timestamp, which it compares with the clock."""
    return time.time() - int(request.headers["webhook-timestamp"]) < 290


@pytest.mark.slow
@sizes("deliveries,kills", sqlite=(10_000, 5), postgres=(1_000, 2))
def test_nothing_is_lost_when_senders_are_killed(
    database: Database, runtime: Runtime, cast: Cast, deliveries: int, kills: int
) -> None:
    kill_while_sending(database, runtime, cast, deliveries=deliveries, kills=kills, seconds=250)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nothing_is_lost_when_many_senders_are_killed(
    database: Database, runtime: Runtime, cast: Cast
) -> None:
    kill_while_sending(database, runtime, cast, deliveries=100_000, kills=50, seconds=1500)
