"""Consuming on Postgres: one statement, so one round trip and one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from licenzy.db.prepared import PreparedChange, ThreadConnections
from licenzy.idempotency.actions import Outcome
from licenzy.kit import deadline
from licenzy.usage.consuming import ENDPOINT, HEARD, Consumed, Order

_STATEMENT = """
WITH patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', :patience, true)
), caller AS MATERIALIZED (
    SELECT k.id, k.project_id, k.mode, k.revoked_at, k.expires_at, c.clock_offset_seconds,
           k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > CAST(:now AS bigint)) AS alive,
           CAST(:now AS bigint) + coalesce(c.clock_offset_seconds, 0) * CAST(1000000 AS bigint) AS instant,
           NOT CAST(:aloud AS boolean) AND {heard} AS heard
    FROM patience
    CROSS JOIN api_keys k
    LEFT JOIN connections c ON c.project_id = k.project_id AND c.mode = k.mode
    WHERE k.key_hash = :key_hash
), told AS MATERIALIZED (
    SELECT i.body_hash, i.response_status, i.response_body
    FROM caller
    JOIN idempotency_keys i ON i.project_id = caller.project_id AND i.mode = caller.mode
        AND i.endpoint = :endpoint AND i.key = :idempotency_key
    WHERE caller.alive
), subject AS MATERIALIZED (
    SELECT s.id, s.project_id, s.mode, caller.instant
    FROM caller
    JOIN subjects s ON s.project_id = caller.project_id AND s.mode = caller.mode
        AND s.subject_ref = :subject_ref
    WHERE caller.alive AND NOT caller.heard AND NOT EXISTS (SELECT 1 FROM told)
), packs AS MATERIALIZED (
    SELECT e.id, e.ends_at, e.created_at, e.granted_units, e.used_units, e.reserved_units,
           e.granted_units - e.used_units - e.reserved_units AS units
    FROM subject
    JOIN entitlements e ON e.subject_id = subject.id
    WHERE e.project_id = subject.project_id AND e.mode = subject.mode AND e.kind = 'usage_pack'
        AND e.state NOT IN ('canceled', 'suspended', 'paused') AND e.voided_at IS NULL
        AND e.starts_at <= subject.instant AND (e.ends_at IS NULL OR e.ends_at > subject.instant)
        AND e.granted_units > e.used_units
    ORDER BY e.id
    FOR UPDATE OF e
), left_over AS MATERIALIZED (
    SELECT CAST(coalesce(sum(units), 0) AS bigint) AS units,
           coalesce(sum(reserved_units), 0) > 0 AND EXISTS (
               SELECT 1 FROM usage_reservations r, subject
               WHERE r.project_id = subject.project_id AND r.mode = subject.mode
                   AND r.subject_id = subject.id
                   AND r.closed_at IS NULL AND r.expires_at <= subject.instant
           ) AS lapsed
    FROM packs
), stored AS (
    INSERT INTO idempotency_keys
        (project_id, mode, endpoint, key, body_hash, response_status, response_body, created_at)
    SELECT caller.project_id, caller.mode, :endpoint, :idempotency_key, :body_hash,
           CASE WHEN left_over.units >= CAST(:units AS bigint) THEN 200 ELSE 409 END,
           CASE WHEN left_over.units >= CAST(:units AS bigint)
                THEN CAST(:consumed AS text) || (left_over.units - CAST(:units AS bigint))
                ELSE CAST(:refused AS text) || left_over.units END || '}',
           CAST(:now AS bigint)
    FROM caller, left_over
    WHERE caller.alive AND NOT caller.heard AND NOT left_over.lapsed AND NOT EXISTS (SELECT 1 FROM told)
    ON CONFLICT DO NOTHING
    RETURNING response_status, response_body
), draws AS MATERIALIZED (
    SELECT id, granted_units, used_units, reserved_units,
           CAST(least(units, CAST(:units AS bigint) - before) AS bigint) AS units
    FROM (
        SELECT id, granted_units, used_units, reserved_units, units, coalesce(sum(units) OVER (
            ORDER BY ends_at NULLS LAST, created_at, id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS before
        FROM packs
        WHERE units > 0
    ) AS in_burning_order
    WHERE before < CAST(:units AS bigint) AND EXISTS (SELECT 1 FROM stored WHERE response_status = 200)
), drawn AS (
    UPDATE entitlements e
    SET used_units = draws.used_units + draws.units,
        granted_units = draws.granted_units, reserved_units = draws.reserved_units
    FROM draws WHERE e.id = draws.id
), noted AS (
    INSERT INTO usage_ledger
        (project_id, mode, subject_id, request_id, entitlement_id, units, used_at)
    SELECT subject.project_id, subject.mode, subject.id, :request_id, draws.id, draws.units, subject.instant
    FROM subject, draws
)
SELECT caller.id, caller.project_id, caller.mode, caller.revoked_at, caller.expires_at,
       caller.clock_offset_seconds, caller.alive,
       told.body_hash, told.response_status, told.response_body,
       stored.response_status, stored.response_body,
       subject.id, left_over.lapsed, caller.heard
FROM caller
CROSS JOIN left_over
LEFT JOIN told ON true
LEFT JOIN stored ON true
LEFT JOIN subject ON true
""".replace("{heard}", HEARD)
"""Key, earlier outcome, packs, and the writes that follow from them.

The earlier outcome is looked for first: decided anew, a repeat would be refused once the balance is spent.
The packs are locked in the order of their ids, whatever order they burn in, so that two calls never
wait for each other; what is read of a locked row is its newest version. The key is stored before anything
is drawn, and nothing is drawn unless it was stored: of two calls with one key at the same time, the second
finds it taken and is tried again, when it sees the outcome of the first.
The update names all three counters, as they were locked: Postgres tries it on the version that the statement
began with, checks the constraints on that, and only then finds out that there is a newer one.
Waiting is bounded within the transaction, which leaves nothing behind in a pooler's session.
"""


class PostgresConsumer:
    """Consumes on a connection of the calling thread."""

    def __init__(self, connections: ThreadConnections) -> None:
        self._statement = PreparedChange(connections, text(_STATEMENT))

    def consume(self, order: Order) -> Consumed:
        return _until_decided(lambda: self._statement.rows(**_asked(order, aloud=False)), order)

    def consume_aloud(self, db: Session, order: Order) -> Consumed:
        connection, asked = db.connection(), _asked(order, aloud=True)
        return _until_decided(lambda: connection.execute(_ALOUD, asked).all(), order)


_ALOUD = text(_STATEMENT)


def _asked(order: Order, *, aloud: bool) -> dict[str, Any]:
    return {
        "patience": str(max(1, int(deadline.seconds_left() * 900))),
        "endpoint": ENDPOINT,
        "key_hash": order.key_hash,
        "subject_ref": order.subject_ref,
        "units": order.units,
        "idempotency_key": order.idempotency_key,
        "body_hash": order.body_hash,
        "request_id": order.request_id,
        "now": order.now,
        "consumed": order.consumed,
        "refused": order.refused,
        "aloud": aloud,
    }


def _until_decided(run: Callable[[], Sequence[Any]], order: Order) -> Consumed:
    while True:
        consumed = _read(run(), order)
        if consumed is not None:
            return consumed


def _read(rows: Sequence[Any], order: Order) -> Consumed | None:
    """None when another call stored the key between our looking for it and our storing it."""
    if not rows:
        return Consumed(None)
    (*key, alive, told_hash, told_status, told_text, status, answer, subject_id, lapsed, heard) = rows[0]
    if not alive:
        return Consumed(key)
    if told_hash is not None and told_hash != order.body_hash:
        return Consumed(key, reused=True)
    if told_hash is not None:
        return Consumed(key, Outcome(told_status, told_text), replayed=True)
    if heard:
        return Consumed(key, heard=True)
    if lapsed:
        return Consumed(key, lapsed=(key[1], key[2], subject_id))
    return Consumed(key, Outcome(status, answer)) if status is not None else None
