"""What a consume is refused for is in the log, and is never called a failure of ours."""

from __future__ import annotations

import logging
import sqlite3

import psycopg
import pytest
from flask.testing import FlaskClient

from licenzy.api_keys.models import ApiKey
from licenzy.db.unit_of_work import Database
from licenzy.kit import deadline
from licenzy.settings import Settings
from tests.support.cast import Cast
from tests.support.ports import wait_until
from tests.usage.buying import Customer, consume, customer_with, reserve

SHORT = 0.5


def was_used(database: Database, customer: Customer) -> bool:
    with database.read() as db:
        return db.get_one(ApiKey, customer.key.id).last_used_at is not None


def said(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_file_that_a_stranger_holds(
    client: FlaskClient, database: Database, cast: Cast, caplog: pytest.LogCaptureFixture
) -> None:
    customer = customer_with(database, cast)
    customer.buys(10)
    assert consume(client, customer, 1, key="before").status_code == 200
    # Else the thread that notes it would be the one to wait for the stranger.
    wait_until(lambda: was_used(database, customer), seconds=5, what="the key's use was noted")
    assert database.file is not None
    stranger = sqlite3.connect(database.file.path, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    with deadline.within(SHORT):
        assert consume(client, customer, 1, key="a").status_code == 503
    wait_until(lambda: "database is locked" in said(caplog), seconds=5, what="the reason is in the log")
    stranger.close()
    assert consume(client, customer, 1, key="a").status_code == 200


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_postgres_that_takes_no_writes(
    client: FlaskClient,
    database: Database,
    settings: Settings,
    cast: Cast,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As a primary is after another took its place."""
    customer = customer_with(database, cast)
    customer.buys(10)
    assert consume(client, customer, 1, key="before").status_code == 200
    with psycopg.connect(settings.database_url, autocommit=True) as administrator:
        (name,) = administrator.execute("SELECT quote_ident(current_database())").fetchone() or ("",)
        administrator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        try:
            database.engine.dispose()
            others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            administrator.execute(
                f"{others} WHERE datname = current_database() AND pid <> pg_backend_pid()".encode()
            )
            assert consume(client, customer, 1, key="a").status_code == 503
            assert reserve(client, customer, 1, key="b").status_code == 503
        finally:
            administrator.execute("SET default_transaction_read_only = off")
            administrator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    assert "read-only transaction" in said(caplog)
