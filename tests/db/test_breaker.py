"""While the database is lost callers are refused at once, and one at a time finds out whether it is back."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import ExitStack

import psycopg
import pytest

from licenzy.db.breaker import Breaker
from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.hotpath.readers import make_reader
from licenzy.hotpath.snapshot import SnapshotReader, SubjectSnapshot
from tests.support.databases import durable_postgres
from tests.support.hotpath import on_a_loop
from tests.support.ports import wait_until
from tests.support.servers import silent_server


def test_one_caller_at_a_time_finds_out() -> None:
    probing, go_on, tries = threading.Event(), threading.Event(), []

    def probe() -> None:
        tries.append(1)
        probing.set()
        go_on.wait(10)

    breaker = Breaker(probe)
    breaker.admit()
    breaker.lost()
    prober = threading.Thread(target=breaker.admit)
    prober.start()
    probing.wait(10)
    for _ in range(10):
        with pytest.raises(DatabaseUnavailable):
            breaker.admit()
    go_on.set()
    prober.join()
    breaker.admit()
    assert tries == [1]


def test_what_is_known_to_be_lost_does_not_open_it_again() -> None:
    breaker = Breaker(lambda: None)
    breaker.lost(generation=0)
    breaker.admit()
    breaker.lost(generation=0)
    assert breaker.generation == 1
    breaker.lost(generation=1)
    assert breaker.generation == 2


def test_a_failed_probe_leaves_it_open_for_the_next() -> None:
    answers = iter([OSError("no"), OSError("no"), None])

    def probe() -> None:
        if error := next(answers):
            raise error

    breaker = Breaker(probe)
    breaker.lost()
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            breaker.admit()
    breaker.admit()
    breaker.admit()


def test_a_server_that_says_nothing_is_waited_for_once() -> None:
    """It accepts connections and never answers, as behind a network that swallows."""
    with silent_server() as port:
        database = Database(make_engine(f"postgresql://nobody@127.0.0.1:{port}/none"))
        began = time.monotonic()

        async def wait(reader: SnapshotReader) -> None:
            with pytest.raises(DatabaseUnavailable):
                await reader.read("none", "nobody", ends_at=began + 1.0)
            await asyncio.sleep(0.3)  # The statement ends at the same time as its caller.

        on_a_loop(database, wait)
        assert 0.9 < time.monotonic() - began < 3
        began, refused = time.monotonic(), 0

        def find_out() -> None:
            with pytest.raises(DatabaseUnavailable):
                database.admit()

        probe = threading.Thread(target=find_out)
        probe.start()
        assert database.breaker is not None
        wait_until(database.breaker._probing.locked, seconds=5, what="one finds out")
        while time.monotonic() - began < 0.3:
            with pytest.raises(DatabaseUnavailable), database.read():
                pass
            refused += 1
        probe.join()
        assert refused > 20, "all others are refused at once"
        database.close()


def test_a_postgres_that_comes_back_is_found_by_the_next_caller() -> None:
    with durable_postgres() as server:
        server.make_template()
        name = server.fresh()
        database = Database(make_engine(server.url(name)))

        async def run(reader: SnapshotReader) -> None:
            assert await read(reader) == SubjectSnapshot(None)
            server.stop_at_once()
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await read(reader)
            assert await read(reader) is None, "now it is known, and the loop does not wait for probes"
            with pytest.raises(DatabaseUnavailable), database.read():
                pass
            assert time.monotonic() - began < 3
            server.start_again()
            with database.read() as db:
                assert db.connection().exec_driver_sql("SELECT 1").scalar() == 1
            assert await read(reader) == SubjectSnapshot(None)

        on_a_loop(database, run)
        database.close()


def test_a_postgres_without_a_connection_left_costs_nobody_the_one_they_have() -> None:
    with durable_postgres() as server, ExitStack() as others:
        server.make_template()
        url = server.url(server.fresh())
        database = Database(make_engine(url))

        async def run(reader: SnapshotReader) -> None:
            assert await read(reader) == SubjectSnapshot(None)
            refused = ""
            while not refused:
                try:
                    others.enter_context(psycopg.connect(url))
                except psycopg.OperationalError as error:
                    refused = str(error)
            assert "clients" in refused
            another = make_reader(database, prepares=True)
            with pytest.raises(DatabaseUnavailable):
                await read(another)
            assert database.breaker is not None
            assert database.breaker.generation == 0, "those that are open are not thrown away"
            others.close()
            with database.read() as db:
                assert db.connection().exec_driver_sql("SELECT 1").scalar() == 1
            assert await read(reader) == SubjectSnapshot(None)

        on_a_loop(database, run)
        database.close()


async def read(reader: SnapshotReader) -> SubjectSnapshot | None:
    return await reader.read("none", "nobody", ends_at=time.monotonic() + 5)
