"""A SQLite file in trouble: every answer comes in time, and all is well soon after, without a restart."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path

import pytest
from sqlalchemy import make_url

from licenzy.settings import Settings
from tests.support.databases import SqliteFiles
from tests.support.web_processes import WEB
from tests.trouble import sqlite_troubles as troubles
from tests.trouble.conftest import Served, Shared, new_settings, shared
from tests.trouble.installation import install, running
from tests.trouble.outage import Clients, endure

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

READS = ("check", "signed-in page", "sign-in page")
WRITES = ("consume", "reserve and commit", "webhook")


@pytest.fixture(scope="module")
def small(folder: Path) -> Iterator[Path]:
    with troubles.small_file_system(Path(tempfile.mkdtemp(dir=folder))) as place:
        yield place


@pytest.fixture(scope="module")
def stand(sqlite_files: SqliteFiles, folder: Path, small: Path) -> Iterator[Shared]:
    def settings() -> Settings:
        return new_settings(folder, sqlite_files.fresh(Path(tempfile.mkdtemp(dir=small))))

    with shared(settings) as made:
        yield made


@pytest.fixture
def served(stand: Shared) -> Served:
    return stand.served()


@pytest.mark.parametrize(
    ("by", "seconds"),
    [
        (troubles.locked_by_a_stranger, 7),
        pytest.param(troubles.locked_by_a_stranger, 25, marks=pytest.mark.soak),
        pytest.param(troubles.locked_by_a_sibling, 25, marks=pytest.mark.soak),
    ],
)
def test_locked(served: Served, by: Callable[[Path], AbstractContextManager[None]], seconds: int) -> None:
    trouble = by(file_of(served))
    served.must_be_right(
        endure(served.web, served.clients, trouble, seconds=seconds, hurts=WRITES, spares=READS)
    )


@pytest.mark.parametrize("seconds", [3, pytest.param(25, marks=pytest.mark.soak)])
def test_full(served: Served, small: Path, seconds: int) -> None:
    trouble = troubles.full(small, served.web.pids)
    served.must_be_right(
        endure(served.web, served.clients, trouble, seconds=seconds, hurts=WRITES, spares=READS, unready=True)
    )


@pytest.mark.parametrize("seconds", [3, pytest.param(25, marks=pytest.mark.soak)])
def test_moved_away_and_back(served: Served, seconds: int) -> None:
    """What is open may be read and written on, or refused: nothing may be lost by it."""
    trouble = troubles.moved_away(file_of(served))
    served.must_be_right(endure(served.web, served.clients, trouble, seconds=seconds, hurts=()))


@pytest.mark.parametrize("seconds", [3, pytest.param(25, marks=pytest.mark.soak)])
def test_read_only_from_the_start(sqlite_files: SqliteFiles, folder: Path, seconds: int) -> None:
    settings = new_settings(folder, sqlite_files.fresh(Path(tempfile.mkdtemp(dir=folder))))
    installation = install(settings)
    database = Path(str(make_url(settings.database_url).database))
    command = ["-m", "tests.trouble.bound_by_modes", *WEB]
    with ExitStack() as until_healed:
        until_healed.enter_context(troubles.read_only(database))
        with running(installation, command) as web:
            served = Served(web, Clients(installation))
            report = endure(
                web,
                served.clients,
                closing(until_healed),
                seconds=seconds,
                hurts=WRITES,
                unready=True,
                from_the_start=True,
            )
            served.must_be_right(report)


def file_of(served: Served) -> Path:
    """Where an installation's database is."""
    return Path(str(make_url(served.web.installation.settings.database_url).database))
