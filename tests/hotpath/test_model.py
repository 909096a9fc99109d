"""Batches on either database come to what a model by `usage.rules` says, call by call."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.rules import presented_hash
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement, State
from licenzy.hotpath.consume import Answered, ConsumeRequest, KeyReused
from licenzy.hotpath.consumer import Committer, make_committer
from licenzy.idempotency.models import IdempotencyKey
from licenzy.idempotency.outcome import Outcome
from licenzy.kit.clock import to_micros
from licenzy.usage.models import LedgerRow
from licenzy.usage.results import Consumed, Refused
from licenzy.usage.rules import burning, drawn, total
from tests.support.cast import Cast
from tests.support.clock import START
from tests.support.loops import run_on_a_loop
from tests.usage.buying import Customer, consume, customer_with

NOW = to_micros(START)


def used_by_id(packs: list[Entitlement]) -> dict[str, int]:
    return {pack.id: pack.used_units for pack in packs}


def rendered(decided: Consumed | Refused, mode: Mode) -> Outcome:
    return Outcome(200 if isinstance(decided, Consumed) else 409, f"{mode} {decided!r}")


@dataclass
class Model:
    """What should become of calls, decided one after another on copies of the packs."""

    packs: dict[str, list[Entitlement]]
    kept: dict[str, tuple[str, Outcome]]

    def call(self, request: ConsumeRequest) -> Outcome | None:
        if request.idempotency_key in self.kept:
            body_hash, outcome = self.kept[request.idempotency_key]
            return outcome if body_hash == request.body_hash else None
        packs = burning(self.packs[request.subject_ref], START)
        left = total(packs)
        decided: Consumed | Refused = Refused(left)
        if left >= request.units:
            for draw in drawn(packs, request.units):
                next(pack for pack in packs if pack.id == draw.pack_id).used_units += draw.units
            decided = Consumed(request.units, left - request.units)
        outcome = rendered(decided, Mode.TEST)
        self.kept[request.idempotency_key] = (request.body_hash, outcome)
        return outcome


def packs_of(database: Database, customers: list[Customer]) -> dict[str, list[Entitlement]]:
    with database.read() as db:
        return {
            each.subject.subject_ref: list(
                db.exec(select(Entitlement).where(Entitlement.subject_id == each.subject.id))
            )
            for each in customers
        }


async def at_once(committer: Committer, requests: list[ConsumeRequest]) -> list[Any]:
    ends_at = time.monotonic() + 5
    return await asyncio.gather(*(committer.submit(each, ends_at=ends_at) for each in requests))


@pytest.mark.parametrize("seed", range(6))
def test_batches_equal_the_model(database: Database, cast: Cast, seed: int) -> None:
    chance = random.Random(seed)
    customers = [customer_with(database, cast, ref=f"user_{number}") for number in range(4)]
    for each in customers:
        for _ in range(chance.randint(0, 4)):
            each.buys(
                chance.randint(1, 40),
                ends_at=chance.choice([None, *(START + timedelta(hours=n) for n in (0, 1, 2))]),
                state=chance.choice([State.ACTIVE, State.ACTIVE, State.SUSPENDED]),
                reserved_units=chance.choice([0, 0, 1]),
            )
    model, committer = Model(packs_of(database, customers), {}), make_committer(database, prepares=True)
    key_hash = presented_hash(customers[0].token)
    for turn in range(4):
        requests = []
        for number in range(chance.randint(1, 70)):
            ref, units = f"user_{chance.randrange(4)}", chance.randint(1, 9)
            key = f"{chance.randrange(60)}"
            requests.append(
                ConsumeRequest(
                    key_hash,
                    ref,
                    units,
                    key,
                    f"{ref} {units}",
                    f"req_{turn}_{number}",
                    to_micros(START),
                    rendered,
                )
            )
        for request, result in zip(requests, run_on_a_loop(at_once(committer, requests)), strict=True):
            expected = model.call(request)
            if expected is None:
                assert isinstance(result, KeyReused)
            else:
                assert isinstance(result, Answered)
                assert result.outcome == expected
    found = packs_of(database, customers)
    for ref, packs in model.packs.items():
        assert {pack.id: pack.used_units for pack in found[ref]} == {
            pack.id: pack.used_units for pack in packs
        }
    with database.read() as db:
        ledger = db.exec(select(LedgerRow)).all()
    used = {pack.id: pack.used_units for packs in found.values() for pack in packs if pack.used_units}
    noted: dict[str, int] = {}
    for row in ledger:
        noted[row.entitlement_id] = noted.get(row.entitlement_id, 0) + row.units
    assert noted == used


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, '{"ok": true,  "consumed":1, "usage_remaining": 41}'),
        (200, '{"usage_remaining":41,"ok":true,"consumed":1,"a field of old":"é"}'),
        (409, '{"error":"insufficient_usage","message":"words of an earlier version","usage_remaining":0}'),
    ],
)
def test_what_any_version_stored_is_given_again_byte_for_byte(
    client: FlaskClient, database: Database, cast: Cast, status: int, body: str
) -> None:
    customer = customer_with(database, cast)
    customer.buys(10)
    consume(client, customer, 1, key="k")
    with database.write() as db:
        row = db.exec(select(IdempotencyKey).where(IdempotencyKey.key == "k")).one()
        row.response_status, row.response_body = status, body
    again = consume(client, customer, 1, key="k")
    assert (again.status_code, again.data) == (status, body.encode())
    assert again.headers["Idempotent-Replayed"] == "true"
