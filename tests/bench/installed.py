"""Installations of the versions with the same rows in each, and the processes that serve them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.bench.apps import WORKERS
from tests.bench.portal import EMAIL, PASSWORD
from tests.bench.shop import Shop
from tests.bench.versions import ROOT, Version, this_version
from tests.support.databases import OwnServer
from tests.support.ports import answers, free_port_pair, wait_until

_FILL = Path(__file__).with_name("fill.py")
_DATABASE = "licenzy"
NOBODY = Shop("lz_test_none", "con_none", "price_none", 1000)
"""What stands behind an application that knows no shop."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: `version` is none of the product's for what it is compared with."""

    version: str
    pid: int
    port: int
    shop: Shop
    postmaster: int | None = None

    @property
    def roots(self) -> list[int]:
        """The processes that, with all they started, do the work of a call."""
        return [self.pid, *([self.postmaster] if self.postmaster else [])]


@contextmanager
def serve_app(name: str, instance: Path) -> Iterator[Served]:
    """An application of tests/bench/apps.py."""
    port = free_port_pair()
    environ = this_version().environ(LICENZY_INSTANCE=str(instance))
    with _running(["-m", "tests.bench.apps", name, str(port)], environ, port, ROOT) as pid:
        yield Served("", pid, port, NOBODY)


@contextmanager
def serve_all(
    versions: Sequence[Version], folder: Path, database: str, stripe: str, *, subjects: int, everything: bool
) -> Iterator[list[Served]]:
    """Each version over rows of its own, which are the same in all of them.

    The first version makes them; the others get a copy of all files, and upgrade it as their users do.
    With `everything` the worker and the sandbox run too, and somebody can sign in.
    """
    first, *others = versions
    folder.mkdir()
    folder.chmod(0o755)  # Postgres refuses to run as root and then runs as another user.
    try:
        with ExitStack() as running:
            installations = [_Installation(first, folder / first.name, database, stripe)]
            shop = installations[0].fill(subjects, with_owner=everything)
            for version in others:
                installations.append(_Installation(version, folder / version.name, database, stripe))
                installations[-1].copy(installations[0])
            for each in installations:
                each.add_plans()
            yield [
                running.enter_context(each.served(shop, "serve" if everything else "web"))
                for each in installations
            ]
    finally:
        shutil.rmtree(folder)


class _Installation:
    """One version's instance folder, and its own Postgres where it is on Postgres."""

    def __init__(self, version: Version, folder: Path, database: str, stripe: str) -> None:
        self._version = version
        self._folder = folder
        self._on_postgres = database == "Postgres"
        self._port = free_port_pair()
        self._environ = version.environ(
            LICENZY_INSTANCE=str(folder / "instance"),
            LICENZY_PORT=str(self._port),
            LICENZY_WORKERS=str(WORKERS),
            LICENZY_STRIPE_API_BASE=stripe,
            # One key stands for many merchants here; the limiter runs, it only never says no.
            LICENZY_RATE_LIMIT="1000000",
        )

    def fill(self, subjects: int, *, with_owner: bool) -> Shop:
        """Make the rows."""
        self._folder.mkdir(mode=0o755)
        with self._database() as (server, environ):
            self._licenzy(environ, "db", "upgrade")
            if with_owner:
                self._licenzy(
                    environ, "users", "create", "--email", EMAIL, "--password-stdin", stdin=PASSWORD
                )
            # `-P`: what lies beside the file must not be found before what the version has.
            printed = self._version.run(["-P", str(_FILL), str(subjects)], environ)
            _tidy(server)
        return Shop(**json.loads(printed.splitlines()[-1]))

    def copy(self, other: _Installation) -> None:
        """Take over all files of another one, which does not run, and upgrade them."""
        subprocess.run(["cp", "-a", str(other._folder), str(self._folder)], check=True)
        with self._database() as (server, environ):
            self._licenzy(environ, "db", "upgrade")
            _tidy(server)

    def add_plans(self) -> None:
        """Make the rows of what only this version sells."""
        if self._version.tree != ROOT:
            return
        with self._database() as (server, environ):
            self._version.run(["-m", "tests.bench.plans"], environ)
            _tidy(server)

    @contextmanager
    def served(self, shop: Shop, command: str) -> Iterator[Served]:
        """Run it by the version's own command."""
        with (
            self._database() as (server, environ),
            _running(["-m", "licenzy", command], environ, self._port, self._version.tree) as pid,
        ):
            yield Served(self._version.name, pid, self._port, shop, server.pid if server else None)

    def _licenzy(self, environ: dict[str, str], *arguments: str, stdin: str = "") -> None:
        self._version.run(["-m", "licenzy", *arguments], environ, stdin=stdin)

    @contextmanager
    def _database(self) -> Iterator[tuple[OwnServer | None, dict[str, str]]]:
        """What it runs on, and the environment that leads there."""
        if not self._on_postgres:
            yield None, self._environ
            return
        data = self._folder / "data"
        is_new = not data.exists()
        server = OwnServer(data)
        try:
            server.start_again()  # The library gives one that it has started before as it is.
            if is_new:
                _administer(server.url("postgres"), f'CREATE DATABASE "{_DATABASE}"')
            yield server, {**self._environ, "LICENZY_DATABASE_URL": server.url(_DATABASE)}
        finally:
            server.stop()


def _tidy(server: OwnServer | None) -> None:
    """Do what Postgres would do by itself sooner or later, and so in the midst of somebody's round."""
    if server is not None:
        _administer(server.url(_DATABASE), "VACUUM ANALYZE", "CHECKPOINT")


def _administer(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def _running(arguments: Sequence[str], environ: dict[str, str], port: int, cwd: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environ,
        stdout=subprocess.DEVNULL,
        # `serve` gives its children sessions of their own, and Linux shares the processor out by sessions:
        # whoever stayed in that of the load generator would be measured under other conditions.
        start_new_session=True,
    )
    try:
        wait_until(lambda: answers(port), seconds=60, what="the server listens")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
