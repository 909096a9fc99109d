"""`kill -9` in the middle of an import: nothing twice, nothing missing, hardly anything asked twice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Fact, Purchase
from licenzy.imports.models import ImportStep
from licenzy.settings import Settings
from licenzy.stripe_events.models import SettlingRead
from tests.imports.account import Account
from tests.imports.processes import Command

Sell = Callable[..., Product]
_STEPS = list(ImportStep)


@pytest.mark.slow
def test_a_killed_import_goes_on(account: Account, sell: Sell, settings: Settings) -> None:
    places = [(ImportStep.SUBSCRIPTIONS, 100), (ImportStep.RUN, 0), (ImportStep.RUN, 60)]
    check(account, sell, settings, count=110, places=places)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_twenty_times(account: Account, sell: Sell, settings: Settings) -> None:
    reading = [(ImportStep.SUBSCRIPTIONS, seen) for seen in (0, 0, 100, 200, 300, 500)]
    writing = [(ImportStep.RUN, random.randrange(600)) for _ in range(12)]
    places = [*reading, (ImportStep.MATCH, 0), (ImportStep.MATCH, 500), *writing]
    check(account, sell, settings, count=600, places=places)


def check(
    account: Account, sell: Sell, settings: Settings, *, count: int, places: list[tuple[ImportStep, int]]
) -> None:
    pro = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    account.control("subscriptions", {"count": count, "prices": [pro], "metadata": {"user": "u{n}"}})
    account.control("calls", method="DELETE")
    command = Command(account, settings)
    kills = 0
    for step, seen in sorted(places, key=lambda place: (_STEPS.index(place[0]), place[1])):
        place = (_STEPS.index(step), seen)
        kills += command.kill_when(command.start(), lambda place=place: command.place() >= place)  # type: ignore[misc]
        command.let_time_pass()
    assert kills >= len(places) // 2, "most of them met the import under way"
    code, said = command.ends(command.start())
    assert code == 0, said
    assert account.standings() == {f"u{n}": ["PRO active"] for n in range(count)}
    facts, purchases, reads = rows(account)
    assert sorted(fact.object_id for fact in facts) == sorted(purchases), "one fact of the import of each"
    assert len(purchases) == count
    assert not [read.object_id for read in reads if read.due_at is not None or read.snapshot != 1]
    calls = account.calls()
    pages = -(-count // 100)
    assert calls["writes"] == 0
    assert calls["total"] <= pages + 1 + kills, calls["counts"]


def rows(account: Account) -> tuple[list[Any], list[str], list[SettlingRead]]:
    """The facts by which purchases were imported, the keys of purchases, and what was read of each."""
    with account.shop.runtime.database.read() as db:
        facts = db.exec(select(Fact).where(col(Fact.source_id).startswith("import:"))).all()
        purchases = db.exec(select(Purchase.key)).all()
        reads = db.exec(select(SettlingRead)).all()
        db.expunge_all()
    return list(facts), list(purchases), list(reads)
