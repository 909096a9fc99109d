"""What can befall a Postgres, each for the length of a block."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.support.databases import OwnServer
from tests.support.threads import join


@contextmanager
def paused(server: OwnServer) -> Iterator[None]:
    """All processes of the server stand still: nothing is refused, and nothing answered."""
    stopped: list[int] = []
    try:
        # The postmaster first, so that there are no more of them than are seen.
        for pid in [server.pid, *_children(server.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
        yield
    finally:
        for pid in stopped:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextmanager
def restarted(server: OwnServer) -> Iterator[None]:
    """Stopped as a crash would stop it, and away until the block ends."""
    server.stop_at_once()
    try:
        yield
    finally:
        server.start_again()


@contextmanager
def backends_killed(server: OwnServer, name: str, *, every: float) -> Iterator[None]:
    """Processes of the server are killed one by one; each time it cuts off everybody and recovers."""
    enough = threading.Event()

    def kill() -> None:
        while not enough.wait(every):
            with suppress(psycopg.OperationalError), _connected(server) as connection:
                for pid in _backends(connection, name)[:1]:
                    os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill, name="killer of backends")
    thread.start()
    try:
        yield
    finally:
        enough.set()
        join(thread, seconds=30)
        _wait_until_it_answers(server)


@contextmanager
def locked(server: OwnServer, name: str, table: str) -> Iterator[None]:
    """Another session holds a table as one does that alters it."""
    with _connected(server, name) as connection:
        connection.execute("BEGIN")
        connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        yield
        connection.execute("ROLLBACK")


@contextmanager
def exhausted(server: OwnServer, name: str) -> Iterator[None]:
    """Others have all connections that the server gives, and the product has none of those it had."""
    taken: list[psycopg.Connection[Any]] = []
    enough = threading.Event()

    def take() -> None:
        while not enough.is_set():
            try:
                taken.append(_connected(server))
            except psycopg.OperationalError:
                taken[0].execute(_END, [name])
                time.sleep(0.01)

    taken.append(_connected(server))
    thread = threading.Thread(target=take, name="taker of connections")
    thread.start()
    try:
        yield
        # It is taken away from the product within a second, and stays so.
        left = _backends(taken[0], name)
        assert not left, f"the product still had {len(left)} connections"
    finally:
        enough.set()
        join(thread, seconds=30)
        for each in taken:
            each.close()


_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"


def backends(server: OwnServer, name: str) -> int:
    """How many connections there are to a database."""
    with _connected(server) as connection:
        return len(_backends(connection, name))


def _backends(connection: psycopg.Connection[Any], name: str) -> list[int]:
    rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = %s", [name])
    return [pid for (pid,) in rows.fetchall()]


def _connected(server: OwnServer, name: str = "postgres") -> psycopg.Connection[Any]:
    return psycopg.connect(server.url(name), autocommit=True, connect_timeout=20)


def _wait_until_it_answers(server: OwnServer) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            return _connected(server).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "Postgres does not come back"
            time.sleep(0.05)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
