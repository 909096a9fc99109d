"""An installation that the tests of a module share, as long as it is well."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from licenzy.settings import Settings
from tests.conftest import make_settings
from tests.support.databases import OwnServer, durable_postgres
from tests.trouble.installation import Web, install, running
from tests.trouble.outage import Clients, Report

Serve = Callable[[Settings], "Served"]


@dataclass
class Served:
    """A running installation and those who call it."""

    web: Web
    clients: Clients
    is_well: bool = True

    def must_be_right(self, report: Report) -> None:
        """Fail with what was seen, when something of it is wrong."""
        self.is_well = not report.wrong
        if report.wrong:
            pytest.fail(str(report), pytrace=False)
        print(report)


class Shared:
    """Serves one installation for test after test, and another one after a test that failed."""

    def __init__(self, make: Callable[[], Settings]) -> None:
        self._make = make
        self._running = ExitStack()
        self._served: Served | None = None

    def served(self) -> Served:
        if self._served is not None and not self._served.is_well:
            self.stop()
        if self._served is None:
            installation = install(self._make())
            web = self._running.enter_context(running(installation))
            self._served = Served(web, Clients(installation))
        return self._served

    def stop(self) -> None:
        self._served = None
        self._running.close()


@contextmanager
def shared(make: Callable[[], Settings]) -> Iterator[Shared]:
    stand = Shared(make)
    try:
        yield stand
    finally:
        stand.stop()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[OwnServer]:
    """A server that the module may stop, pause and fill."""
    with durable_postgres() as server:
        server.make_template()
        yield server


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder of the module's in which every installation has one of its own."""
    with tempfile.TemporaryDirectory(prefix="lztrouble-") as path:
        yield Path(path)


def new_settings(folder: Path, database_url: str) -> Settings:
    """Settings of an installation in a new folder."""
    instance = Path(tempfile.mkdtemp(dir=folder))
    return make_settings(instance, database_url)
