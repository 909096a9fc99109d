"""Units with names: a call draws one of them, whichever way it comes in, and no other changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.rules import presented_hash
from licenzy.catalog.models import Kind, ProductTerms
from licenzy.catalog.queries import product_by_code
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import OutboundEvent
from licenzy.entitlements.models import Entitlement
from licenzy.errors import InvalidRequest
from licenzy.hotpath.consume import Answered, ConsumeRequest, decide_batch
from licenzy.hotpath.consume_sql import PostgresStatements, SqliteStatements
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import to_micros
from licenzy.projects.actions import change_default_unit
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.usage.models import Reservation
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_product
from tests.support.clock import START
from tests.support.endpoints import make_endpoint
from tests.support.hotpath import LoopClient
from tests.usage.buying import CONSUME, RESERVE, Customer, consume, customer_with, post, reserve

PRODUCTS = {
    "CREDITS": "units",
    "IMAGES": "images",
    "MORE_IMAGES": "images",
    "PAGES": "pages",
    "SOUNDS": "sounds",
}
OWNED = {"CREDITS": 100, "IMAGES": 10, "MORE_IMAGES": 7, "PAGES": 5}
UNITS = ["images", "pages", "sounds", "units"]
DAY = 86_400


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    """Somebody with packs of three units, on a side that sells four."""
    with database.write() as db:
        for code, unit in PRODUCTS.items():
            make_product(
                db, project_id=cast.project_id, kind=Kind.USAGE_PACK, product_code=code, unit=unit, units=1
            )
    made = customer_with(database, cast)
    for code, units in OWNED.items():
        made.buys(units, product_code=code, unit=PRODUCTS[code])
    return made


class Row(NamedTuple):
    """A call for three units, unless it says otherwise, and what it is told."""

    body: dict[str, Any]
    status: int
    left: int | None = None
    error: str | None = None
    more: tuple[tuple[str, Any], ...] = ()
    by_a_thread: bool = False
    """Whether the loop leaves it to Flask."""


TABLE = [
    Row({}, 200, 97),
    Row({"unit": "units"}, 200, 97),
    Row({"unit": "images"}, 200, 14),
    Row({"unit": "images", "units": 17}, 200, 0),
    Row({"unit": "images", "units": 18}, 409, 17, "insufficient_usage"),
    Row({"unit": "images", "product_code": "IMAGES"}, 200, 7),
    Row({"unit": "images", "product_code": "MORE_IMAGES"}, 200, 4),
    Row({"unit": "images", "product_code": "MORE_IMAGES", "units": 8}, 409, 7, "insufficient_usage"),
    Row({"product_code": "CREDITS"}, 200, 97),
    Row({"product_code": "IMAGES"}, 409, 0, "insufficient_usage", by_a_thread=True),
    Row({"unit": "pages", "units": 6}, 409, 5, "insufficient_usage"),
    Row({"unit": "sounds"}, 409, 0, "insufficient_usage", by_a_thread=True),
    Row({"unit": "images", "product_code": "PAGES"}, 409, 0, "insufficient_usage", by_a_thread=True),
    Row({"unit": "image"}, 404, None, "unit_not_found", (("units", UNITS),), by_a_thread=True),
    Row({"product_code": "NONE"}, 404, None, "product_not_found", by_a_thread=True),
    Row({"unit": "images", "product_code": "images"}, 404, None, "product_not_found", by_a_thread=True),
    Row({"subject_ref": "nobody"}, 409, 0, "insufficient_usage"),
    Row({"subject_ref": "nobody", "unit": "images"}, 409, 0, "insufficient_usage", by_a_thread=True),
    Row({"subject_ref": "nobody", "unit": "x"}, 404, None, "unit_not_found", by_a_thread=True),
    Row({"product_code": "price_123"}, 400, None, "stripe_price_id_not_allowed", by_a_thread=True),
    Row({"unit": "Images"}, 400, None, "invalid_request"),
    Row({"unit": "i" * 33}, 400, None, "invalid_request"),
    Row({"unit": ""}, 400, None, "invalid_request"),
    Row({"unit": None}, 400, None, "invalid_request"),
    Row({"unit": 1}, 400, None, "invalid_request"),
    Row({"product_code": None}, 400, None, "invalid_request"),
    Row({"meter": "images"}, 400, None, "unknown_field"),
]


def named(row: Row) -> str:
    return json.dumps(row.body)


def expect(row: Row, answer: Any, done: dict[str, Any]) -> None:
    told = answer.get_json()
    assert (answer.status_code, told.get("error")) == (row.status, row.error)
    assert told.get("usage_remaining") == row.left
    names_unit = row.status in {200, 201, 409} and "unit" in row.body
    assert told.get("unit") == (row.body["unit"] if names_unit else None)
    assert all(told[name] == value for name, value in row.more)
    if row.status in {200, 201}:
        rest = {"usage_remaining": row.left} | ({"unit": row.body["unit"]} if names_unit else {})
        assert told == done | rest


@pytest.mark.parametrize("on_the_loop", [False, True], ids=["route", "loop"])
@pytest.mark.parametrize("row", TABLE, ids=named)
def test_consume(
    app: Flask, client: FlaskClient, database: Database, customer: Customer, row: Row, on_the_loop: bool
) -> None:
    request: dict[str, Any] = {
        "json": {"subject_ref": "user_123", "units": 3, **row.body},
        "headers": customer.headers | {"Idempotency-Key": "k"},
    }
    before = used(database)
    answer: Any = LoopClient(app).post(CONSUME, **request) if on_the_loop else None
    assert not on_the_loop or (answer is None) == row.by_a_thread
    answer = answer or client.post(CONSUME, **request)
    units = row.body.get("units", 3)
    expect(row, answer, {"ok": True, "consumed": units})
    if row.status == 200:
        unit = row.body.get("unit", "units")
        assert changed_units(before, used(database)) == {unit: units}
    else:
        assert used(database) == before
    again = client.post(CONSUME, **request)
    if row.status in {200, 409}:
        assert (again.status_code, again.data) == (answer.status_code, answer.data)
        assert again.headers["Idempotent-Replayed"] == "true"
    else:
        expect(row, again, {})


@pytest.mark.parametrize("row", TABLE, ids=named)
def test_reserve(client: FlaskClient, customer: Customer, row: Row) -> None:
    row = row._replace(status=201) if row.status == 200 else row
    body = {"subject_ref": "user_123", "units": 3, "ttl_seconds": DAY, **row.body}
    answer = post(client, customer, RESERVE, body, key="k")
    done: dict[str, Any] = {"reserved": row.body.get("units", 3)}
    if row.status == 201:
        told = answer.get_json()
        done |= {name: told[name] for name in ("reservation_id", "expires_at")}
    expect(row, answer, done)
    assert post(client, customer, RESERVE, body, key="k").status_code == row.status


def used(database: Database) -> dict[str, tuple[str, int]]:
    with database.read() as db:
        return {row.id: (row.unit, row.used_units) for row in db.exec(select(Entitlement))}


def changed_units(before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> dict[str, int]:
    changed: dict[str, int] = {}
    for pack_id, (unit, units) in after.items():
        if units != before[pack_id][1]:
            changed[unit] = changed.get(unit, 0) + units - before[pack_id][1]
    return changed


def test_old_requests_have_the_same_answers(client: FlaskClient, customer: Customer) -> None:
    """Byte for byte, though packs of other units are there."""
    assert consume(client, customer, 3).data == b'{"ok":true,"consumed":3,"usage_remaining":97}'
    refused = consume(client, customer, 98)
    request_id = refused.headers["Licenzy-Request-Id"]
    assert refused.data.decode() == (
        '{"error":"insufficient_usage","message":"The subject has fewer units left than requested.",'
        '"hint":"Nothing was consumed. Sell another usage pack, or request fewer units.","mode":"test",'
        f'"request_id":"{request_id}","usage_remaining":97}}'
    )
    made = reserve(client, customer, 7)
    parts = made.get_json()
    assert made.data.decode() == (
        f'{{"reservation_id":"{parts["reservation_id"]}","reserved":7,"usage_remaining":90,'
        f'"expires_at":"{parts["expires_at"]}"}}'
    )
    address = f"/v1/usage/reservations/{parts['reservation_id']}"
    committed = post(client, customer, f"{address}/commit", {"units": 2})
    assert committed.data == b'{"ok":true,"consumed":2,"released":5,"usage_remaining":95}'


def test_a_name_that_was_wrong_is_not_kept(
    client: FlaskClient, database: Database, customer: Customer
) -> None:
    for call in (consume, reserve):
        assert call(client, customer, 1, key="k", unit="films").status_code == 404
        assert call(client, customer, 1, key="p", product_code="FILMS").status_code == 404
    with database.write() as db:
        make_product(
            db,
            project_id=customer.subject.project_id,
            kind=Kind.USAGE_PACK,
            product_code="FILMS",
            unit="films",
        )
    customer.buys(2, product_code="FILMS", unit="films")
    assert consume(client, customer, 1, key="k", unit="films").get_json()["usage_remaining"] == 1
    assert reserve(client, customer, 1, key="k", unit="films").get_json()["usage_remaining"] == 0
    assert consume(client, customer, 1, key="p", product_code="FILMS").status_code == 409


def test_one_key_stands_for_one_unit(client: FlaskClient, customer: Customer) -> None:
    for call in (consume, reserve):
        assert call(client, customer, 1, key="k").status_code in {200, 201}
        for names in ({"unit": "images"}, {"unit": "units"}, {"product_code": "CREDITS"}):
            other = call(client, customer, 1, key="k", **names)
            assert (other.status_code, other.get_json()["error"]) == (409, "idempotency_key_reused")


def test_a_spent_unit_is_no_wrong_name(client: FlaskClient, database: Database, customer: Customer) -> None:
    """Also where its product has another unit by now."""
    assert consume(client, customer, 5, unit="pages").status_code == 200
    with database.write() as db:
        scope = Scope(customer.subject.project_id, Mode.TEST)
        product = product_by_code(db, scope, product_code="PAGES")
        assert product is not None
        product.unit = "leaves"
    for call in (consume, reserve):
        spent = call(client, customer, 1, unit="pages")
        assert (spent.get_json()["error"], spent.get_json()["usage_remaining"]) == ("insufficient_usage", 0)
        unknown = call(client, customer, 1, ref="nobody", unit="pages") if call is consume else None
        assert unknown is None or unknown.get_json()["error"] == "unit_not_found"


def test_units_of_the_other_mode_and_of_others_are_not_there(
    client: FlaskClient, database: Database, cast: Cast, customer: Customer
) -> None:
    for where in ({"mode": Mode.LIVE}, {"project_id": cast.stranger.project_id}):
        other = customer_with(database, cast, **where)
        refused = consume(client, other, 1, unit="images")
        assert (refused.status_code, refused.get_json()["units"]) == (404, [])


def test_a_reservation_is_of_one_unit(client: FlaskClient, database: Database, customer: Customer) -> None:
    for how, body in (("commit", {"units": 2}), ("release", {})):
        made = reserve(client, customer, 4, unit="images", product_code="MORE_IMAGES").get_json()
        with database.read() as db:
            row = db.exec(select(Reservation).where(Reservation.id == made["reservation_id"])).one()
        assert row.unit == "images"
        told = post(client, customer, f"/v1/usage/reservations/{row.id}/{how}", body).get_json()
        # Of the unit, over all products.
        assert told["usage_remaining"] == 15
        assert "unit" not in told
    assert changed_units({each: (unit, 0) for each, (unit, _) in used(database).items()}, used(database)) == {
        "images": 2
    }


def test_endpoints_hear_of_the_unit_alone(
    client: FlaskClient, runtime: Runtime, cast: Cast, customer: Customer
) -> None:
    with runtime.database.write() as db:
        make_endpoint(
            db,
            project_id=cast.project_id,
            secret_box=runtime.secret_box,
            types=("usage.consumed", "usage.low"),
        )
        product = product_by_code(db, Scope(cast.project_id, Mode.TEST), product_code="MORE_IMAGES")
        assert product is not None
        product.usage_low_units = 5
    assert consume(client, customer, 3, unit="images", product_code="MORE_IMAGES").status_code == 200
    assert consume(client, customer, 3).status_code == 200
    with runtime.database.read() as db:
        rows = db.exec(select(OutboundEvent).order_by(col(OutboundEvent.id))).all()
    told = [
        (row.type.value, data["unit"], data["units"], data["usage_remaining"])
        for row in rows
        for data in [json.loads(row.body)["data"]]
    ]
    assert told == [
        ("usage.consumed", "images", 3, 14),
        ("usage.low", "images", None, 4),
        ("usage.consumed", "units", 3, 97),
    ]


def side(database: Database, cast: Cast) -> ProjectSide:
    with database.read() as db:
        return db.get_one(ProjectSide, (cast.project_id, Mode.TEST))


def forget_calls(database: Database, cast: Cast) -> None:
    with database.write() as db:
        db.get_one(ProjectSide, (cast.project_id, Mode.TEST)).default_unit_used_at = None


def choose(database: Database, cast: Cast, unit: str) -> None:
    with database.write() as db:
        change_default_unit(
            db, Scope(cast.project_id, Mode.TEST), actor=Actor(cast.owner.user_id), unit=unit, now=START
        )


@pytest.mark.parametrize("call", [consume, reserve])
def test_the_first_call_without_a_unit_fixes_the_default(
    app: Flask,
    client: FlaskClient,
    database: Database,
    cast: Cast,
    customer: Customer,
    call: Callable[..., Any],
) -> None:
    forget_calls(database, cast)
    assert call(client, customer, 1, unit="units").status_code in {200, 201}
    assert side(database, cast).default_unit_used_at is None
    choose(database, cast, "images")
    assert call(client, customer, 1).get_json()["usage_remaining"] == 16
    assert side(database, cast).default_unit_used_at == START
    with pytest.raises(InvalidRequest) as refused:
        choose(database, cast, "pages")
    assert refused.value.fields == {"default_unit": "Calls without a unit have drawn images, so it stays so."}
    choose(database, cast, "images")
    with database.read() as db:
        (entry,) = db.exec(
            select(AuditEntry).where(AuditEntry.action == "project.default_unit_changed")
        ).all()
    assert (entry.before, entry.after) == ({"default_unit": "units"}, {"default_unit": "images"})


def test_the_loop_leaves_that_call_to_a_thread(
    app: Flask, client: FlaskClient, database: Database, cast: Cast, customer: Customer
) -> None:
    forget_calls(database, cast)

    def request(key: str) -> dict[str, Any]:
        return {
            "json": {"subject_ref": "user_123", "units": 1},
            "headers": customer.headers | {"Idempotency-Key": key},
        }

    assert LoopClient(app).post(CONSUME, **request("a")) is None
    assert side(database, cast).default_unit_used_at is None
    assert client.post(CONSUME, **request("a")).status_code == 200
    answer = LoopClient(app).post(CONSUME, **request("b"))
    assert answer is not None
    assert answer.get_json()["usage_remaining"] == 98


def test_a_side_without_settings_draws_units(
    client: FlaskClient, database: Database, cast: Cast, customer: Customer
) -> None:
    with database.write() as db:
        db.delete(db.get_one(ProjectSide, (cast.project_id, Mode.TEST)))
    assert consume(client, customer, 1).get_json()["usage_remaining"] == 99
    assert side(database, cast).default_unit == "units"
    with database.write() as db:
        db.delete(db.get_one(ProjectSide, (cast.project_id, Mode.TEST)))
    assert reserve(client, customer, 1).get_json()["usage_remaining"] == 98


@pytest.mark.parametrize("names", [{}, {"unit": "images"}, {"unit": "images", "product_code": "IMAGES"}])
def test_a_unit_costs_no_statement(database: Database, customer: Customer, names: dict[str, Any]) -> None:
    """On SQLite a read, who is told, and three rows; on Postgres the lock, a read, and one for all rows."""
    request = ConsumeRequest(
        presented_hash(customer.token),
        "user_123",
        12 if not names else 3,
        "k",
        "hash",
        "req_1",
        to_micros(START),
        lambda decided, _mode: Outcome(200, repr(decided)),
        **names,
    )
    statements = SqliteStatements() if database.is_sqlite else PostgresStatements()
    ran: list[str] = []
    with database.write() as db:
        connection = db.connection()

        def run(statement: str, parameters: Sequence[Any]) -> Sequence[Sequence[Any]]:
            ran.append(statement)
            result = connection.exec_driver_sql(statement, tuple(parameters))
            return result.all() if result.returns_rows else []

        (result,), writes = decide_batch([request], statements.read(run, [request]))
        statements.write(run, writes)
    assert isinstance(result, Answered)
    assert len(ran) == (5 if database.is_sqlite else 3)


@pytest.mark.parametrize("endpoint", [False, True], ids=["", "with an endpoint"])
def test_two_units_at_once_are_exact(
    app: Flask, runtime: Runtime, cast: Cast, customer: Customer, endpoint: bool
) -> None:
    if endpoint:
        with runtime.database.write() as db:
            make_endpoint(
                db, project_id=cast.project_id, secret_box=runtime.secret_box, types=("usage.consumed",)
            )

    def call(number: int) -> tuple[str, int]:
        unit = ("images", "pages")[number % 2]
        return unit, consume(app.test_client(), customer, 1, unit=unit).status_code

    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(call, range(44)))
    assert told.count(("images", 200)) == 17
    assert told.count(("pages", 200)) == 5
    zero = {each: (unit, 0) for each, (unit, _) in used(runtime.database).items()}
    assert changed_units(zero, used(runtime.database)) == {"images": 17, "pages": 5}


def test_a_unit_that_a_product_included_before_is_known(
    client: FlaskClient, database: Database, cast: Cast, customer: Customer
) -> None:
    assert consume(client, customer, 1, unit="songs").status_code == 404
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id, product_code="PRO")
        terms = {"features": [], "included": [{"unit": "songs", "units": 9, "every": "month"}]}
        db.add(
            ProductTerms(
                project_id=cast.project_id, product_id=product.id, version=7, from_=START, terms=terms
            )
        )
    answer = consume(client, customer, 1, unit="songs")
    assert (answer.status_code, answer.get_json()["error"]) == (409, "insufficient_usage")
