"""Verbs on entitlements: record a fact, and project what the facts of a purchase now say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.reads import read_all, read_first
from licenzy.db.upsert import add_unless_there, insert_unless_there
from licenzy.entitlements.announcing import REPLAYED, Because, Change, announce_purchase
from licenzy.entitlements.models import Entitlement, Fact, FactSource, Purchase
from licenzy.entitlements.one_time import Pass, chain_passes
from licenzy.entitlements.projected import Projected
from licenzy.entitlements.projection import project
from licenzy.entitlements.queries import facts_of
from licenzy.kit.clock import rfc3339
from licenzy.kit.ids import new_id
from licenzy.subjects.actions import lock_subject

_SHOWN = (
    "product_code",
    "quantity",
    "state",
    "reason",
    "valid_until",
    "granted_units",
    "cancel_at",
    "canceled_at",
)


def lock_purchase(db: Session, *, project_id: str, mode: Mode, key: str, now: datetime) -> Purchase:
    """The purchase's row, made when it is new, held against other writers until the transaction ends.

    Facts are recorded and read under this lock, so that of two events of one purchase the second always
    projects what the first has recorded.
    """
    while (found := _held_purchase(db, project_id=project_id, mode=mode, key=key)) is None:
        row = Purchase(project_id=project_id, mode=mode, key=key, created_at=now)
        if add_unless_there(db, row):
            return row
    return found


def record_fact(
    db: Session,
    *,
    project_id: str,
    mode: Mode,
    source: FactSource,
    source_id: str,
    kind: str,
    object_id: str,
    purchase_key: str | None,
    occurred_at: datetime,
    data: dict[str, Any],
    now: datetime,
    waiting_for: str | None = None,
) -> bool:
    """Write a fact down; False when its source told it before."""
    return insert_unless_there(
        db,
        Fact,
        {
            "id": new_id("fct"),
            "project_id": project_id,
            "mode": mode,
            "source": source,
            "source_id": source_id,
            "kind": kind,
            "object_id": object_id,
            "purchase_key": purchase_key,
            "waiting_for": waiting_for,
            "occurred_at": occurred_at,
            "recorded_at": now,
            "data": data,
        },
    )


def project_purchase(
    db: Session,
    purchase: Purchase,
    *,
    now: datetime,
    because: Because = REPLAYED,
    facts: Sequence[Fact] | None = None,
) -> list[Change]:
    """Write the rows that the facts of a locked purchase give; what changed, before and after.

    A purchase whose subject is not known yet gives no rows; its facts wait. Endpoints are told of what
    changed, and of what the facts behind it tell, in this transaction. `facts` are all of its facts, where
    they have been read already, and the subject been locked.
    """
    if purchase.subject_id is None:
        return []
    project_id, mode = purchase.project_id, purchase.mode
    if facts is None:
        lock_subject(db, project_id=project_id, mode=mode, subject_id=purchase.subject_id)
        facts = facts_of(db, project_id=project_id, mode=mode, purchase_key=purchase.key)
    found = _rows_of(db, project_id=project_id, mode=mode, purchase_key=purchase.key)
    rows = {row.item_key: row for row in found}
    changes: list[Change] = []
    for projected in project(facts):
        before = _shown(rows[projected.item_key]) if projected.item_key in rows else None
        row = rows[projected.item_key] = _write(db, rows.get(projected.item_key), purchase, projected, now)
        changes.extend(_change(row, before))
        if projected.kind is Kind.TIME_PASS:
            changes.extend(_chain(db, row, now))
    announce_purchase(
        db, purchase, facts=facts, rows=rows.values(), changes=changes, because=because, now=now
    )
    return changes


@read_all
def _rows_of(*, project_id: str, mode: Mode, purchase_key: str) -> SelectOfScalar[Entitlement]:
    return (
        select(Entitlement)
        .where(
            Entitlement.project_id == project_id,
            Entitlement.mode == mode,
            Entitlement.purchase_key == purchase_key,
        )
        .execution_options(populate_existing=True)
    )


@read_first
def _held_purchase(*, project_id: str, mode: Mode, key: str) -> SelectOfScalar[Purchase]:
    return (
        select(Purchase)
        .where(Purchase.project_id == project_id, Purchase.mode == mode, Purchase.key == key)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


def _write(
    db: Session, row: Entitlement | None, purchase: Purchase, projected: Projected, now: datetime
) -> Entitlement:
    columns = asdict(projected)
    # When it began, not when it was told: the rows of a replay are those of the first time.
    columns["created_at"] = columns.pop("granted_at")
    if row is not None and projected.kind is Kind.TIME_PASS and projected.paid_at is not None:
        # Where a paid pass stands among its siblings is written by `_chain`; one given by hand stands alone.
        for name in ("starts_at", "valid_until", "ends_at"):
            del columns[name]
    if row is None:
        assert purchase.subject_id is not None
        row = Entitlement(
            id=new_id("ent"),
            project_id=purchase.project_id,
            mode=purchase.mode,
            purchase_key=purchase.key,
            subject_id=purchase.subject_id,
            attempt_id=purchase.attempt_id,
            updated_at=now,
            **columns,
        )
        db.add(row)
    else:
        columns |= {"subject_id": purchase.subject_id, "attempt_id": purchase.attempt_id}
        _set(row, columns, now)
    db.flush()
    return row


def _set(row: Entitlement, columns: dict[str, Any], now: datetime) -> None:
    """Assign only what differs, so that an unchanged row is not written and keeps its date."""
    differing = {name: value for name, value in columns.items() if getattr(row, name) != value}
    for name, value in differing.items():
        setattr(row, name, value)
    if differing:
        row.updated_at = now


def _chain(db: Session, row: Entitlement, now: datetime) -> list[Change]:
    """Lay the subject's passes of this product one after the other; the subject's row is locked."""
    siblings = _passes(db, subject_id=row.subject_id, product_code=row.product_code, source=row.source)
    spans = chain_passes(
        Pass(each.purchase_key, each.paid_at, timedelta(seconds=each.duration_seconds), each.canceled_at)
        for each in siblings
        if each.paid_at is not None and each.duration_seconds is not None
    )
    changes: list[Change] = []
    for each in siblings:
        if each.purchase_key not in spans:
            continue
        start, end = spans[each.purchase_key]
        before = _shown(each)
        _set(each, {"starts_at": start, "valid_until": end, "ends_at": end}, now)
        changes.extend(_change(each, before))
    db.flush()
    return changes


@read_all
def _passes(*, subject_id: str, product_code: str, source: str) -> SelectOfScalar[Entitlement]:
    return (
        select(Entitlement)
        .where(
            Entitlement.subject_id == subject_id,
            Entitlement.product_code == product_code,
            col(Entitlement.kind) == Kind.TIME_PASS,
            Entitlement.source == source,
        )
        .execution_options(populate_existing=True)
    )


def _shown(row: Entitlement) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in _SHOWN:
        value = getattr(row, name)
        shown[name] = rfc3339(value) if isinstance(value, datetime) else value
    return shown


def _change(row: Entitlement, before: dict[str, Any] | None) -> list[Change]:
    after = _shown(row)
    return [] if after == before else [{"entitlement": row.id, "before": before, "after": after}]
