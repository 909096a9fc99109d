"""What other products on the same Stripe account give off: acknowledged, kept, granting nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.rules import REQUIRED_EVENTS
from licenzy.entitlements.models import Entitlement
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, SettlingRead, StripeEvent
from tests.entitlements.fixtures_purchases import Sale, Storefront
from tests.properties.fixtures_projection import as_sold, live
from tests.properties.histories.life import Names
from tests.properties.test_histories import SEED
from tests.support.cast import Cast, make_connection
from tests.support.payloads import events as payload_events
from tests.support.purchases import event, session_object
from tests.support.sizes import sizes

OTHERS = ("payout.paid", "customer.created", "radar.early_fraud_warning.created", "v2.core.made_up", "x")


@pytest.fixture
def storefront(app: Flask, runtime: Runtime, cast: Cast) -> Storefront:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    return Storefront(app.test_client(), runtime.database, connection)


def foreign(storefront: Storefront, sale: Sale) -> Iterator[dict[str, Any]]:
    """Others' purchases, payloads of every shape, sessions that sell nothing, and types nobody knows."""
    chance = random.Random(f"foreign {SEED}")
    for number in range(1_000_000):
        kind = chance.choice(("subscription", "usage_pack", "time_pass"))
        ids = (f"their_{number}", f"att_theirs_{number}", f"cs_theirs_{number}")
        names = Names(*ids, ("price_t", "price_u"), 1)
        yield from live(chance, names, as_sold(kind, "price_theirs"), spread=True).events
        yield event(chance.choice(OTHERS), {"id": f"obj_{number}", "object": "thing"})
        setup = session_object(sale.attempt, id=f"cs_setup_{number}", mode="setup", subscription=None)
        setup |= {"payment_status": "no_payment_required", "payment_intent": None, "amount_total": None}
        yield event("checkout.session.completed", setup)
        if number == 0:
            for count, (_, raw) in enumerate(payload_events()):
                if "id" in (obj := raw["data"]["object"]):
                    data = {**raw["data"], "object": {**obj, "id": f"{obj['id']}_{count}"}}
                    yield {**raw, "id": f"evt_payload_{count}", "data": data}


@sizes("count", sqlite=(1_000,), postgres=(300,))
def test_1000_foreign_events_are_acknowledged_and_grant_nothing(storefront: Storefront, count: int) -> None:
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK, stripe_price_id="price_ours"))
    told: Counter[str] = Counter()
    for value in foreign(storefront, sale):
        storefront.deliver(value)  # Asserts the 200.
        told[value["type"]] += 1
        if told.total() == count:
            break
    assert len(set(told) & set(REQUIRED_EVENTS)) >= 12, "too few types: the test proves little"
    with storefront.database.read() as db:
        assert db.exec(select(Entitlement)).all() == []
        statuses = Counter(db.exec(select(StripeEvent.status)).all())
        assert set(statuses) <= {EventStatus.IGNORED, EventStatus.APPLIED}
        # Refunds and disputes of a payment that is not known yet may be of a purchase of ours: they wait.
        applied = db.exec(select(StripeEvent.note).where(StripeEvent.status == EventStatus.APPLIED)).all()
        assert set(applied) == {"Stored until the purchase of its payment is known."}
        assert statuses[EventStatus.IGNORED] >= count // 2
        assert db.exec(select(CheckoutAttempt.status)).one() is AttemptStatus.OPEN
        reads = [row.object_id for row in db.exec(select(SettlingRead)).all()]
        assert not any(each.startswith("sub_") for each in reads), "others' subscriptions are left alone"
    assert sale.session().status is EventStatus.APPLIED
    assert sale.row().granted_units == 1000
