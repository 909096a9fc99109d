"""A shop with a customer of whom everything is stored that can be, and another customer beside."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from licenzy.settings import Settings
from tests.checkout.conftest import Shop, sell, shop
from tests.conftest import make_settings
from tests.forgetting.customers import Market
from tests.imports.account import Account
from tests.support.clock import StandingClock

__all__ = ["sell", "shop"]


@pytest.fixture
def market(shop: Shop, clock: StandingClock) -> Market:
    clock.now = datetime.now(UTC)
    return Market(Account(shop), clock)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings that let webhooks be sent to this machine."""
    return replace(make_settings(tmp_path, database_url), allow_private_webhooks=True)
