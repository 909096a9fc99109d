"""Terms are given to holders in the middle of random histories: any order gives the same."""

from __future__ import annotations

import random
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projected import Projected
from licenzy.entitlements.projection import project
from tests.properties.fixtures_projection import Fact, deliveries, make_history, received
from tests.properties.test_histories import SEED

HISTORIES = 300
OF_TERMS = {"features", "terms_version"}
OF_GRACE = {"valid_until", "ends_at", "ends_as"}


def test_terms_in_any_order_change_no_more_than_terms() -> None:
    changed = graced = 0
    for number in range(HISTORIES):
        name = f"terms:{SEED}:{number}"
        chance, history = random.Random(name), make_history(name)
        for life in history.lives:
            facts = received(deliveries(life, chance), history, life)
            codes = sorted({each.product_code for each in project(facts)})
            given = [terms(chance, facts, codes, nth) for nth in range(chance.randrange(1, 4)) if codes]
            before, after = by_item(facts), by_item([*facts, *given])
            for _ in range(3):
                shuffled = [*facts, *given, *chance.choices(given or facts, k=2)]
                chance.shuffle(shuffled)
                assert by_item(shuffled) == after, name
            assert before.keys() == after.keys(), name
            for item, was in before.items():
                differing = differences(was, after[item])
                is_unpaid = "past_due" in {was.state, was.ends_as, after[item].ends_as}
                assert differing <= OF_TERMS | (OF_GRACE if is_unpaid else set()), name
                changed += bool(differing)
                graced += bool(differing & OF_GRACE)
            assert_last(facts, codes, chance, name)
    assert changed > HISTORIES / 3
    assert graced, "no grace became longer or shorter"


def assert_last(facts: list[Fact], codes: list[str], chance: random.Random, name: str) -> None:
    """Terms that come after everything are those of each entitlement of their product."""
    if not codes:
        return
    code, at = chance.choice(codes), max(fact.occurred_at for fact in facts) + timedelta(days=1)
    last = fact_of(code, 99, at, grace_days=chance.randrange(8))
    for each in project([last, *facts]):
        assert (each.terms_version == 99) is (each.product_code == code), name
        assert (each.features == ["given 99"]) is (each.product_code == code), name


def terms(chance: random.Random, facts: list[Fact], codes: list[str], nth: int) -> Fact:
    """The fact of an act at an instant within the history."""
    first, last = (pick(fact.occurred_at for fact in facts) for pick in (min, max))
    seconds = int((last - first).total_seconds()) + 1
    at = first + timedelta(seconds=chance.randrange(seconds), milliseconds=500 + nth)
    return fact_of(chance.choice(codes), chance.randrange(2, 90), at, grace_days=chance.randrange(8))


def fact_of(code: str, version: int, at: datetime, *, grace_days: int) -> Fact:
    data = {
        "action": "terms",
        "product_code": code,
        "version": version,
        "terms": {"features": [f"given {version}"], "grace_days": grace_days},
        "replaces": ["features", "grace_days"],
    }
    return Fact("operator", FactSource.OPERATOR, f"terms:{code}:{version}", "x", at, data)


def by_item(facts: list[Fact]) -> dict[str, Projected]:
    return {each.item_key: each for each in project(facts)}


def differences(was: Projected, now: Projected) -> set[str]:
    then: dict[str, Any] = asdict(was)
    return {name for name, value in asdict(now).items() if then[name] != value}
