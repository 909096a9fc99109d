"""Cases from the field, each on both databases and in many orders of delivery.

A case that the product does not yet answer rightly stands in `NOT_YET`. Its mark is strict: the change that
makes the product right has to remove it.
"""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from licenzy.runtime import Runtime
from tests.conftest import Sandbox
from tests.field.cases import case_names, load_case, orders
from tests.field.shop import Town
from tests.support.cast import Cast
from tests.support.clock import StandingClock

NOT_YET: dict[str, str] = {}

CASES = [
    pytest.param(
        name,
        marks=[pytest.mark.xfail(strict=True, raises=AssertionError, reason=NOT_YET[name])]
        if name in NOT_YET
        else [],
    )
    for name in case_names()
]


@pytest.fixture
def town(client: FlaskClient, runtime: Runtime, clock: StandingClock, cast: Cast, sandbox: Sandbox) -> Town:
    return Town(client, runtime, clock, cast, sandbox)


@pytest.mark.parametrize("name", CASES)
def test_a_case(town: Town, name: str) -> None:
    wrong = wrong_answers(town, name, shuffles=5)
    assert not wrong, "\n".join(wrong)


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_a_case_in_many_orders(town: Town, name: str) -> None:
    wrong = wrong_answers(town, name, shuffles=50)
    assert not wrong, "\n".join(wrong)


def wrong_answers(town: Town, name: str, *, shuffles: int) -> list[str]:
    case = town.with_prices(load_case(name))
    return [wrong for order in orders(case, shuffles=shuffles) for wrong in town.run(case, order)]


def test_every_case_is_here_and_every_mark_is_of_one() -> None:
    assert len(CASES) == 16
    assert set(NOT_YET) <= set(case_names())
