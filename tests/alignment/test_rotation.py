"""Credentials replaced under traffic: no checkout fails and no event is lost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from licenzy.stripe_events.queries import event_by_id
from tests.alignment.fixtures_alignment import ModePair

_ROUNDS = 12


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_key_and_secret_are_replaced_without_a_lost_event_or_a_failed_checkout(pair: ModePair) -> None:
    side = pair.test
    side.align()
    secrets = [side.secret()]
    stop = threading.Event()
    checkouts: list[int] = []
    delivered: dict[str, int] = {}

    def sell() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            checkouts.append(side.checkout(key=f"order-{number}").status_code)

    def deliver_events() -> None:
        template, number = side.account.event(), 0
        while not stop.is_set():
            number += 1
            # Stripe signs with whichever secret it has: the old one for as long as it lives.
            event = {**template, "id": f"evt_rotation_{number}"}
            delivered[event["id"]] = side.deliver(event, secret=secrets[number % len(secrets)])

    threads = [threading.Thread(target=each) for each in (sell, deliver_events)]
    for thread in threads:
        thread.start()
    for _round in range(_ROUNDS):
        side.connect(side.account.restricted())  # Another key of the same account.
        # The endpoint of the secret before the last has long been deleted: Stripe signs with it no more.
        secrets[:] = secrets[-1:]
        _wait_for_deliveries(delivered, len(delivered) + 2)
        side.set_up_webhook(rotate=True)
        secrets[:] = [secrets[-1], side.secret()]
        _wait_for_deliveries(delivered, len(delivered) + 4)
    stop.set()
    for thread in threads:
        thread.join()
    assert len(checkouts) >= _ROUNDS
    assert set(checkouts) == {201}
    assert len(delivered) >= 4 * _ROUNDS
    assert set(delivered.values()) == {200}
    with pair.runtime.database.read() as db:
        assert all(event_by_id(db, side.scope, event_id=event_id) for event_id in delivered)


def _wait_for_deliveries(delivered: dict[str, Any], wanted: int) -> None:
    from tests.support.ports import wait_until

    wait_until(lambda: len(delivered) >= wanted, seconds=20, what=f"{wanted} events are delivered")
