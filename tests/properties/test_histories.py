"""Whatever comes, in whatever order and however often: the entitlements are those of the true order."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any

import pytest

from licenzy.entitlements import projection
from tests.properties.fixtures_projection import (
    History,
    deliveries,
    in_true_order,
    make_history,
    misjudged,
    read_from_stripe,
    received,
    weigh,
)

SEED = os.environ.get("LICENZY_TEST_SEED", "7")
"""Set another one to try other histories."""


KINDS = (
    *("lines name their item", "lines name their price", "lines name nothing"),
    *("a trial", "send_invoice", "a bank debit", "a fixed term", "mixed intervals"),
    *("a fee on the first invoice", "a fee on a later invoice", "a manual invoice"),
    *("an invoice of a proration", "an own line behind a page of prorations", "to a year", "to a month"),
    *("a plan without an invoice", "a paid plan change", "an unpaid plan change", "an unmapped price"),
    *("the first payment fails", "retries", "overdue", "paid late", "void", "uncollectible"),
    *("the current invoice goes back", "another invoice goes back"),
    *("an item takes another's place", "one more item", "an item goes", "quantity 0"),
    *("a scheduled cancel", "a pause", "no collection"),
    *("terms are edited", "a price is moved", "a price again, after an edit"),
)
"""What happens in at least one of twenty histories, each by itself."""
RARE = (
    *("an extra is paid alone", "an extra with a period of its own", "a trial with a fee"),
    *("to an unmapped year", "to an unmapped month", "an unmapped price of the same product"),
)
"""What happens in at least one of fifty."""


def differences(count: int, *, seed: str = SEED, stop_at: int | None = None) -> Counter[str]:
    """Deliver `count` histories in disorder and count what differs; also what kind of histories they were."""
    counted: Counter[str] = Counter()
    for number in range(count):
        name = f"{seed}:{number}"
        for verdict in try_one(make_history(name), random.Random(f"disorder of {name}")):
            counted[verdict] += 1
            if verdict.startswith("differs"):
                counted[f"first: {verdict}"] = counted[f"first: {verdict}"] or number + 1
        if stop_at is not None and sum(counted[v] for v in counted if v.startswith("differs")) >= stop_at:
            break
    return counted


def try_one(history: History, chance: random.Random) -> list[str]:
    """What is to be said of one history."""
    told = [deliveries(life, chance) for life in history.lives]
    pairs = list(zip(history.lives, told, strict=True))
    arrived = [received(delivered, history, life) for life, delivered in pairs]
    truth = [in_true_order(life, history) for life in history.lives]
    said = ["deliveries"] * sum(map(len, told))
    said += sorted(set[str]().union(*(life.kinds for life in history.lives)))
    expected = weigh(truth)
    for life, facts in zip(history.lives, truth, strict=True):
        if misjudged(projection.project(facts), life):
            said.append("differs from what a fair judge says")
    if not history.has_tie:
        said.append("without a tie")
        if weigh(arrived) != expected:
            said.append("differs without a tie")
    else:
        said.append("with a tie")
    settled = [
        _mixed([*facts, *read_from_stripe(life, history, chance)], chance)
        for life, facts in zip(history.lives, arrived, strict=True)
    ]
    if weigh(settled) != expected:
        said.append("differs once settled")
    if any(life.takes_back for life in history.lives):
        said.append("with a refund or dispute")
    if any(life.deleted is not None and d[0] is life.deleted for life, d in pairs):
        said.append("deleted comes first")
    return said


def _mixed(facts: list[Any], chance: random.Random) -> list[Any]:
    chance.shuffle(facts)
    return facts


def assert_right(count: int, *, least_deliveries: int) -> None:
    counted = differences(count)
    print(f"seed {SEED}: {dict(counted)}")
    wrong = {verdict: times for verdict, times in counted.items() if "differs" in verdict}
    assert wrong == {}, f"seed {SEED}; numbers after `first:` are of histories, from 1"
    assert counted["deliveries"] >= least_deliveries
    assert counted["with a tie"] >= 0.3 * count
    assert counted["with a refund or dispute"] >= 0.2 * count
    assert counted["deleted comes first"] >= 0.1 * count
    least = {**dict.fromkeys(KINDS, 0.05), **dict.fromkeys(RARE, 0.02)}
    rare = {kind: counted[kind] for kind, share in least.items() if counted[kind] < share * count}
    assert rare == {}, "too few to find anything"


def test_1000_histories() -> None:
    assert_right(1_000, least_deliveries=10_000)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_6000_histories() -> None:
    assert_right(6_000, least_deliveries=60_000)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_20000_histories() -> None:
    assert_right(20_000, least_deliveries=200_000)
