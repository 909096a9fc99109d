"""Connections that are reused among tests: put by for the next one, and nobody else's."""

from __future__ import annotations

import os

import psycopg
import pytest

from tests.support.connection_reuse import ReusedConnection
from tests.support.databases import PostgresServer


@pytest.fixture(autouse=True)
def reusing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the other tests do so or not."""
    monkeypatch.setattr(psycopg, "connect", ReusedConnection.connect)


def backend(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.info.backend_pid


def test_a_closed_connection_is_used_again_until_its_test_is_over(postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        first = backend(url)
        assert backend(url) == first
        with psycopg.connect(url) as connection:
            assert connection.info.backend_pid == first
            with pytest.raises(psycopg.Error):
                connection.execute("nonsense")
            connection.rollback()
            connection.execute("SET statement_timeout = '5s'")
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW statement_timeout").fetchall() == [("0",)]
        assert backend(f"{url}&options=-cstatement_timeout%3D5s") != first
    with pytest.raises(psycopg.OperationalError, match="is over"):
        backend(url)


def test_a_fork_makes_its_own(postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        first = backend(url)
        told, tells = os.pipe()
        if not (child := os.fork()):
            os.write(tells, str(backend(url)).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert int(os.read(told, 20)) != first
        assert backend(url) == first
        os.close(told)
        os.close(tells)
