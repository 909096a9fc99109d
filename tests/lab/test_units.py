"""Using units in the lab: of what the customer has, all or none."""

from __future__ import annotations

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.errors import UnitNotFound
from licenzy.lab.actions import NotNow
from licenzy.lab.queries import Bench
from licenzy.usage.models import LedgerRow
from tests.conftest import LiveServer
from tests.support.cast import Cast, make_product
from tests.support.playground import Playground, make_playground

pytestmark = pytest.mark.slow


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    return make_playground(live_server.runtime, cast)


def left(bench: Bench) -> dict[str, tuple[int, int]]:
    return {unit: (each.remaining, each.granted) for unit, each in bench.balances.items()}


def ledger(playground: Playground) -> list[int]:
    with playground.runtime.database.read() as db:
        return [row.units for row in db.exec(select(LedgerRow))]


def test_units_of_a_pack_are_used_all_or_none(playground: Playground) -> None:
    attempt_id = playground.bought("CREDITS_1000")
    granted = playground.bench(attempt_id).balances["units"].granted
    used = playground.let("use_units", attempt_id, unit="units", units=30)
    assert left(used) == {"units": (granted - 30, granted)}
    step = used.steps[0]
    assert step.detail == f"30 units. {granted - 30:,} left."
    assert [(each.what, each.before, each.after) for each in step.differences] == [
        ("units", granted, granted - 30)
    ]
    with pytest.raises(NotNow, match="are left"):
        playground.let("use_units", attempt_id, unit="units", units=granted)
    assert ledger(playground) == [30]


@pytest.mark.parametrize("units", [None, 0, -1, 10**12])
def test_only_a_whole_number_is_used(playground: Playground, units: int | None) -> None:
    attempt_id = playground.bought("CREDITS_1000")
    with pytest.raises(NotNow, match="whole number"):
        playground.let("use_units", attempt_id, unit="units", units=units)
    assert ledger(playground) == []


def test_a_unit_that_nothing_is_sold_in(playground: Playground) -> None:
    attempt_id = playground.bought("CREDITS_1000")
    with pytest.raises(UnitNotFound):
        playground.let("use_units", attempt_id, unit="pages", units=1)


def test_before_anything_is_bought_the_default_product_is_used(playground: Playground, cast: Cast) -> None:
    with playground.runtime.database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            product_code="FREE",
            kind=Kind.FREE,
            stripe_price_id=None,
            is_default=True,
            included=[{"unit": "images", "units": 20, "every": "day", "rollover": None}],
        )
    attempt_id = playground.checkout()
    assert left(playground.bench(attempt_id)) == {"images": (20, 20)}
    used = playground.let("use_units", attempt_id, unit="images", units=5)
    assert left(used) == {"images": (15, 20)}
    assert list(used.steps[0].differences) == []
    assert ledger(playground) == [5]
