"""Verbs on entitlements: hold a purchase, record facts of it, and write what its facts now say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, delete, exists, insert, select, update
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.db.reads import read_row, read_rows
from licenzy.db.upsert import change_row, insert_new, table_of
from licenzy.entitlements.changes import change_of
from licenzy.entitlements.events import REPLAYED, Change, ChangeCause, announce_purchase
from licenzy.entitlements.models import Entitlement, Fact, FactSource, Purchase, State, UsageWindow
from licenzy.entitlements.one_time import Pass, chain_passes
from licenzy.entitlements.projected import FactLike, Projected
from licenzy.entitlements.projection import project
from licenzy.entitlements.purchases import LOCKED_COLUMNS, LockedPurchase
from licenzy.entitlements.queries import recorded_facts
from licenzy.entitlements.trials import trial_in
from licenzy.entitlements.window_rows import OpenWindows
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import lock_customer

_PROJECTED = tuple(field.name for field in fields(Projected) if field.name not in {"granted_at", "continues"})
_PURCHASES, _ENTITLEMENTS = table_of(Purchase).c, table_of(Entitlement)
_WINDOWS = table_of(UsageWindow)
_INSERT = insert(_ENTITLEMENTS)

_Columns = Mapping[str, Any]
"""An entitlement's row, by column."""


def lock_purchase(db: Session, scope: Scope, *, key: str, now: datetime) -> LockedPurchase:
    """The purchase, begun when it is new, held against other writers until the transaction ends.

    Facts are recorded and read under this lock, so that of two events of one purchase the second always
    projects what the first has recorded.
    """
    while (found := _locked_purchase(db, scope, key=key)) is None:
        if (begun := begin_purchase(db, scope, now=now, key=key)) is not None:
            return begun
    return LockedPurchase(scope.project_id, scope.mode, *found)


def begin_purchase(
    db: Session,
    scope: Scope,
    *,
    key: str,
    subject_id: str | None = None,
    attempt_id: str | None = None,
    now: datetime,
) -> LockedPurchase | None:
    """A new purchase, held, and the subject's where that is known already; None when it is there.

    On Postgres a purchase that another transaction is just beginning is waited for.
    """
    begun = LockedPurchase(scope.project_id, scope.mode, key, subject_id, attempt_id, is_new=True)
    row = {**begun.primary_key, "subject_id": subject_id, "attempt_id": attempt_id, "created_at": now}
    return begun if insert_new(db, Purchase, row, returning=("key",)) else None


@read_row
def _locked_purchase(scope: Scope, *, key: str) -> Select[Any]:
    return (
        select(*(_PURCHASES[name] for name in LOCKED_COLUMNS))
        .where(
            _PURCHASES.project_id == scope.project_id, _PURCHASES.mode == scope.mode, _PURCHASES.key == key
        )
        .with_for_update()
    )


def give_purchase(
    db: Session, purchase: LockedPurchase, *, subject_id: str, attempt_id: str | None = None
) -> LockedPurchase:
    """Write whose a held purchase is, and the attempt that it came from where one is known."""
    given = replace(purchase, subject_id=subject_id, attempt_id=attempt_id)
    columns = {"subject_id": given.subject_id, "attempt_id": given.attempt_id}
    change_row(db, Purchase, purchase.primary_key, columns)
    return given


@dataclass(frozen=True, slots=True)
class FactDraft:
    """A fact before it is recorded: of which object, when, and what it says."""

    source: FactSource
    source_id: str
    kind: str
    object_id: str
    occurred_at: datetime
    data: Mapping[str, Any]
    purchase_key: str | None = None
    waiting_for: str | None = None


def record_facts(
    db: Session, scope: Scope, drafts: Iterable[FactDraft], *, now: datetime
) -> set[tuple[str, str]]:
    """Write facts down, all at once; source id and kind of those that their source had not told before."""
    rows = [
        {
            "id": new_id("fct"),
            "project_id": scope.project_id,
            "mode": scope.mode,
            "source": each.source,
            "source_id": each.source_id,
            "kind": each.kind,
            "object_id": each.object_id,
            "purchase_key": each.purchase_key,
            "waiting_for": each.waiting_for,
            "occurred_at": each.occurred_at,
            "recorded_at": now,
            "data": each.data,
        }
        for each in drafts
    ]
    inserted = insert_new(db, Fact, *rows, returning=("source_id", "kind"))
    return {(source_id, kind) for source_id, kind in inserted}


def record_fact(
    db: Session,
    scope: Scope,
    *,
    source: FactSource,
    source_id: str,
    kind: str,
    object_id: str,
    purchase_key: str | None,
    occurred_at: datetime,
    data: Mapping[str, Any],
    now: datetime,
    waiting_for: str | None = None,
) -> bool:
    """Write a fact down; False when its source told it before."""
    draft = FactDraft(source, source_id, kind, object_id, occurred_at, data, purchase_key, waiting_for)
    return bool(record_facts(db, scope, [draft], now=now))


def project_purchase(
    db: Session,
    purchase: LockedPurchase,
    *,
    now: datetime,
    cause: ChangeCause = REPLAYED,
    facts: Sequence[FactLike] | None = None,
    has_endpoints: bool = True,
) -> list[Change]:
    """Write the rows that the facts of a held purchase give; what changed, before and after.

    A purchase whose subject is not known yet gives no rows; its facts wait. A row that fewer facts gave, and
    all of them do not, is ended, told of and removed. Events for what changed, and
    for the facts behind it, go into the outbox in this transaction. `facts` are all of its facts, where
    they have been read already and the subject is locked. Without `has_endpoints` nothing goes there.
    """
    if purchase.subject_id is None:
        return []
    if facts is None:
        lock_customer(db, purchase.scope, subject_id=purchase.subject_id)
        facts = recorded_facts(db, purchase.scope, purchase_key=purchase.key)
    rows, changes, ended = _write_all(db, purchase, project(facts), now)
    _remember_trial(db, purchase, facts)
    announce_purchase(
        db,
        purchase,
        facts=facts,
        rows=rows,
        changes=changes,
        cause=cause,
        has_endpoints=has_endpoints,
        now=now,
    )
    _remove(db, purchase, ended)
    return changes


def _remember_trial(db: Session, purchase: LockedPurchase, facts: Sequence[FactLike]) -> None:
    """Keep on the purchase that it was in a trial, for checkouts that offer a trial once."""
    trial = trial_in(facts)
    if trial is not None and trial != (purchase.trialed_at, purchase.trialed_products):
        columns = {"trialed_at": trial.at, "trialed_products": trial.products}
        change_row(db, Purchase, purchase.primary_key, columns)


def disown_purchase(db: Session, purchase: LockedPurchase, *, attempt_id: str) -> None:
    """Note on a locked purchase without a subject that the attempt it names did not make it."""
    columns = _PURCHASES
    db.connection().execute(
        update(table_of(Purchase))
        .where(
            columns.project_id == purchase.project_id,
            columns.mode == purchase.mode,
            columns.key == purchase.key,
            columns.subject_id.is_(None),
        )
        .values(attempt_id=attempt_id)
    )


def withdraw_purchase(
    db: Session, purchase: LockedPurchase, *, facts: Sequence[FactLike], cause: ChangeCause, now: datetime
) -> list[Change]:
    """Take a locked purchase away from its subject, because it was not theirs; what changed.

    Its facts stay, and wait for whoever turns out to have bought it. The attempt that it named stays on
    record. Endpoints are told that access has ended, and the entitlements are then removed.
    """
    if purchase.subject_id is None:
        return []
    lock_customer(db, purchase.scope, subject_id=purchase.subject_id)
    found = [row._asdict() for row in _rows_of(db, purchase.scope, purchase_key=purchase.key)]
    rows = [_end(db, row, now) for row in found]
    changes = [change for pair in zip(found, rows, strict=True) for change in change_of(*pair)]
    announce_purchase(db, purchase, facts=facts, rows=rows, changes=changes, cause=cause, now=now)
    _remove(db, purchase, rows)
    known = ("subject_id", "finalized_at", "trialed_at", "trialed_products")
    change_row(db, Purchase, purchase.primary_key, dict.fromkeys(known))
    return changes


def _end(db: Session, row: _Columns, now: datetime) -> _Columns:
    """The row without any access from now on."""
    over = {"state": State.CANCELED, "ends_as": "canceled"}
    return _update(db, row, over | dict.fromkeys(("valid_until", "ends_at", "canceled_at"), now), now)


def _remove(db: Session, purchase: LockedPurchase, rows: Sequence[_Columns]) -> None:
    """Delete rows that have been ended.

    One stays whose units were used, of which the ledger tells, and one that holds another's open windows.
    """
    if rows:
        these = and_(
            _ENTITLEMENTS.c.project_id == purchase.project_id,
            _ENTITLEMENTS.c.mode == purchase.mode,
            _ENTITLEMENTS.c.id.in_([row["id"] for row in rows]),
            ~exists().where(
                _WINDOWS.c.project_id == purchase.project_id,
                _WINDOWS.c.mode == purchase.mode,
                _WINDOWS.c.entitlement_id == _ENTITLEMENTS.c.id,
            ),
            ~exists().where(
                _WINDOWS.c.project_id == purchase.project_id,
                _WINDOWS.c.mode == purchase.mode,
                _WINDOWS.c.holder_id == _ENTITLEMENTS.c.id,
                _WINDOWS.c.spent_at_end.is_(None),
            ),
        )
        db.connection().execute(delete(_ENTITLEMENTS).where(these))


def _write_all(
    db: Session, purchase: LockedPurchase, entitlements: Sequence[Projected], now: datetime
) -> tuple[list[_Columns], list[Change], list[_Columns]]:
    """All rows of the purchase as they are now, what of those and their siblings changed, and those ended.

    Ended are rights that the facts do not give any more: of an item that another one replaced before anything
    was paid for it, when its successor's payment was told of before the change.
    """
    found = [] if purchase.is_new else _rows_of(db, purchase.scope, purchase_key=purchase.key)
    rows: dict[str, _Columns] = {row.item_key: row._asdict() for row in found}
    including = {each.item_key for each in entitlements if each.included is not None}
    # Also those of one that includes units again, after terms without any.
    holders = [row["id"] for key, row in rows.items() if key in including or row["included"] is not None]
    windows = OpenWindows.locked(db, purchase.scope, holders)
    left = {key for key, row in rows.items() if row["kind"] == Kind.SUBSCRIPTION}
    changes: list[Change] = []
    heirs: dict[str, str] = {}
    for projected in entitlements:
        left.discard(projected.item_key)
        before = rows.get(projected.item_key)
        replaced = [rows[key]["id"] for key in projected.continues if key in rows]
        due_at = windows.due_at(projected, [*replaced, *([before["id"]] if before is not None else [])])
        after = rows[projected.item_key] = _write(db, before, purchase, projected, due_at, now)
        heirs |= dict.fromkeys(replaced, after["id"])
        changes.extend(change_of(before, after))
        if projected.kind is Kind.TIME_PASS:
            changes.extend(_chain(db, after, now))
    for key in left:
        before, rows[key] = rows[key], _end(db, rows[key], now)
        changes.extend(change_of(before, rows[key]))
    windows.fit(db, rows.values(), heirs)
    return list(rows.values()), changes, [rows[key] for key in left]


@read_rows
def _rows_of(scope: Scope, *, purchase_key: str) -> Select[Any]:
    columns = _ENTITLEMENTS.c
    return select(_ENTITLEMENTS).where(
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.purchase_key == purchase_key,
    )


def _write(
    db: Session,
    row: _Columns | None,
    purchase: LockedPurchase,
    projected: Projected,
    windows_due_at: datetime | None,
    now: datetime,
) -> _Columns:
    columns = {name: getattr(projected, name) for name in _PROJECTED}
    columns["windows_due_at"] = windows_due_at
    # When it began, not when it was told: the rows of a replay are those of the first time.
    columns["created_at"] = projected.granted_at
    columns |= {"subject_id": purchase.subject_id, "attempt_id": purchase.attempt_id}
    if row is None:
        return _insert(db, purchase, columns, now)
    if projected.kind is Kind.TIME_PASS and projected.paid_at is not None:
        # Where a paid pass stands among its siblings is written by `_chain`; one given by hand stands alone.
        for name in ("starts_at", "valid_until", "ends_at"):
            del columns[name]
    return _update(db, row, columns, now)


def _insert(db: Session, purchase: LockedPurchase, columns: _Columns, now: datetime) -> _Columns:
    row = {
        "id": new_id("ent"),
        "project_id": purchase.scope.project_id,
        "mode": purchase.scope.mode,
        "purchase_key": purchase.key,
        "used_units": 0,
        "reserved_units": 0,
        "updated_at": now,
        **columns,
    }
    db.connection().execute(_INSERT, row)
    return row


def _update(db: Session, row: _Columns, columns: _Columns, now: datetime) -> _Columns:
    """The row with these columns. Only what differs is written: an unchanged row keeps its date.

    It keeps it as well where only the price is filled in, which rows of earlier versions do not have, and
    where only another window is due.
    """
    differing = {name: value for name, value in columns.items() if row[name] != value}
    if not differing:
        return row
    undated = {"windows_due_at"} | ({"stripe_price_id"} if row["stripe_price_id"] is None else set())
    if not differing.keys() <= undated:
        differing["updated_at"] = now
    change_row(db, Entitlement, {name: row[name] for name in ("project_id", "mode", "id")}, differing)
    return {**row, **differing}


def _chain(db: Session, row: _Columns, now: datetime) -> list[Change]:
    """Lay the subject's passes of this product one after the other; the subject's row is locked."""
    same = {name: row[name] for name in ("subject_id", "product_code", "source")}
    scope = Scope(row["project_id"], row["mode"])
    siblings: list[_Columns] = [each._asdict() for each in _passes(db, scope, **same)]
    spans = chain_passes(
        Pass(
            _pass_key(each),
            each["paid_at"],
            timedelta(seconds=each["duration_seconds"]),
            each["canceled_at"],
        )
        for each in siblings
        if each["paid_at"] is not None and each["duration_seconds"] is not None
    )
    changes: list[Change] = []
    for each in siblings:
        if _pass_key(each) not in spans:
            continue
        start, end = spans[_pass_key(each)]
        moved = _update(db, each, {"starts_at": start, "valid_until": end, "ends_at": end}, now)
        changes.extend(change_of(each, moved))
    return changes


def _pass_key(row: _Columns) -> str:
    """What a pass is called among its siblings: one purchase may have sold several of one product."""
    item: str = row["item_key"]
    return f"{row['purchase_key']}:{item}" if item else row["purchase_key"]


@read_rows
def _passes(scope: Scope, *, subject_id: str, product_code: str, source: str) -> Select[Any]:
    columns = _ENTITLEMENTS.c
    return select(_ENTITLEMENTS).where(
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.subject_id == subject_id,
        columns.product_code == product_code,
        columns.kind == Kind.TIME_PASS,
        columns.source == source,
    )
