"""Connections to the sandbox's storage: reused while it is open, and gone when it is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from licenzy.stripe_sandbox.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store.sqlite3")
    yield made
    made.close()


def open_files(store: Store) -> int:
    """How many descriptors of this process lead to the store's database file."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(link.readlink() == store.path for link in links if link.exists())


def count_of_accounts(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT COUNT(*) FROM accounts").fetchone()[0])


def test_transactions_one_after_another_share_a_connection(store: Store) -> None:
    with store.reading() as first:
        assert count_of_accounts(first) == 0
    with store.writing() as second:
        assert second is first
    assert open_files(store) == 1


def test_closing_leaves_no_connection_open(store: Store) -> None:
    with ExitStack() as both:
        assert both.enter_context(store.reading()) is not both.enter_context(store.reading())
    assert open_files(store) == 2
    store.close()
    assert open_files(store) == 0


def test_a_connection_in_use_is_closed_when_its_transaction_ends(store: Store) -> None:
    with store.reading() as db:
        store.close()
        assert count_of_accounts(db) == 0
    assert open_files(store) == 0
    with store.reading() as db:
        assert count_of_accounts(db) == 0
    assert open_files(store) == 0


def test_a_connection_whose_commit_failed_is_not_used_again(store: Store) -> None:
    def refuse_transactions(action: int, *_: str | None) -> int:
        return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK

    def write() -> sqlite3.Connection:
        with store.writing() as db:
            db.set_authorizer(refuse_transactions)
            return db

    with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
        write()
    with store.writing() as db:
        assert count_of_accounts(db) == 0
    assert open_files(store) == 1
