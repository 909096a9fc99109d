"""One sandbox over real HTTP for all of these tests, an account of its own for each."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from licenzy.stripe_sandbox import Sandbox, create_sandbox
from tests.stripe_sandbox.recorded_traffic import RecordedTraffic
from tests.stripe_sandbox.shop import Receiver, Shop
from tests.support.servers import served

# The first tries of a real sender, quick enough for tests to see them.
QUICK = (0.05, 0.1, 0.2)


@dataclass
class Stand:
    """A served sandbox and what is exchanged with it."""

    url: str
    app: Sandbox
    traffic: RecordedTraffic


@pytest.fixture(scope="session")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    port = free_port()
    app = make_sandbox(tmp_path_factory.mktemp("sandbox") / "sandbox.sqlite3", port=port)
    traffic = RecordedTraffic(app)
    with served(traffic, port=port, threads=16) as url:
        yield Stand(url, app, traffic)
    app.close()


@pytest.fixture(autouse=True)
def spoken_as_described(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test says to the sandbox and hears from it must be as Stripe describes it."""
    if "stand" not in request.fixturenames:
        yield
        return
    traffic = request.getfixturevalue("stand").traffic
    traffic.calls.clear()
    yield
    assert traffic.complaints() == []


@pytest.fixture
def shop(stand: Stand) -> Shop:
    return Shop(stand.url)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()
    assert made.complaints == []


def make_sandbox(storage: Path, *, port: int, start: bool = True) -> Sandbox:
    return create_sandbox(
        storage,
        control_token="control-token",
        public_url=f"http://127.0.0.1:{port}",
        allow_live=True,
        retry_seconds=QUICK,
        start=start,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
