"""A shop whose account sold before."""

from datetime import UTC, datetime

import pytest

from tests.checkout.conftest import Shop, sell, shop
from tests.imports.account import Account
from tests.support.clock import StandingClock

__all__ = ["sell", "shop"]


@pytest.fixture
def account(shop: Shop, clock: StandingClock) -> Account:
    clock.now = datetime.now(UTC)
    return Account(shop)
