"""Histories at random: the model keeps what it promises, and the facts written for them say the same."""

from __future__ import annotations

import os
from collections import Counter

from tests.properties.included.generator import Made, make
from tests.properties.included.model import Model
from tests.properties.included.purchase import Commit, Consume, Release, Reserve
from tests.properties.included.test_stripe_facts import differences

SEED = os.environ.get("LICENZY_TEST_SEED", "7")
COUNT = 120
LEAST = {
    **dict.fromkeys(("every period", "every day", "every week", "every month", "rollover"), 8),
    **dict.fromkeys(("to a year", "to a month", "a reset with credit", "a reset without credit"), 8),
    **dict.fromkeys(("other seats", "1 to 100 to 1", "another plan", "on the last day"), 12),
    **dict.fromkeys(("a scheduled change", "an item swapped", "one more item"), 12),
    **dict.fromkeys(("proration none", "proration create", "proration always"), 20),
    **dict.fromkeys(("cancel and resubscribe", "two at once", "a cancel", "a scheduled cancel"), 5),
    **dict.fromkeys(("a trial", "a trial ends at another time", "seats in a trial"), 5),
    **dict.fromkeys(("two trials at once", "a trial that nobody pays for"), 2),
    **dict.fromkeys(("a late payment", "a failed payment", "a proration paid late", "nobody pays"), 5),
    **dict.fromkeys(("pause void", "pause keep_as_draft", "pause mark_uncollectible"), 2),
    **dict.fromkeys(("paid in the next period", "a period given back"), 4),
    **dict.fromkeys(("a rise given back",), 1),
}
"""How often each kind happens at least among these."""


def test_the_model_never_gives_what_is_not_there() -> None:
    kinds: Counter[str] = Counter()
    for number in range(COUNT):
        made = make(f"{SEED}:{number}")
        kinds.update(made.kinds)
        model = Model(made.account)
        assert _wrong_answers(model, made) == [], number
        assert _given_twice(model, made) == [], number
    rare = {kind: kinds[kind] for kind, least in LEAST.items() if kinds[kind] < least}
    assert rare == {}, f"seed {SEED}: too few to find anything"


def test_the_facts_of_histories_at_random_give_access_as_the_model_says() -> None:
    for number in range(COUNT // 3):
        assert list(differences(make(f"{SEED}:{number}").account)) == [], number


def _wrong_answers(model: Model, made: Made) -> list[str]:
    """Where a call takes something else than it says, or leaves less than nothing."""
    wrong = []
    for call in made.script:
        if isinstance(call, int):
            for balance in model.balances("images", call).values():
                if min(balance.granted, balance.used, balance.reserved, balance.left, balance.carried) < 0:
                    wrong.append(f"{call}: {balance}")
            continue
        match call:
            case Consume() | Reserve():
                before = model.left(call.unit, call.at)
                answer = model.perform(call)
                taken = call.units if answer.allowed else 0
                if answer.allowed is not (before >= call.units) or answer.left != before - taken:
                    wrong.append(f"{call}: {answer}, of {before}")
            case Commit() | Release():
                model.perform(call)
    return wrong


def _given_twice(model: Model, made: Made) -> list[str]:
    """Items of which more was used than their windows were worth, and than the next one owes for it.

    A refund that comes after a window is over is not made up for.
    """
    last = max(each if isinstance(each, int) else each.at for each in made.script) + 400 * 86_400
    refunded = "a rise given back" in made.kinds
    worth = {} if refunded else model.worth("images", last)
    return [f"{item}: {used} of {units}" for item, (used, units) in worth.items() if used > units]
