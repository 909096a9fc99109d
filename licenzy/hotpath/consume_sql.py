"""The statements that consuming needs on each database: what is read and locked, and what is written.

Nothing is decided here. Statements are run by what they are given, so that a batch of the committer and a
unit of work say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import orjson

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import OVERRIDE
from licenzy.hotpath.consume import (
    ENDPOINT,
    ConsumeFacts,
    ConsumeRequest,
    Stored,
    Writes,
)
from licenzy.hotpath.grants import Grants
from licenzy.hotpath.keys import (
    CLOCK_OF_CALL,
    KEY_COLUMNS,
    KEY_OF_CALL,
    KEY_WIDTH,
    SIDE_OF_CALL,
    SUBJECT_OF_CALL,
    KeyRow,
)
from licenzy.idempotency.outcome import Outcome
from licenzy.usage.default_terms import DefaultUnits

Run: TypeAlias = Callable[[str, Sequence[Any]], Sequence[Sequence[Any]]]
"""Runs one statement with its parameters and gives all its rows."""


class ConsumeStatements(Protocol):
    """Reads for a batch of calls, and writes what was decided of it."""

    def read(self, run: Run, requests: Sequence[ConsumeRequest]) -> list[ConsumeFacts]:
        """What is known for each call, with its packs locked against all other writers."""
        ...

    def write(self, run: Run, writes: Writes) -> None:
        """Write all of it."""
        ...


_NEEDS_EVENTS = """EXISTS (
        SELECT 1 FROM webhook_endpoints w
        WHERE w.project_id = k.project_id AND w.mode = k.mode AND w.disabled_at IS NULL
            AND w.deleted_at IS NULL
            AND replace(CAST(w.types AS text), '"usage.', '') <> CAST(w.types AS text)
    )"""
"""Whether an endpoint of the key `k`'s side is told of consumption: one look into an index where none is."""

_PACK = """e.id, e.state, e.reason, e.starts_at, e.ends_at, e.ends_as, e.created_at,
       e.granted_units, e.used_units, e.reserved_units, e.unit, e.product_code, e.kind"""
_WINDOW = """w.entitlement_id, w.starts_at, w.ends_at, w.unit,
       w.granted_units + w.carried_units - w.overdrawn_units, w.used_units, w.reserved_units"""
_HOLDER = "e.windows_due_at, e.source, e.terms_version"
_DEFAULT = "p.product_code, p.terms_version, CAST(p.included AS text)"
_IS_DEFAULT = """p.is_default AND p.archived_at IS NULL AND CAST(p.included AS text) <> '[]'"""
"""A product `p` that is the default one of its side, and includes units."""
_MAY_HIDE = f"e.kind <> '{Kind.USAGE_PACK.value}' AND e.source <> '{OVERRIDE}' AND e.state <> 'canceled'"
"""What may take the place of the default product; a time pass that was canceled may not."""
_MAY_HAVE_UNITS = "e.kind = 'usage_pack' AND e.voided_at IS NULL AND e.granted_units > e.used_units"

_SIDE = "d.default_unit, d.default_unit_used_at IS NOT NULL"

_SQLITE_READ = f"""
SELECT {KEY_COLUMNS}, i.body_hash, i.response_status, i.response_body, {_SIDE}, s.id,
       {_DEFAULT}, {_PACK}, {_HOLDER},
       {_WINDOW}
FROM api_keys k
LEFT JOIN connections c ON c.project_id = k.project_id AND c.mode = k.mode
LEFT JOIN project_sides d ON d.project_id = k.project_id AND d.mode = k.mode
LEFT JOIN products p ON p.project_id = k.project_id AND p.mode = k.mode AND {_IS_DEFAULT}
LEFT JOIN idempotency_keys i ON i.project_id = k.project_id AND i.mode = k.mode
    AND i.endpoint = '{ENDPOINT}' AND i.key = ?
LEFT JOIN subjects s ON s.project_id = k.project_id AND s.mode = k.mode AND s.subject_ref = ?
    AND i.key IS NULL
LEFT JOIN entitlements e ON e.subject_id = s.id AND e.project_id = k.project_id AND e.mode = k.mode
    AND ({_MAY_HAVE_UNITS} OR e.included IS NOT NULL OR (p.id IS NOT NULL AND {_MAY_HIDE}))
LEFT JOIN usage_windows w ON w.project_id = e.project_id AND w.mode = e.mode AND w.holder_id = e.id
    AND e.included IS NOT NULL AND w.spent_at_end IS NULL
WHERE k.key_hash = ?
"""
_SQLITE_NEEDS_EVENTS = f"SELECT 1 FROM (SELECT ? AS project_id, ? AS mode) k WHERE {_NEEDS_EVENTS}"
"""Asked once for each side of a batch: within the statement above it costs six times as much."""
_SQLITE_EXPIRED = """
SELECT 1 FROM usage_reservations
WHERE project_id = ? AND mode = ? AND subject_id = ? AND closed_at IS NULL AND expires_at <= ?
"""
_SQLITE_DRAW = (
    "UPDATE entitlements SET used_units = used_units + ? WHERE project_id = ? AND mode = ? AND id = ?"
)
_SQLITE_LEDGER = """
INSERT INTO usage_ledger
    (project_id, mode, subject_id, request_id, entitlement_id, units, used_at, window_starts_at, unit)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_SQLITE_DRAW_WINDOW = """
UPDATE usage_windows SET used_units = used_units + ?
WHERE project_id = ? AND mode = ? AND entitlement_id = ? AND unit = ? AND starts_at = ?
"""
_SQLITE_KEY = f"""
INSERT INTO idempotency_keys
    (project_id, mode, endpoint, key, body_hash, response_status, response_body, created_at)
VALUES (?, ?, '{ENDPOINT}', ?, ?, ?, ?, ?)
"""


class SqliteStatements:
    """For a transaction that holds the right to write, which is the lock of every row."""

    def read(self, run: Run, requests: Sequence[ConsumeRequest]) -> list[ConsumeFacts]:
        grants: dict[str, Grants] = {}
        sides: dict[tuple[str, str], bool] = {}
        return [self._facts(run, request, grants, sides) for request in requests]

    def write(self, run: Run, writes: Writes) -> None:
        for pack, units in writes.draws.items():
            run(_SQLITE_DRAW, (units, *pack))
        for window, units in writes.window_draws.items():
            run(_SQLITE_DRAW_WINDOW, (units, *window))
        for row in writes.ledger:
            run(_SQLITE_LEDGER, row)
        for key in writes.keys:
            run(_SQLITE_KEY, key)

    def _facts(
        self,
        run: Run,
        request: ConsumeRequest,
        known: dict[str, Grants],
        sides: dict[tuple[str, str], bool],
    ) -> ConsumeFacts:
        rows = run(_SQLITE_READ, (request.idempotency_key, request.subject_ref, request.key_hash))
        if not rows:
            return ConsumeFacts()
        first = rows[0]
        key, stored = KeyRow(*first[:KEY_WIDTH]), _stored(first[KEY_WIDTH : KEY_WIDTH + 3])
        default_unit, is_fixed, subject_id, *default = first[KEY_WIDTH + 3 : _PACKS_AT]
        of_side: dict[str, Any] = {
            "default_unit": default_unit,
            "default_unit_is_fixed": bool(is_fixed),
            "default": _default(*default),
        }
        if subject_id is None:
            return ConsumeFacts(key, stored, **of_side)
        if subject_id not in known:
            known[subject_id] = Grants()
            for row in rows:
                if row[_PACKS_AT] is not None:
                    known[subject_id].add(row[_PACKS_AT:])
        packs, holders = known[subject_id].rows, list(known[subject_id].holders.values())
        side = (key.project_id, key.mode)
        expired = any(pack.reserved_units for pack in packs) and bool(
            run(_SQLITE_EXPIRED, (*side, subject_id, key.instant(request.now)))
        )
        if packs and side not in sides:
            sides[side] = bool(run(_SQLITE_NEEDS_EVENTS, side))
        return ConsumeFacts(
            key,
            stored,
            subject_id,
            packs,
            holders,
            has_expired_reservations=expired,
            needs_events=sides.get(side, False),
            **of_side,
        )


_PACKS_AT = KEY_WIDTH + 9
"""Where the columns of a pack begin."""

_NO_COUNTERS = ", ".join(
    ["CAST(NULL AS text)", *["CAST(NULL AS bigint)"] * 2, "CAST(NULL AS text)", *["CAST(NULL AS bigint)"] * 3]
)
_NO_WINDOW = f"CAST(NULL AS bigint), CAST(NULL AS text), CAST(NULL AS integer), {_NO_COUNTERS}"

_CALLS = """unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
    WITH ORDINALITY AS r (key_hash, subject_ref, idempotency_key, now, n)"""
_POSTGRES_LOCK = f"""
WITH of_calls AS MATERIALIZED (
    SELECT ARRAY (
        SELECT s.id FROM unnest(%s::text[], %s::text[]) AS r (key_hash, subject_ref)
        CROSS JOIN {KEY_OF_CALL}
        CROSS JOIN {SUBJECT_OF_CALL}
    ) AS subjects
), windows AS MATERIALIZED (
    SELECT e.subject_id, {_PACK}, {_HOLDER}, {_WINDOW}
    FROM usage_windows w
    JOIN entitlements e ON e.project_id = w.project_id AND e.mode = w.mode AND e.id = w.holder_id
    WHERE w.subject_id = ANY ((SELECT subjects FROM of_calls)::text[]) AND w.spent_at_end IS NULL
    ORDER BY w.project_id, w.mode, w.entitlement_id, w.unit, w.starts_at
    FOR UPDATE OF w{{skip}}
), packs AS MATERIALIZED (
    SELECT e.subject_id, {_PACK}
    FROM entitlements e
    WHERE e.subject_id = ANY ((SELECT subjects FROM of_calls)::text[]) AND {_MAY_HAVE_UNITS}
    ORDER BY e.id
    FOR UPDATE OF e{{skip}}
)
SELECT * FROM windows
UNION ALL
SELECT *, {_NO_WINDOW} FROM packs
UNION ALL
SELECT e.subject_id, {_PACK}, {_HOLDER}, {_NO_COUNTERS}
FROM entitlements e
WHERE e.subject_id = ANY ((SELECT subjects FROM of_calls)::text[]) AND (
    e.included IS NOT NULL OR {_MAY_HIDE} AND EXISTS (
        SELECT 1 FROM products p WHERE p.project_id = e.project_id AND p.mode = e.mode AND {_IS_DEFAULT}
    )
)"""
"""Each window and then each pack once, however many calls want it, locked in the order of their keys, in its
newest version. Behind them, what includes units, and what may hide those of the default product: read in the
same instant, it tells of windows that were not opened yet when the others were looked for."""

_POSTGRES_READ = """
SELECT r.n, {key}, i.body_hash, i.response_status, i.response_body, {side}, s.id,
       {default},
       {needs_events},
       EXISTS (
           SELECT 1 FROM usage_reservations u
           WHERE u.project_id = k.project_id AND u.mode = k.mode AND u.subject_id = s.id
               AND u.closed_at IS NULL
               AND u.expires_at <= r.now + coalesce(c.clock_offset_seconds, 0) * CAST(1000000 AS bigint)
       ),
       {candidates}
FROM {calls}
CROSS JOIN {key_of_call}
LEFT JOIN {clock_of_call} ON true
LEFT JOIN {side_of_call} ON true
LEFT JOIN LATERAL (
    SELECT * FROM products p
    WHERE p.project_id = k.project_id AND p.mode = k.mode AND {is_default} OFFSET 0
) p ON true
LEFT JOIN LATERAL (
    SELECT * FROM idempotency_keys i
    WHERE i.project_id = k.project_id AND i.mode = k.mode AND i.endpoint = '{endpoint}'
        AND i.key = r.idempotency_key OFFSET 0
) i ON true
LEFT JOIN {subject_of_call} ON i.key IS NULL
"""
"""Key and earlier outcome of each call, read after the packs were locked: what whoever held them before
has stored is seen."""
_PARTS = {
    "key": KEY_COLUMNS,
    "endpoint": ENDPOINT,
    "side": _SIDE,
    "default": _DEFAULT,
    "is_default": _IS_DEFAULT,
    "side_of_call": SIDE_OF_CALL,
    "needs_events": _NEEDS_EVENTS,
    "calls": _CALLS,
    "key_of_call": KEY_OF_CALL,
    "clock_of_call": CLOCK_OF_CALL,
    "subject_of_call": SUBJECT_OF_CALL,
}
_LOCK_WAITING = _POSTGRES_LOCK.format(skip="")
_LOCK_SKIPPING = _POSTGRES_LOCK.format(skip=" SKIP LOCKED")
_READ_WAITING = _POSTGRES_READ.format(**_PARTS, candidates="CAST(0 AS bigint)")
_READ_SKIPPING = _POSTGRES_READ.format(
    **_PARTS,
    candidates=f"""(
           SELECT count(*) FROM entitlements e
           WHERE e.project_id = k.project_id AND e.mode = k.mode AND e.subject_id = s.id
               AND {_MAY_HAVE_UNITS}
       ) + (
           SELECT count(*) FROM usage_windows w
           WHERE w.project_id = k.project_id AND w.mode = k.mode AND w.subject_id = s.id
               AND w.spent_at_end IS NULL
       )""",
)
_POSTGRES_WRITE = f"""
WITH noted AS (
    INSERT INTO usage_ledger
        (project_id, mode, subject_id, request_id, entitlement_id, units, used_at, window_starts_at, unit)
    SELECT * FROM unnest(
        %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::text[]
    )
), kept AS (
    INSERT INTO idempotency_keys
        (project_id, mode, key, body_hash, response_status, response_body, created_at, endpoint)
    SELECT *, '{ENDPOINT}' FROM unnest(
        %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[], %s::bigint[]
    )
), taken AS (
    UPDATE usage_windows w SET used_units = w.used_units + drawn.units
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
        AS drawn (project_id, mode, entitlement_id, unit, starts_at, units)
    WHERE w.project_id = drawn.project_id AND w.mode = drawn.mode
        AND w.entitlement_id = drawn.entitlement_id AND w.unit = drawn.unit
        AND w.starts_at = drawn.starts_at
)
UPDATE entitlements e SET used_units = e.used_units + drawn.units
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[]) AS drawn (project_id, mode, id, units)
WHERE e.project_id = drawn.project_id AND e.mode = drawn.mode AND e.id = drawn.id
"""
"""A key that is there already fails the statement, and with it the transaction: nothing is taken twice."""


class PostgresStatements:
    """For any transaction. With `skip_locked` no row is waited for, and facts tell whose are locked."""

    def __init__(self, *, skip_locked: bool = False) -> None:
        self._lock = _LOCK_SKIPPING if skip_locked else _LOCK_WAITING
        self._read = _READ_SKIPPING if skip_locked else _READ_WAITING

    def read(self, run: Run, requests: Sequence[ConsumeRequest]) -> list[ConsumeFacts]:
        packs = run(*self.locking(requests))
        return self.facts(packs, run(*self.reading(requests)), len(requests))

    def write(self, run: Run, writes: Writes) -> None:
        run(*self.writing(writes))

    def locking(self, requests: Sequence[ConsumeRequest]) -> tuple[str, Sequence[Any]]:
        """The statement that locks and reads the packs of these calls, with its parameters."""
        return self._lock, ([each.key_hash for each in requests], [each.subject_ref for each in requests])

    def reading(self, requests: Sequence[ConsumeRequest]) -> tuple[str, Sequence[Any]]:
        """The statement that then reads all else for these calls, with its parameters."""
        return self._read, (
            [each.key_hash for each in requests],
            [each.subject_ref for each in requests],
            [each.idempotency_key for each in requests],
            [each.now for each in requests],
        )

    def facts(
        self, packs: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]], calls: int
    ) -> list[ConsumeFacts]:
        """What the rows of these statements tell of each call."""
        found = [ConsumeFacts() for _ in range(calls)]
        of_subject: dict[str, Grants] = {}
        for subject_id, *pack in packs:
            if subject_id not in of_subject:
                of_subject[subject_id] = Grants()
            of_subject[subject_id].add(pack)
        for row in rows:
            number, key, stored = row[0], row[1 : 1 + KEY_WIDTH], row[1 + KEY_WIDTH : 4 + KEY_WIDTH]
            default_unit, is_fixed, subject_id, *default = row[4 + KEY_WIDTH : 10 + KEY_WIDTH]
            needs_events, expired, candidates = row[10 + KEY_WIDTH :]
            # The same objects for all calls of a batch: each sees what those before it took.
            grants = of_subject.get(subject_id)
            theirs = grants.rows if grants is not None else ()
            found[number - 1] = ConsumeFacts(
                KeyRow(*key),
                _stored(stored),
                subject_id,
                theirs,
                list(grants.holders.values()) if grants is not None else (),
                has_expired_reservations=expired and any(pack.reserved_units for pack in theirs),
                needs_events=needs_events,
                default_unit=default_unit,
                default_unit_is_fixed=is_fixed,
                default=_default(*default),
                is_locked=len(theirs) < candidates,
            )
        return found

    def writing(self, writes: Writes) -> tuple[str, Sequence[Any]]:
        """The statement that writes all of it, with its parameters."""
        return _POSTGRES_WRITE, (
            *_columns(writes.ledger, 9),
            *_columns(writes.keys, 7),
            *_columns(list(writes.window_draws), 5),
            list(writes.window_draws.values()),
            *_columns(list(writes.draws), 3),
            list(writes.draws.values()),
        )


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


def _stored(columns: Sequence[Any]) -> Stored | None:
    body_hash, status, text = columns
    return None if body_hash is None else Stored(body_hash, Outcome(status, text))


def _default(code: str | None, terms_version: int, included: str) -> DefaultUnits | None:
    return None if code is None else DefaultUnits(code, terms_version, orjson.loads(included))
