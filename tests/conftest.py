"""Fixtures of all tests; what they are made of stands in tests/support."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.db.unit_of_work import Database
from licenzy.factory import create_app, make_runtime, sandbox_app
from licenzy.runtime import Runtime
from licenzy.settings import Settings, load_settings
from tests.support import browsers, library_patches, memory, network
from tests.support.cast import Cast, make_cast
from tests.support.clock import StandingClock
from tests.support.databases import PostgresServer, SqliteFiles, postgres_server
from tests.support.ports import free_port_pair
from tests.support.servers import served
from tests.support.threads import join

NO_SKIPS = os.environ.get("LICENZY_NO_SKIPS") == "1"
_tests_run = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "postgres: needs a Postgres server")
    network.refuse_the_world()
    if library_patches.WANTED:
        library_patches.patch_libraries()
    memory.use_memory()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        names = getattr(item, "fixturenames", ())
        callspec = getattr(item, "callspec", None)
        if "postgres" in names or (callspec and callspec.params.get("database_url") == "postgres"):
            item.add_marker(pytest.mark.postgres)
        if "browser" in names:
            item.add_marker(pytest.mark.browser)
    # The longest first, so that no process is left alone with one of them in the end; and dealt out like
    # cards, because each process is given a piece of the list to begin with.
    items.sort(
        key=lambda item: [not item.get_closest_marker(name) for name in ("timeout", "slow", "browser")]
    )
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = [item for first in range(processes) for item in items[first::processes]]


def pytest_collection_finish() -> None:
    if library_patches.WANTED:
        library_patches.freeze_garbage_collection()


def pytest_runtest_logfinish() -> None:
    # What is compiled once and kept grows for a while.
    if library_patches.WANTED and next(_tests_run) % 200 == 0:
        library_patches.freeze_garbage_collection()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With LICENZY_NO_SKIPS=1 a test that would be skipped fails instead."""
    report = yield
    if NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, although nothing may be: {report.longrepr[-1]}"
    return report


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this run see (pytest-xdist runs several)."""
    folder = tmp_path_factory.getbasetemp()
    return folder if worker_id == "master" else folder.parent


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """`gw0`, `gw1`, … under pytest-xdist, else `master`."""
    workerinput: dict[str, str] | None = getattr(request.config, "workerinput", None)
    return workerinput["workerid"] if workerinput else "master"


@pytest.fixture(scope="session")
def sqlite_files() -> Iterator[SqliteFiles]:
    with tempfile.TemporaryDirectory(prefix="lzdb-") as folder:
        yield SqliteFiles(Path(folder))


@pytest.fixture(scope="session")
def postgres(shared_folder: Path) -> Iterator[PostgresServer]:
    """A real Postgres server with a migrated template database."""
    with postgres_server(shared_folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a migrated, empty database; every test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        files: SqliteFiles = request.getfixturevalue("sqlite_files")
        yield files.fresh(tmp_path)
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.lent() as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """Settings of an installation in a folder of its own, on one of the two databases."""
    return make_settings(tmp_path, database_url)


def make_settings(instance: Path, database_url: str, **changes: Any) -> Settings:
    """Settings as a first run on this machine has them, on ports that are free."""
    port = free_port_pair()
    environ = {
        "LICENZY_INSTANCE": str(instance),
        "LICENZY_DATABASE_URL": database_url,
        "LICENZY_PORT": str(port),
        "LICENZY_WORKERS": "1",
    }
    return replace(load_settings(environ), testing=True, **changes)


@pytest.fixture
def clock() -> StandingClock:
    """The time of everything in the test; it stands still until moved."""
    return StandingClock()


@pytest.fixture
def app(settings: Settings, clock: StandingClock) -> Iterator[Flask]:
    application = create_app(settings, clock=clock)
    yield application
    application.extensions["licenzy"].database.close()


@pytest.fixture
def runtime(request: pytest.FixtureRequest, settings: Settings, clock: StandingClock) -> Iterator[Runtime]:
    """The wired parts; those of `app` when the test has one."""
    if "app" in request.fixturenames:
        application: Flask = request.getfixturevalue("app")
        yield application.extensions["licenzy"]
        return
    made = make_runtime(settings, clock)
    yield made
    made.database.close()


@pytest.fixture
def database(runtime: Runtime) -> Database:
    """The database of `runtime`, on SQLite and on Postgres in turn."""
    return runtime.database


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def cast(database: Database, clock: StandingClock) -> Cast:
    """A claimed installation with an owner, a colleague and a stranger."""
    with database.write() as db:
        return make_cast(db, now=clock())


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A running Stripe sandbox: its application, address and control token."""

    app: Any
    url: str
    control_token: str


@pytest.fixture
def sandbox(settings: Settings) -> Iterator[Sandbox]:
    """The Stripe sandbox over real HTTP, at the address where `settings` says it is."""
    application = sandbox_app(settings)
    with served(application, port=settings.port + 1) as url:
        yield Sandbox(application, url, settings.derived_secret("sandbox control"))
    application.close()


@dataclass(frozen=True, slots=True)
class LiveServer:
    """The product over real HTTP with its worker, and the sandbox beside it."""

    url: str
    app: Flask
    settings: Settings
    sandbox: Sandbox

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.extensions["licenzy"]
        return runtime


@pytest.fixture
def live_server(
    settings: Settings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LiveServer]:
    """Product, worker and sandbox, all over real HTTP on real time, in threads of this process.

    Of what is done some time after, tests wait for the end: it is done sooner than in service.
    """
    from licenzy.stripe_events import settling
    from licenzy.worker import loop, run_worker

    monkeypatch.setattr(settling, "SETTLE_AFTER", timedelta(seconds=0.3))
    monkeypatch.setattr(loop, "IDLE_SECONDS", 0.2)
    application = create_app(settings)
    stop = threading.Event()
    worker = threading.Thread(
        target=run_worker, args=(application.extensions["licenzy"],), kwargs={"stop": stop}, daemon=True
    )
    worker.start()
    with served(application, port=settings.port) as url:
        yield LiveServer(url, application, settings, sandbox)
    stop.set()
    join(worker, seconds=10)
    application.extensions["licenzy"].database.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """One Chromium for the run; skips with a sentence that says how to get one."""
    yield from browsers.chromium()


@pytest.fixture
def browser(chromium: Any) -> Iterator[Any]:
    """A page of a fresh browser profile. An error in the page's console fails the test."""
    yield from browsers.fresh_page(chromium)
