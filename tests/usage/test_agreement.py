"""What consuming takes for available, and in which order it burns, is what `decision` and `rules` say."""

from __future__ import annotations

import itertools
import random
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.decision import standing
from licenzy.entitlements.models import Entitlement, State
from licenzy.usage.models import LedgerRow
from licenzy.usage.rules import burning, drawn, total
from tests.support.cast import Cast
from tests.support.clock import START
from tests.usage.buying import Customer, consume, customer_with

TICK = timedelta(microseconds=1)


@pytest.fixture
def customer(database: Database, cast: Cast) -> Customer:
    return customer_with(database, cast)


def entitlements_of(database: Database) -> list[Entitlement]:
    with database.read() as db:
        return list(db.exec(select(Entitlement)))


def test_every_kind_of_standing(client: FlaskClient, database: Database, customer: Customer) -> None:
    """Each pack can be told from its units: what is left tells exactly which of them count."""
    ways = itertools.product(
        (Kind.USAGE_PACK, Kind.TIME_PASS, Kind.SUBSCRIPTION),
        State,
        (START - TICK, START, START + TICK),
        (None, START, START + TICK),
        (None, START - TICK),
        ((0, 0), (1, 0), (0, 1)),
    )
    for number, (kind, state, starts_at, ends_at, voided_at, (used, reserved)) in enumerate(ways):
        units = 1 << (number % 40)
        if number % 97 > 12:
            continue  # A twelfth of all ways in one go; the others are as likely to be wrong.
        customer.buys(
            units,
            kind=kind,
            state=state,
            starts_at=starts_at,
            ends_at=ends_at,
            voided_at=voided_at,
            used_units=used * units,
            reserved_units=reserved * units,
        )
    rows = entitlements_of(database)
    left = sum(
        row.granted_units - row.used_units - row.reserved_units
        for row in rows
        if row.kind is Kind.USAGE_PACK and standing(row, START).available
    )
    assert left > 0
    told = consume(client, customer, 1)
    assert told.get_json()["usage_remaining"] == left - 1
    with database.read() as db:
        taken = db.exec(select(LedgerRow)).one()
    assert taken.entitlement_id == burning(rows, START)[0].id


@pytest.mark.parametrize("seed", range(12))
def test_packs_burn_as_the_rules_say(
    client: FlaskClient, database: Database, customer: Customer, seed: int
) -> None:
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 9)):
        customer.buys(
            granted := chance.randint(1, 30),
            used_units=chance.choice([0, 0, granted, granted // 2]),
            starts_at=START - timedelta(days=chance.randint(0, 2)),
            ends_at=chance.choice([None, None, *(START + timedelta(days=day) for day in (-1, 0, 1, 1, 2))]),
            created_at=START - timedelta(days=chance.randint(0, 2)),
            state=chance.choice([State.ACTIVE] * 5 + [State.SUSPENDED]),
        )
    packs = burning(entitlements_of(database), START)
    units = chance.randint(1, max(1, total(packs)))
    expected: Any = None
    if total(packs) >= units:
        expected = {draw.pack_id: draw.units for draw in drawn(packs, units)}
    answer = consume(client, customer, units)
    with database.read() as db:
        rows = {row.entitlement_id: row.units for row in db.exec(select(LedgerRow))}
    assert answer.status_code == (200 if expected else 409)
    assert rows == (expected or {})
