"""Everything that an access check decides by, read in one statement: the key, its side's clock and
default product, what is held.

Nothing is remembered between two statements: a revoked key, a grant and a refund show in the next answer,
and each answer was read after its request arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import orjson
from sqlmodel import Session

from licenzy.entitlements.decision import DefaultProduct
from licenzy.entitlements.limits import Limits
from licenzy.hotpath.keys import CLOCK_OF_CALL, KEY_COLUMNS, KEY_OF_CALL, KEY_WIDTH, SUBJECT_OF_CALL, KeyRow


class EntitlementRow(NamedTuple):
    """One entitlement as it is stored: a `decision.OwnedEntitlement`."""

    product_code: str
    kind: str
    state: str
    reason: str | None
    starts_at: int
    """Instants are microseconds since 1970, as they are stored."""
    ends_at: int | None
    ends_as: str | None
    granted_units: int
    used_units: int
    reserved_units: int
    voided_at: int | None
    source: str
    quantity: int
    adds: bool
    features_json: str
    limits_json: str

    @property
    def features(self) -> Sequence[str]:
        """Read only where a feature is asked for."""
        features: Sequence[str] = orjson.loads(self.features_json)
        return features

    @property
    def limits(self) -> Limits:
        """Read only where a limit is asked for."""
        limits: Limits = orjson.loads(self.limits_json)
        return limits


@dataclass(frozen=True, slots=True)
class SubjectSnapshot:
    """What the database knew at one moment of a presented key and of one subject."""

    key: KeyRow | None
    """None when there is no such key."""
    owned: Sequence[EntitlementRow] = ()
    default: DefaultProduct | None = None
    """The default product of the key's side."""

    @property
    def has_reserved_units(self) -> bool:
        """Whether reservations hold units of the subject; some of them may be over by now."""
        return any(each.reserved_units for each in self.owned)


class SnapshotReader(Protocol):
    """Reads on the event loop that it belongs to."""

    async def read(self, key_hash: str, subject_ref: str, *, ends_at: float) -> SubjectSnapshot | None:
        """What is known now; none when a thread should find out, which may wait for locks and probes.

        Raises DatabaseUnavailable, at the latest when `ends_at` has come, as `time.monotonic` tells it.
        """
        ...

    async def close(self) -> None:
        """Close its connection; for the loop's own coroutine."""
        ...


_COLUMNS = f"""{KEY_COLUMNS},
       p.product_code, p.grants_access, CAST(p.features AS text), CAST(p.limits AS text),
       e.product_code, e.kind, e.state, e.reason, e.starts_at, e.ends_at, e.ends_as,
       e.granted_units, e.used_units, e.reserved_units, e.voided_at, e.source, e.quantity, e.adds,
       CAST(e.features AS text), CAST(e.limits AS text)"""
_DEFAULT_WIDTH = len(DefaultProduct._fields)
_OWNED_FROM = KEY_WIDTH + _DEFAULT_WIDTH
_OWNED = """
LEFT JOIN connections c ON c.project_id = k.project_id AND c.mode = k.mode
LEFT JOIN products p
  ON p.project_id = k.project_id AND p.mode = k.mode AND p.is_default AND p.archived_at IS NULL
LEFT JOIN subjects s ON s.project_id = k.project_id AND s.mode = k.mode AND s.subject_ref = {ref}
LEFT JOIN entitlements e ON e.subject_id = s.id AND e.project_id = k.project_id AND e.mode = k.mode
"""
_OF_ONE = f"SELECT {_COLUMNS} FROM api_keys k {_OWNED} WHERE k.key_hash = {{key}}"

SQLITE_STATEMENT = _OF_ONE.format(ref="?2", key="?1")
_POSTGRES_STATEMENT = _OF_ONE.format(ref="%(ref)s", key="%(key)s")
_SQLITE_BY_NAME = _OF_ONE.format(ref=":ref", key=":key")
POSTGRES_BATCH_STATEMENT = f"""
SELECT r.n, {_COLUMNS}
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS r (key_hash, subject_ref, n)
CROSS JOIN {KEY_OF_CALL}
LEFT JOIN {CLOCK_OF_CALL} ON true
LEFT JOIN LATERAL (
    SELECT * FROM products p
    WHERE p.project_id = k.project_id AND p.mode = k.mode AND p.is_default AND p.archived_at IS NULL OFFSET 0
) p ON true
LEFT JOIN {SUBJECT_OF_CALL} ON true
LEFT JOIN LATERAL (
    SELECT * FROM entitlements e
    WHERE e.subject_id = s.id AND e.project_id = k.project_id AND e.mode = k.mode OFFSET 0
) e ON true
"""


def read_snapshot(db: Session, *, key_hash: str, subject_ref: str) -> SubjectSnapshot:
    """The same in an ordinary session, for whoever answers in a thread."""
    on_sqlite = db.get_bind().dialect.name == "sqlite"
    statement = _SQLITE_BY_NAME if on_sqlite else _POSTGRES_STATEMENT
    rows = db.connection().exec_driver_sql(statement, {"key": key_hash, "ref": subject_ref})
    return snapshot_of([tuple(row) for row in rows.all()])


def snapshot_of(rows: Sequence[Sequence[Any]]) -> SubjectSnapshot:
    """The snapshot that the rows of the statement for one subject make."""
    if not rows:
        return SubjectSnapshot(None)
    return SubjectSnapshot(
        KeyRow._make(rows[0][:KEY_WIDTH]),
        [EntitlementRow._make(row[_OWNED_FROM:]) for row in rows if row[_OWNED_FROM] is not None],
        _default(*rows[0][KEY_WIDTH:_OWNED_FROM]),
    )


def _default(code: str | None, grants_access: bool, features: str, limits: str) -> DefaultProduct | None:
    if code is None:
        return None
    return DefaultProduct(code, bool(grants_access), orjson.loads(features), orjson.loads(limits))


def snapshots_of(rows: Iterable[Sequence[Any]], callers: int) -> list[SubjectSnapshot]:
    """The snapshots of a batch, in the order of its callers."""
    by_caller: list[list[Sequence[Any]]] = [[] for _ in range(callers)]
    for row in rows:
        by_caller[row[0] - 1].append(row[1:])
    return [snapshot_of(each) for each in by_caller]
