"""The clock of a sandbox account is followed to the furthest that its events say of it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from licenzy.connections.models import Connection, Provider
from licenzy.connections.rules import CLOCK_MOVED
from licenzy.runtime import Runtime
from tests.support.cast import Cast, make_connection
from tests.support.clock import START
from tests.support.purchases import event, signed

DAY = 86_400


def offset_after(
    client: FlaskClient,
    runtime: Runtime,
    cast: Cast,
    provider: Provider,
    known: int,
    sent: list[tuple[str, int]],
) -> int:
    """How far ahead the clock is once events of these types and seconds after START have arrived."""
    with runtime.database.write() as db:
        connection = make_connection(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            provider=provider,
            clock_offset_seconds=known,
            webhook_secret="whsec_of_the_sandbox_0123",
        )
        address = f"/v1/webhooks/stripe/{connection.id}"
    for type_, seconds in sent:
        obj = {"id": "clock_1" if type_ == CLOCK_MOVED else "cus_1"}
        value = event(type_, obj, at=START + timedelta(seconds=seconds))
        body, headers = signed(value, "whsec_of_the_sandbox_0123")
        assert client.post(address, data=body, headers=headers).status_code == 200
    with runtime.database.read() as db:
        return db.get_one(Connection, connection.id).clock_offset_seconds


MOVED, CREATED = CLOCK_MOVED, "customer.created"


@pytest.mark.parametrize(
    ("known", "sent", "ahead"),
    [
        (0, [(MOVED, 40 * DAY)], 40 * DAY),
        # What arrived late said too little; the next event corrects it, before its purchase is asked for.
        (40 * DAY - 2, [(CREATED, 40 * DAY)], 40 * DAY),
        (40 * DAY, [(CREATED, 40 * DAY - 5)], 40 * DAY),
        (0, [(MOVED, 40 * DAY), (MOVED, 10 * DAY)], 40 * DAY),
        (0, [(CREATED, 2)], 0),
    ],
    ids=["moved", "corrected", "late", "out of order", "never moved"],
)
def test_the_clock_is_followed(
    client: FlaskClient, runtime: Runtime, cast: Cast, known: int, sent: list[tuple[str, int]], ahead: int
) -> None:
    assert offset_after(client, runtime, cast, Provider.SANDBOX, known, sent) == ahead


def test_the_clock_of_an_account_at_stripe_is_ours(client: FlaskClient, runtime: Runtime, cast: Cast) -> None:
    sent = [(MOVED, 40 * DAY), (CREATED, 41 * DAY)]
    assert offset_after(client, runtime, cast, Provider.STRIPE, 0, sent) == 0
