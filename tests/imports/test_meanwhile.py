"""An account does not stand still while it is imported: in the end everybody has what Stripe says."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from licenzy.catalog.models import Product
from licenzy.imports import progress
from licenzy.imports.models import ImportStep
from tests.imports.account import Account
from tests.imports.meanwhile import LONG_AGO, Meanwhile, has
from tests.support.clock import StandingClock

Sell = Callable[..., Product]


@pytest.mark.parametrize("seed", ["a", "b"])
def test_everybody_has_what_stripe_says(
    account: Account, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch, seed: str
) -> None:
    check(account, sell, clock, monkeypatch, seed)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(60))
def test_many_accounts(
    account: Account, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    check(account, sell, clock, monkeypatch, f"soak {seed}")


def check(
    account: Account, sell: Sell, clock: StandingClock, monkeypatch: pytest.MonkeyPatch, seed: str
) -> None:
    monkeypatch.setattr(progress, "WRITTEN_AT_A_TIME", 4)
    chance = random.Random(seed)
    at = Meanwhile(account, clock, chance)
    at.begin(sell)
    import_id = account.read(payments_since=LONG_AGO)
    late = happens(at, 8)
    at.let_write(import_id)
    while account.import_(import_id).step is ImportStep.RUN:
        late += happens(at, 1)
        at.go_on_with_time()
        at.write_some(import_id)
    late += happens(at, 4)
    at.deliver(late)
    at.settle()
    newcomer = at.newcomer()
    newcomer.write(newcomer.read(payments_since=LONG_AGO))
    here, there = has(account, clock()), has(newcomer, clock())
    differing = {
        ref: (here.get(ref), there.get(ref)) for ref in {*here, *there} if here.get(ref) != there.get(ref)
    }
    assert differing == {}, f"seed {seed}: {at.subscriptions} {at.happened}"


def happens(at: Meanwhile, times: int) -> list[bytes]:
    """Let something happen, and tell of a part of it; what is told of later."""
    late: list[bytes] = []
    for _ in range(times):
        at.something_happens()
        events = at.new_events()
        if at.chance.random() < 0.5:
            at.deliver(events)
        else:
            late += events
    return late
