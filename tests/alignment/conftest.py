"""One sandbox for all rows, with test and live; each row has accounts and a database of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from licenzy.factory import create_app
from licenzy.kit.clock import utc_now
from licenzy.settings import Settings
from licenzy.stripe_sandbox import create_sandbox
from tests.alignment.fixtures_alignment import ModePair
from tests.support.clock import StandingClock
from tests.support.ports import free_port_pair
from tests.support.servers import served


@pytest.fixture(scope="module")
def stripe_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The sandbox over HTTP. It posts nothing: rows deliver what they mean to."""
    port = free_port_pair()
    app = create_sandbox(
        tmp_path_factory.mktemp("stripe") / "sandbox.sqlite3",
        control_token="control-token",
        public_url=f"http://127.0.0.1:{port}",
        allow_live=True,
        start=False,
    )
    with served(app, port=port) as url:
        yield app, url
    app.services.store.close()


@pytest.fixture
def home(stripe_stand_in: Any, settings: Settings) -> Iterator[ModePair]:
    """The same at a loopback address, where people look at its pages, on real time."""
    _app, url = stripe_stand_in
    app = create_app(replace(settings, stripe_api_base=url), clock=utc_now)
    yield ModePair(app, utc_now, url)
    app.extensions["licenzy"].database.close()


@pytest.fixture
def pair(stripe_stand_in: Any, settings: Settings) -> Iterator[ModePair]:
    _app, url = stripe_stand_in
    clock = StandingClock(datetime.now(UTC).replace(microsecond=0))
    reachable = replace(settings, stripe_api_base=url, base_url="https://licenzy.example.com")
    app = create_app(reachable, clock=clock)
    yield ModePair(app, clock, url)
    app.extensions["licenzy"].database.close()
