"""A Postgres in trouble: every answer comes in time, and all is well soon after, without a restart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from licenzy.settings import Settings
from tests.support.databases import OwnServer
from tests.trouble import postgres_troubles as troubles
from tests.trouble.conftest import Served, Shared, new_settings, shared
from tests.trouble.outage import endure
from tests.trouble.silent_network import SilentNetwork

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]

SHORT = 7
"""Seconds of trouble in everyday tests: more than any answer may take."""
SOAK = pytest.mark.soak
API = ("check", "consume", "reserve and commit", "webhook")
PAGES = ("signed-in page",)


def seconds(large: int) -> pytest.MarkDecorator:
    """The everyday length and the large one."""
    return pytest.mark.parametrize("seconds", [SHORT, pytest.param(large, marks=SOAK)])


@pytest.fixture(scope="module")
def straight(own_postgres: OwnServer, folder: Path) -> Iterator[Shared]:
    with shared(lambda: new_settings(folder, own_postgres.url(own_postgres.fresh()))) as stand:
        yield stand


@pytest.fixture
def served(straight: Shared) -> Served:
    """An installation that is connected to the server's socket file."""
    return straight.served()


@seconds(30)
def test_paused(served: Served, own_postgres: OwnServer, seconds: int) -> None:
    trouble = troubles.paused(own_postgres)
    hurts = [*API, *PAGES, "readyz"]
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=hurts))


@pytest.mark.parametrize(
    ("table", "hurts", "seconds"),
    [
        # Stripe's events are kept all the same, and applied later.
        ("entitlements", ["check", "consume", "reserve and commit"], SHORT),
        pytest.param("entitlements", ["check", "consume", "reserve and commit"], 25, marks=SOAK),
        pytest.param("api_keys", ["check", "consume", "reserve and commit"], 25, marks=SOAK),
        pytest.param("idempotency_keys", ["consume", "reserve and commit"], 25, marks=SOAK),
    ],
)
def test_a_table_is_locked(
    served: Served, own_postgres: OwnServer, table: str, hurts: list[str], seconds: int
) -> None:
    trouble = troubles.locked(own_postgres, name_of(served), table)
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=hurts))


@pytest.mark.parametrize("seconds", [4, pytest.param(20, marks=SOAK)])
def test_no_connection_is_left(served: Served, own_postgres: OwnServer, seconds: int) -> None:
    trouble = troubles.exhausted(own_postgres, name_of(served))
    hurts = [*API, *PAGES, "readyz"]
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=hurts))


@pytest.mark.parametrize("seconds", [2, pytest.param(30, marks=SOAK)])
def test_backends_are_killed(served: Served, own_postgres: OwnServer, seconds: int) -> None:
    trouble = troubles.backends_killed(own_postgres, name_of(served), every=0.7)
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=["check"]))


@pytest.mark.parametrize("seconds", [3, pytest.param(30, marks=SOAK)])
def test_restarted(served: Served, own_postgres: OwnServer, seconds: int) -> None:
    trouble = troubles.restarted(own_postgres)
    hurts = [*API, *PAGES, "readyz"]
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=hurts))


@pytest.fixture(scope="module")
def network(own_postgres: OwnServer) -> Iterator[SilentNetwork]:
    made = SilentNetwork(own_postgres.socket_file)
    yield made
    made.close()


@pytest.fixture(scope="module")
def distant(own_postgres: OwnServer, network: SilentNetwork, folder: Path) -> Iterator[Shared]:
    def settings() -> Settings:
        user = make_url(own_postgres.url("postgres")).username
        address = f"postgresql://{user}@127.0.0.1:{network.port}/{own_postgres.fresh()}"
        return new_settings(folder, address)

    with shared(settings) as stand:
        yield stand


@seconds(20)
def test_the_network_swallows_everything(distant: Shared, network: SilentNetwork, seconds: int) -> None:
    served = distant.served()
    trouble = network.swallowing()
    hurts = [*API, *PAGES, "readyz"]
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=hurts))


@pytest.mark.parametrize("seconds", [0.1, pytest.param(20, marks=SOAK)])
def test_old_connections_stay_silent_while_new_ones_work(
    distant: Shared, network: SilentNetwork, seconds: float
) -> None:
    """Whoever is waiting on one waits to the end of its time; nobody after that does.

    The last to begin may be `/readyz`, which asks once in a second, and gives each answer for as long again.
    """
    served = distant.served()
    report = endure(
        served.web, served.clients, forgetting(network), seconds=seconds, hurts=["check"], heal_seconds=8
    )
    served.must_be_right(report)


@contextmanager
def forgetting(network: SilentNetwork) -> Iterator[None]:
    network.forget_the_old()
    yield


def name_of(served: Served) -> str:
    """The name of an installation's database."""
    name = make_url(served.web.installation.settings.database_url).database
    assert name is not None
    return name
