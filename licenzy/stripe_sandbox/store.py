"""Where the sandbox remembers everything: one SQLite file, written ahead, so that a killed process loses
nothing."""

from __future__ import annotations

import json
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from licenzy.stripe_sandbox.due import KINDS, next_due
from licenzy.stripe_sandbox.version import Json

_TABLES = """
CREATE TABLE IF NOT EXISTS accounts (
    scope TEXT PRIMARY KEY,            -- account id and mode: Stripe keeps an account's two modes apart
    id TEXT NOT NULL, livemode INTEGER NOT NULL, name TEXT NOT NULL, reference TEXT,
    capability TEXT NOT NULL UNIQUE,   -- the unguessable part of the console's address
    clock_id TEXT NOT NULL, clock_offset INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL, misbehaviour TEXT NOT NULL DEFAULT '{}',
    UNIQUE (reference, livemode));
CREATE TABLE IF NOT EXISTS keys (
    secret TEXT PRIMARY KEY, scope TEXT NOT NULL REFERENCES accounts, permissions TEXT,
    created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL REFERENCES accounts, id TEXT NOT NULL,
    kind TEXT NOT NULL, created INTEGER NOT NULL, version INTEGER NOT NULL DEFAULT 1,
    deleted INTEGER NOT NULL DEFAULT 0, body TEXT NOT NULL,
    due INTEGER,                       -- when the object is next due
    UNIQUE (scope, id));
CREATE TABLE IF NOT EXISTS subscription_prices (  -- which subscriptions have an item of a price
    scope TEXT NOT NULL REFERENCES accounts, price TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (scope, price, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS posts (         -- one event on its way to one webhook endpoint
    number INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL REFERENCES accounts,
    event TEXT NOT NULL, endpoint TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0, due REAL NOT NULL, last_status INTEGER, last_error TEXT,
    sent_at REAL,
    lane TEXT NOT NULL DEFAULT '');    -- empty, or the subscription that renewed in the background
CREATE TABLE IF NOT EXISTS advances (      -- moves of an account's clock that run in the background
    id TEXT NOT NULL, scope TEXT NOT NULL REFERENCES accounts, status TEXT NOT NULL DEFAULT 'advancing',
    delivery TEXT NOT NULL, owner TEXT,    -- the subscription or session whose events are reported
    from_offset INTEGER NOT NULL, to_offset INTEGER NOT NULL, started INTEGER NOT NULL,
    emitted TEXT NOT NULL DEFAULT '[]', problem TEXT, PRIMARY KEY (scope, id));
CREATE TABLE IF NOT EXISTS idempotency (
    scope TEXT NOT NULL REFERENCES accounts, key TEXT NOT NULL, endpoint TEXT NOT NULL,
    fingerprint TEXT NOT NULL, status INTEGER, body TEXT, request_id TEXT NOT NULL, PRIMARY KEY (scope, key));
"""
_INDEXES = """
DROP INDEX IF EXISTS objects_by_kind;      -- of earlier versions: lists by time read every object of a kind
CREATE INDEX IF NOT EXISTS objects_in_order ON objects (scope, kind, seq, created, deleted);
CREATE INDEX IF NOT EXISTS objects_by_id ON objects (id);
CREATE INDEX IF NOT EXISTS objects_of_customer ON objects
    (scope, kind, json_extract(body, '$.customer'));
CREATE INDEX IF NOT EXISTS objects_of_charge ON objects
    (scope, kind, json_extract(body, '$.charge'));
CREATE INDEX IF NOT EXISTS objects_of_invoice ON objects
    (scope, kind, json_extract(body, '$.invoice'));
CREATE INDEX IF NOT EXISTS objects_of_subscription ON objects
    (scope, kind, json_extract(body, '$.parent.subscription_details.subscription'));
CREATE UNIQUE INDEX IF NOT EXISTS advances_one_at_a_time ON advances (scope) WHERE status = 'advancing';
CREATE INDEX IF NOT EXISTS posts_due ON posts (status, due);
CREATE INDEX IF NOT EXISTS posts_by_event ON posts (scope, event);
CREATE INDEX IF NOT EXISTS objects_due ON objects (scope, due) WHERE due IS NOT NULL AND deleted = 0;
CREATE INDEX IF NOT EXISTS objects_by_status ON objects (scope, kind, json_extract(body, '$.status'));
CREATE INDEX IF NOT EXISTS objects_not_canceled ON objects (scope, kind, seq)
    WHERE json_extract(body, '$.status') <> 'canceled';
CREATE INDEX IF NOT EXISTS sessions_of_subscription ON objects
    (scope, kind, json_extract(body, '$.subscription'))
    WHERE json_extract(body, '$.subscription') IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_of_intent ON objects (scope, kind, json_extract(body, '$.payment_intent'))
    WHERE json_extract(body, '$.payment_intent') IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_by_email ON objects (scope, kind, json_extract(body, '$.email'))
    WHERE json_extract(body, '$.email') IS NOT NULL;
CREATE INDEX IF NOT EXISTS objects_made_before ON objects
    (scope, kind, json_extract(body, '$._existing')) WHERE json_extract(body, '$._existing') IS NOT NULL;
CREATE INDEX IF NOT EXISTS portals_by_token ON objects (json_extract(body, '$._token'))
    WHERE json_extract(body, '$._token') IS NOT NULL;
CREATE INDEX IF NOT EXISTS prices_of_subscription ON subscription_prices (seq);
"""


class Store:
    """The file's connections, kept open between transactions, and the two ways to use them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(_TABLES)
            _bring_up_to_date(connection)
            connection.executescript(_INDEXES)
            # A key whose request was running when the process died did no work: the work and its outcome are
            # one commit.
            connection.execute("DELETE FROM idempotency WHERE status IS NULL")

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that may write, begun immediately: SQLite has one writer, and a late upgrade would
        fail."""
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one moment of the file."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")

    def close(self) -> None:
        """Close idle connections now, and one in use when its transaction ends.

        A later transaction opens a connection for itself.
        """
        self._closed = True
        self._close_idle()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction, used by one thread at a time."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._open()
        try:
            yield connection
        finally:
            if connection.in_transaction:
                connection.close()  # Neither COMMIT nor ROLLBACK worked; it must not be used again.
            else:
                self._idle.put(connection)
            if self._closed:  # Read after the connection is back: so either `close` sees it or this does.
                self._close_idle()

    def _close_idle(self) -> None:
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Add to a file of an earlier version what it lacks."""
    if "lane" not in _columns(connection, "posts"):
        connection.execute("ALTER TABLE posts ADD COLUMN lane TEXT NOT NULL DEFAULT ''")
    if "due" in _columns(connection, "objects"):
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ALTER TABLE objects ADD COLUMN due INTEGER")
    for kind in KINDS:
        rows = connection.execute("SELECT seq, scope, body FROM objects WHERE kind = ?", (kind,)).fetchall()
        for row in rows:
            body = json.loads(row["body"])
            connection.execute("UPDATE objects SET due = ? WHERE seq = ?", (next_due(body), row["seq"]))
            note_prices(connection, row["scope"], row["seq"], body)
    connection.execute("COMMIT")


def note_prices(connection: sqlite3.Connection, scope: str, seq: int, body: Json) -> None:
    """Keep up which prices a subscription has, for those who ask for the subscriptions of a price."""
    if body["object"] != "subscription":
        return
    connection.execute("DELETE FROM subscription_prices WHERE seq = ?", (seq,))
    prices = {item["price"]["id"] for item in body["items"]["data"]}
    connection.executemany(
        "INSERT INTO subscription_prices (scope, price, seq) VALUES (?, ?, ?)",
        [(scope, price, seq) for price in prices],
    )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
