"""The product and the plain model agree: on every figure by hand, and over histories made at random.

Nothing is collected from here. A test module that sets `SUBJECT` and imports these tests runs them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from tests.properties.fixtures_projection import Fact
from tests.properties.included.abuse_cases import CASES
from tests.properties.included.case import Case
from tests.properties.included.generator import Made, make
from tests.properties.included.model import Model
from tests.properties.included.play import Play, answers, differences
from tests.properties.included.purchase import Account
from tests.properties.included.stripe_facts import by, facts_of, item_id
from tests.properties.included.subject import Bounds, Calls, Subject

SEED = os.environ.get("LICENZY_TEST_SEED", "7")
"""Set another one to try other histories."""
MOST = int(os.environ.get("LICENZY_TEST_HISTORIES", "150"))

Disorder = Callable[[list[Fact], random.Random], list[Fact]]


def in_order(facts: list[Fact], _chance: random.Random) -> list[Fact]:
    return facts


def shuffled(facts: list[Fact], chance: random.Random) -> list[Fact]:
    return chance.sample(facts, len(facts))


def doubled(facts: list[Fact], chance: random.Random) -> list[Fact]:
    """Some facts are there twice, as where an event and a replay of it were both recorded."""
    return [*facts, *chance.sample(facts, len(facts) // 2)]


DISORDERS: tuple[Disorder, ...] = (in_order, shuffled, doubled)


def playing(subject: Subject, disorder: Disorder = in_order) -> Play:
    """The product on the facts of a customer."""

    def play(account: Account) -> Calls:
        chance = random.Random(SEED)
        facts = {
            purchase.name: disorder(facts_of(purchase, account.prices), chance)
            for purchase in account.purchases
        }
        return subject.calls(facts, account.packs)

    return play


def window_differences(subject: Subject, made: Made, disorder: Disorder) -> list[str]:
    """Where the windows of the facts are not those of the model, of which nothing is used."""
    account, model, chance, wrong = made.account, Model(made.account), random.Random(SEED), []
    units = sorted({each.unit for price in account.prices.values() for each in price.included})
    for purchase in account.purchases:
        facts = disorder(facts_of(purchase, account.prices), chance)
        items = {item for each in units for item in model.items_of(purchase, each)}
        for now in (each if isinstance(each, int) else each.at for each in made.script):
            for unit in units:
                balances = model.balances(unit, now)
                for item in sorted(items):
                    balance = balances.get((purchase.name, item))
                    expected = None
                    if balance is not None:
                        # What comes off for want of use is nothing, so that all is granted.
                        expected = Bounds(balance.starts, balance.ends, balance.granted)
                    found = subject.windows_at(by(facts, now), item_id(purchase, item), unit, now)
                    if found != expected:
                        wrong.append(f"{purchase.name}.{item} {unit} at {now}: {found}, not {expected}")
    return wrong


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Subject:
    """The product, as the module that collects these tests has it."""
    found: Subject = request.module.SUBJECT
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_product_has_the_figures_by_hand(subject: Subject, case: Case) -> None:
    assert differences(case, playing(subject)) == []


@pytest.mark.parametrize("disorder", DISORDERS, ids=lambda each: each.__name__)
def test_the_product_opens_the_windows_of_the_model(subject: Subject, disorder: Disorder) -> None:
    wrong: dict[int, list[str]] = {}
    for number in range(MOST):
        found = window_differences(subject, make(f"{SEED}:{number}"), disorder)
        wrong |= {number: found[:3]} if found else {}
    assert wrong == {}, f"seed {SEED}"


@pytest.mark.parametrize("disorder", DISORDERS, ids=lambda each: each.__name__)
def test_the_product_answers_calls_as_the_model(subject: Subject, disorder: Disorder) -> None:
    wrong = {}
    for number in range(MOST):
        made = make(f"{SEED}:{number}")
        expected = answers(made.account, made.script)
        found = answers(made.account, made.script, playing(subject, disorder))
        if found != expected:
            wrong[number] = next(pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1])
    assert wrong == {}, f"seed {SEED}"
