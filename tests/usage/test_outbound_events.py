"""`usage.consumed` and `usage.low`: in the transaction that consumes, and nothing where nobody listens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Delivery, OutboundEvent
from licenzy.kit.clock import rfc3339
from licenzy.runtime import Runtime
from tests.deliveries.test_schemas import wrong
from tests.support.cast import Cast, make_product
from tests.support.clock import StandingClock
from tests.support.endpoints import make_endpoint
from tests.usage.buying import RESERVE, Customer, consume, customer_with, post, reserve


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


def listen(runtime: Runtime, cast: Cast, *types: str) -> None:
    with runtime.database.write() as db:
        make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box, types=types)


def outbound_bodies(database: Database) -> list[dict[str, Any]]:
    with database.read() as db:
        events = db.exec(select(OutboundEvent).order_by(col(OutboundEvent.id))).all()
        assert len(db.exec(select(Delivery)).all()) == len(events)
    bodies = [json.loads(event.body) for event in events]
    assert [complaint for body in bodies for complaint in wrong(body)] == []
    return bodies


def test_each_consumption_is_told_once(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    listen(runtime, cast, "usage.consumed")
    pack = customer.buys(1000)
    assert consume(client, customer, 100, key="a").status_code == 200
    assert consume(client, customer, 100, key="a").headers["Idempotent-Replayed"] == "true"
    assert consume(client, customer, 1000, key="b").status_code == 409
    assert consume(client, customer, 900, key="c").get_json()["usage_remaining"] == 0
    first, second = outbound_bodies(database)
    assert first["source"] == "runtime"
    assert first["subject_ref"] == customer.subject.subject_ref
    assert {name: value for name, value in first["data"].items() if value is not None} == {
        "entitlement_id": pack,
        "product_code": "PRO_MONTHLY",
        "kind": "usage_pack",
        "unit": "units",
        "units": 100,
        "usage_remaining": 900,
    }
    assert (second["data"]["units"], second["data"]["usage_remaining"]) == (900, 0)


def test_a_call_that_spans_packs_is_one_event(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    listen(runtime, cast, "usage.consumed")
    customer.buys(10)
    customer.buys(10)
    assert consume(client, customer, 15).status_code == 200
    (only,) = outbound_bodies(database)
    data = only["data"]
    assert (data["units"], data["usage_remaining"], data["entitlement_id"]) == (15, 5, None)


def test_low_is_told_when_the_mark_is_passed(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    listen(runtime, cast, "usage.low")
    with database.write() as db:
        make_product(db, project_id=cast.project_id, usage_low_units=20)
    customer.buys(100)
    for units in (79, 1, 5, 15):
        assert consume(client, customer, units).status_code == 200
    customer.buys(30)
    assert consume(client, customer, 25).status_code == 200
    assert [body["data"]["usage_remaining"] for body in outbound_bodies(database)] == [20, 5]
    assert {body["data"]["product_code"] for body in outbound_bodies(database)} == {"PRO_MONTHLY"}


def test_committing_a_reservation_is_told(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    listen(runtime, cast, "usage.consumed")
    customer.buys(100)
    body = {"subject_ref": customer.subject.subject_ref, "units": 50, "ttl_seconds": 60}
    made = client.post(RESERVE, json=body, headers={**customer.headers, "Idempotency-Key": "r"})
    assert outbound_bodies(database) == []
    address = f"/v1/usage/reservations/{made.get_json()['reservation_id']}/commit"
    for _ in range(2):
        assert client.post(address, json={"units": 20}, headers=customer.headers).status_code == 200
    (only,) = outbound_bodies(database)
    assert (only["data"]["units"], only["data"]["usage_remaining"]) == (20, 80)


@pytest.mark.parametrize("aside", [False, True])
def test_it_is_sent_now_wherever_the_clock_of_a_sandbox_stands(
    client: FlaskClient,
    database: Database,
    runtime: Runtime,
    cast: Cast,
    customer: Customer,
    clock: StandingClock,
    aside: bool,
) -> None:
    listen(runtime, cast, "usage.consumed")
    customer.connects(clock_offset_seconds=40 * 86_400)
    customer.buys(100)
    if aside:
        made = reserve(client, customer, 50).get_json()["reservation_id"]
        post(client, customer, f"/v1/usage/reservations/{made}/commit", {"units": 20})
    else:
        consume(client, customer, 20)
    (only,) = outbound_bodies(database)
    assert only["created_at"] == rfc3339(clock())
    with database.read() as db:
        row = db.exec(select(Delivery)).one()
    assert row.next_try_at == row.created_at == clock()


def test_low_is_told_although_others_had_set_units_aside(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    """What is set aside may come back, so that only what is consumed brings it to the mark."""
    listen(runtime, cast, "usage.low")
    with database.write() as db:
        make_product(db, project_id=cast.project_id, usage_low_units=100)
    customer.buys(150)
    made = reserve(client, customer, 60).get_json()["reservation_id"]
    assert outbound_bodies(database) == []
    consume(client, customer, 60)
    assert [body["data"]["usage_remaining"] for body in outbound_bodies(database)] == [30]
    post(client, customer, f"/v1/usage/reservations/{made}/release", {})
    consume(client, customer, 10)
    assert len(outbound_bodies(database)) == 1, "once on its way down"


def test_low_is_told_where_all_that_is_left_was_set_aside(
    client: FlaskClient, database: Database, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    listen(runtime, cast, "usage.low")
    with database.write() as db:
        make_product(db, project_id=cast.project_id, usage_low_units=100)
    customer.buys(150)
    made = reserve(client, customer, 150).get_json()["reservation_id"]
    post(client, customer, f"/v1/usage/reservations/{made}/commit", {"units": 40})
    assert outbound_bodies(database) == []
    made = reserve(client, customer, 110).get_json()["reservation_id"]
    post(client, customer, f"/v1/usage/reservations/{made}/commit", {"units": 110})
    assert [body["data"]["usage_remaining"] for body in outbound_bodies(database)] == [0]


@pytest.mark.parametrize("types", [(), ("entitlement.updated", "purchase.finalized")])
def test_where_nobody_wants_it_nothing_is_written(
    client: FlaskClient,
    database: Database,
    runtime: Runtime,
    cast: Cast,
    customer: Customer,
    types: tuple[str, ...],
) -> None:
    if types:
        listen(runtime, cast, *types)
    customer.buys(100)
    assert consume(client, customer, 100).status_code == 200
    assert outbound_bodies(database) == []
