"""The product is as the plain model says: in every figure by hand, and over histories made at random."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest

from licenzy.db.unit_of_work import Database
from tests.properties.included import product
from tests.properties.included.abuse_cases import CASES
from tests.properties.included.agreement import (
    DISORDERS,
    Disorder,
    call_differences,
    facts_by_purchase,
    in_order,
    playing,
    window_differences,
)
from tests.properties.included.generator import Made, make
from tests.properties.included.play import differences
from tests.properties.included.product import Product
from tests.support.cast import Cast
from tests.support.sizes import sizes

SEED = os.environ.get("LICENZY_TEST_SEED", "7")
"""Set another one to try other histories."""
SOAK = 5000
_AT_ONCE = 500

Compare = Callable[[Made, Disorder], list[str]]


WINDOWS = partial(window_differences, product.windows_at)


@pytest.fixture
def subject(database: Database, cast: Cast) -> Product:
    return product.make(database, cast.project_id)


def orders(number: int) -> Iterable[Disorder]:
    """In which orders the facts of a history are told: one in ten comes in every order."""
    return DISORDERS if number % 10 == 0 else (in_order,)


def wrong_in(numbers: Iterable[int], compare: Compare) -> Iterator[str]:
    for number in numbers:
        for disorder in orders(number):
            for each in compare(make(f"{SEED}:{number}"), disorder):
                yield f"{SEED}:{number} {disorder.__name__}: {each}"


@sizes("count", sqlite=(len(CASES),), postgres=(len(CASES),))
def test_the_product_has_the_figures_by_hand(subject: Product, count: int) -> None:
    wrong = {case.name: found for case in CASES[:count] if (found := differences(case, playing(subject)))}
    assert wrong == {}


def test_the_product_opens_the_windows_of_the_model() -> None:
    assert list(wrong_in(range(30), WINDOWS)) == []


@sizes("count", sqlite=(25,), postgres=(8,))
def test_the_product_answers_calls_as_the_model(subject: Product, count: int) -> None:
    assert list(wrong_in(range(count), partial(call_differences, subject))) == []


@sizes("count", sqlite=(15,), postgres=(5,))
def test_replay_changes_nothing_after_a_history(subject: Product, count: int) -> None:
    for number in range(count):
        made = make(f"{SEED}:{number}")
        customer = subject.calls(facts_by_purchase(made.account), made.account.packs)
        for each in made.script:
            if not isinstance(each, int):
                customer.perform(each)
        last = max(each if isinstance(each, int) else each.at for each in made.script)
        assert customer.changed_by_replay(last) == [], number


@pytest.mark.soak
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("first", range(0, SOAK, _AT_ONCE))
def test_the_product_agrees_over_many_histories(subject: Product, first: int) -> None:
    numbers = range(first, first + _AT_ONCE)
    assert list(wrong_in(numbers, WINDOWS)) == []
    assert list(wrong_in(numbers, partial(call_differences, subject))) == []
