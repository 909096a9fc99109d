"""Consuming on SQLite: one read and the writes it calls for, under the right to write."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.db.writer import SqliteWriter
from licenzy.idempotency.actions import Outcome
from licenzy.usage.consuming import ENDPOINT, HEARD, Consumed, Order
from licenzy.usage.rules import burning, drawn, total

_READ = """
SELECT k.id, k.project_id, k.mode, k.revoked_at, k.expires_at, c.clock_offset_seconds,
       i.body_hash, i.response_status, i.response_body,
       s.id, e.id, e.state, e.reason, e.starts_at, e.ends_at, e.ends_as, e.created_at,
       e.granted_units, e.used_units, e.reserved_units
FROM api_keys k
LEFT JOIN connections c ON c.project_id = k.project_id AND c.mode = k.mode
LEFT JOIN idempotency_keys i ON i.project_id = k.project_id AND i.mode = k.mode
    AND i.endpoint = ? AND i.key = ?
LEFT JOIN subjects s ON s.project_id = k.project_id AND s.mode = k.mode AND s.subject_ref = ?
    AND i.key IS NULL
LEFT JOIN entitlements e ON e.subject_id = s.id AND e.kind = 'usage_pack'
    AND e.project_id = k.project_id AND e.mode = k.mode
    AND e.voided_at IS NULL AND e.granted_units > e.used_units
WHERE k.key_hash = ?
"""
"""Key, earlier outcome and packs that may have units left, in one statement."""

_HEARD = "SELECT 1 FROM (SELECT ? AS project_id, ? AS mode) k WHERE {heard}".replace("{heard}", HEARD)
"""Asked by itself and only before something is taken: within `_READ` it costs six times as much."""

_LAPSED = """
SELECT 1 FROM usage_reservations
WHERE project_id = ? AND mode = ? AND subject_id = ? AND closed_at IS NULL AND expires_at <= ?
"""
_TAKE = "UPDATE entitlements SET used_units = used_units + ? WHERE id = ?"
_NOTE = """
INSERT INTO usage_ledger (project_id, mode, subject_id, request_id, entitlement_id, units, used_at)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_STORE = """
INSERT INTO idempotency_keys
    (project_id, mode, endpoint, key, body_hash, response_status, response_body, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""


class _Pack(NamedTuple):
    """A line of `_READ`, a `rules.Pack`; instants are microseconds, as they are stored."""

    id: str
    state: str
    reason: str | None
    starts_at: int
    ends_at: int | None
    ends_as: str | None
    created_at: int
    granted_units: int
    used_units: int
    reserved_units: int
    kind: Kind = Kind.USAGE_PACK
    voided_at: None = None
    product_code: str = ""
    features: Sequence[str] = ()


class SqliteConsumer:
    """Consumes through the process's writer, several calls to one commit."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer

    def consume(self, order: Order) -> Consumed:
        return self._writer.run(lambda connection: _consume(connection, order))

    def consume_aloud(self, db: Session, order: Order) -> Consumed:
        connection = db.connection().connection.driver_connection
        assert isinstance(connection, sqlite3.Connection)
        return _consume(connection, order, aloud=True)


def _consume(connection: sqlite3.Connection, order: Order, *, aloud: bool = False) -> Consumed:
    asked = (ENDPOINT, order.idempotency_key, order.subject_ref, order.key_hash)
    rows = connection.execute(_READ, asked).fetchall()
    if not rows:
        return Consumed(None)
    key, (body_hash, status, text) = rows[0][:6], rows[0][6:9]
    _id, project_id, mode, revoked_at, expires_at, offset = key
    if revoked_at is not None or (expires_at is not None and expires_at <= order.now):
        return Consumed(key)
    if body_hash is not None:
        if body_hash != order.body_hash:
            return Consumed(key, reused=True)
        return Consumed(key, Outcome(status, text), replayed=True)
    now, subject_id = order.now + (offset or 0) * 1_000_000, rows[0][9]
    packs = [_Pack(*row[10:]) for row in rows if row[10] is not None]
    whose = (project_id, mode, subject_id)
    if any(pack.reserved_units for pack in packs) and connection.execute(_LAPSED, (*whose, now)).fetchone():
        return Consumed(key, lapsed=whose)
    packs = burning(packs, now)
    left = total(packs)
    enough = left >= order.units
    if enough and not aloud and connection.execute(_HEARD, whose[:2]).fetchone():
        return Consumed(key, heard=True)
    outcome = order.outcome(left=left - order.units if enough else left, enough=enough)
    if enough:
        for pack_id, units in drawn(packs, order.units):
            connection.execute(_TAKE, (units, pack_id))
            connection.execute(_NOTE, (*whose, order.request_id, pack_id, units, now))
    stored = (project_id, mode, ENDPOINT, order.idempotency_key, order.body_hash)
    connection.execute(_STORE, (*stored, outcome.status, outcome.body, order.now))
    return Consumed(key, outcome)
