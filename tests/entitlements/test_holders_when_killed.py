"""Workers are killed while they give terms to holders: each purchase gets one fact, and none is left out."""

from __future__ import annotations

import random
import time
from collections import Counter
from datetime import timedelta

import pytest
from sqlmodel import func, select

from licenzy.catalog.actions import change_product
from licenzy.catalog.models import Product
from licenzy.catalog.queries import product as product_by_id
from licenzy.catalog.rules import Draft
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.holders import changes_of, give_to_holders
from licenzy.entitlements.models import Entitlement, TermChange
from licenzy.entitlements.queries import was_granted
from licenzy.kit.clock import utc_now
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from tests.deliveries.fleet import Fleet, fleet
from tests.support.cast import Cast, make_product
from tests.support.holders import make_holders, terms_facts
from tests.support.sizes import sizes

SECONDS = 1500


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
@sizes("holders,kills", sqlite=(600, 4), postgres=(300, 2), soak=(20_000, 40))
def test_each_purchase_gets_one_fact_although_workers_are_killed(
    database: Database, runtime: Runtime, cast: Cast, holders: int, kills: int
) -> None:
    product, keys = product_with_holders(database, cast, holders)
    give(database, product)
    began = time.monotonic()
    with fleet(runtime.settings, database, size=2) as workers:
        killed = kill_until_done(workers, database, product, holders=holders, kills=kills)
        change = await_change(database, product, checked=holders)
    print(f"{holders} holders, {killed} kills, {time.monotonic() - began:.0f} s")
    assert (change.state, change.checked, change.changed, change.failed) == ("done", holders, holders, 0)
    with database.read() as db:
        facts = Counter(terms_facts(db, Scope.of(product)))
        versions = db.exec(select(Entitlement.terms_version, func.count()).group_by("terms_version")).all()
    assert facts == Counter((f"terms:{product.id}:2:{key}", key) for key in keys)
    assert [tuple(row) for row in versions] == [(2, holders)]
    sample = 200 if holders > 1_000 else holders
    replayed = replay_purchases(database, clock=utc_now, scope=Scope.of(product))
    assert all(changes == [] for _, (_, changes) in zip(range(sample), replayed, strict=False))


def product_with_holders(database: Database, cast: Cast, count: int) -> tuple[Product, list[str]]:
    with database.write() as db:
        product = make_product(db, project_id=cast.project_id, features=["v1"])
    with database.write() as db:
        found = product_by_id(db, Scope.of(product), product_id=product.id)
        return found, make_holders(db, found, count, now=utc_now() - timedelta(days=1))


def give(database: Database, product: Product) -> None:
    """Edit the product, for holders too."""
    with database.write() as db:
        change_product(
            db,
            Scope.of(product),
            product_id=product.id,
            draft=Draft(product.product_code, product.kind, "", features=("v2",), grace_days=3),
            price=None,
            was_granted=was_granted,
            give_to_holders=give_to_holders,
            actor=Actor(),
            now=utc_now(),
        )


def kill_until_done(workers: Fleet, database: Database, product: Product, *, holders: int, kills: int) -> int:
    """Kill a worker at random instants, spread over the run; how often it was while there was work left."""
    chance, killed = random.Random(7), 0
    for number in range(1, kills + 1):
        await_change(database, product, checked=holders * number // (kills + 2))
        time.sleep(chance.random() / 10)
        workers.kill_one()
        killed += the_change(database, product).ended_at is None
    assert killed, "kills after the end prove nothing"
    return killed


def await_change(database: Database, product: Product, *, checked: int) -> TermChange:
    until = time.monotonic() + SECONDS
    while True:
        change = the_change(database, product)
        if change.checked >= checked and (change.ended_at is not None or checked < (change.total or 0)):
            return change
        assert time.monotonic() < until, f"{change.checked} were checked in {SECONDS} s"
        time.sleep(0.02)


def the_change(database: Database, product: Product) -> TermChange:
    with database.read() as db:
        (change,) = changes_of(db, Scope.of(product), product_id=product.id)
    return change
