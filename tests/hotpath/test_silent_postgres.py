"""A Postgres that says nothing: callers are refused in time, and the next ones answered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.consumer import make_committer
from licenzy.hotpath.postgres_batches import PostgresBatches
from tests.hotpath.test_batches_on_postgres import asked, outcome, used
from tests.support.cast import Cast
from tests.support.hotpath import on_a_loop
from tests.usage.buying import customer_with

pytestmark = pytest.mark.parametrize("database_url", ["postgres"], indirect=True)


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """The process that serves a connection stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_reader(database: Database) -> None:
    async def run(reader: Any) -> None:
        assert await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
        with paused(reader._owner.connection.info.backend_pid):
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await reader.read("none", "nobody", ends_at=began + 0.5)
            assert time.monotonic() - began < 1.5
            # Over a connection of its own: half a second says nothing against the server.
            assert await reader.read("none", "nobody", ends_at=time.monotonic() + 5)

    on_a_loop(database, run)


def test_a_committer(database: Database, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    customer, committer = customer_with(database, cast), make_committer(database, prepares=True)
    customer.buys(10)
    pids: list[int] = []
    real = PostgresBatches._connected

    def connected(batches: PostgresBatches) -> Any:
        connection = real(batches)
        pids.append(connection.info.backend_pid)
        return connection

    monkeypatch.setattr(PostgresBatches, "_connected", connected)
    outcome(committer, asked(customer, "first"))
    with paused(pids[-1]):
        began = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            outcome(committer, asked(customer, "silent"), seconds=0.5)
        assert time.monotonic() - began < 1.5
        assert not outcome(committer, asked(customer, "silent")).replayed
    assert len(set(pids)) == 2
    assert used(database) == 2
