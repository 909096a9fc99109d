"""What people and the product noted of a customer: imports, the audit log, reports and problems."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import String, Table, and_, cast, func, or_, select, update
from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.models import Connection, EventPoll
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Entitlement, Purchase
from licenzy.forgetting.names import scrubbed
from licenzy.forgetting.work import Work, batch_of, here
from licenzy.imports.csv_files import without_lines_of
from licenzy.imports.models import Import, ImportFile, ImportRow
from licenzy.lab.models import LabStep
from licenzy.observations.models import Sighting, StripeProbe
from licenzy.reconciliation.models import FinishedWalk, Reconciliation
from licenzy.stripe_events.models import SettlingRead
from licenzy.workspace.models import AuditEntry

_AT_ONCE = 500
_ROWS, _FILES, _AUDIT = table_of(ImportRow), table_of(ImportFile), table_of(AuditEntry)
_CONNECTIONS = table_of(Connection)


def blank_import_rows(db: Session, work: Work, _after: str) -> str | None:
    """Purchases that imports read: those of the customer, and where the customer may be chosen."""
    purchases = table_of(Purchase)
    mine = select(purchases.c.key).where(*here(work, purchases), purchases.c.subject_id == work.subject_id)
    named = or_(
        _ROWS.c.stripe_customer_id.in_(work.names.customers),
        func.lower(_ROWS.c.email).in_(work.names.addresses),
    )
    theirs = or_(
        _ROWS.c.key.in_(mine),
        _ROWS.c.subject_ref == work.names.ref,
        and_(named, _ROWS.c.subject_ref.is_(None)),
    )
    rows = update(_ROWS).where(*here(work, _ROWS), theirs)
    nothing = {"stripe_customer_id": None, "email": None, "subject_ref": None, "found": None}
    # Nothing is left to write of a purchase that an import still had before it.
    is_left_out = or_(_ROWS.c.left_out, _ROWS.c.applied_at.is_(None))
    left_out = func.coalesce(_ROWS.c.result, "customer_erased")
    db.execute(rows.values(**nothing, named={}, candidates=[], result=left_out, left_out=is_left_out))
    spelled = json.dumps(work.names.ref)[1:-1]
    chosen_from = cast(_ROWS.c.candidates, String).contains(spelled, autoescape=True)
    columns = (_ROWS.c.import_id, _ROWS.c.key, _ROWS.c.candidates)
    for row in db.execute(select(*columns).where(*here(work, _ROWS), chosen_from)).all():
        others = [each for each in row.candidates if each != work.names.ref]
        this = update(_ROWS).where(
            *here(work, _ROWS), _ROWS.c.import_id == row.import_id, _ROWS.c.key == row.key
        )
        db.execute(this.values(candidates=others))
    return None


def blank_import_files(db: Session, work: Work, _after: str) -> str | None:
    """The lines of CSV files that name the customer."""
    names = {work.names.ref, *work.names.customers, *work.names.addresses}
    for file in db.execute(select(_FILES).where(*here(work, _FILES))).all():
        kept = without_lines_of(file.content, names)
        if kept != file.content:
            this = update(_FILES).where(
                *here(work, _FILES), _FILES.c.import_id == file.import_id, _FILES.c.kind == file.kind
            )
            db.execute(this.values(content=kept))
    return None


def blank_audit(db: Session, work: Work, after: str) -> str | None:
    """What the audit log says of the customer; that something was done, by whom and when stays."""
    columns = (_AUDIT.c.action, _AUDIT.c.about, _AUDIT.c.before, _AUDIT.c.after)
    batch = batch_of(db, work, AuditEntry, *columns, after=after, most=_AT_ONCE)
    mine = _ids(db, work, [row.about for row in batch.rows])
    for row in batch.rows:
        is_about_ref = row.about == work.names.ref and row.action.startswith("entitlement.")
        is_mine = is_about_ref or row.about in mine or (row.after or {}).get("subject") == work.subject_id
        if row.action == FORGOTTEN:
            continue
        values: dict[str, Any] = {
            "about": work.subject_id if is_about_ref else scrubbed(row.about, work.pattern),
            "before": None if is_mine else scrubbed(row.before, work.pattern),
            "after": None if is_mine else scrubbed(row.after, work.pattern),
        }
        if values != {"about": row.about, "before": row.before, "after": row.after}:
            db.execute(update(_AUDIT).where(_AUDIT.c.id == row.id).values(values))
    return batch.last_key


FORGOTTEN = "customer.forgotten"
"""The action of the audit log's row about an erasure."""


def _ids(db: Session, work: Work, about: Sequence[str]) -> set[str]:
    """Those of these ids that are the customer's own, or of something that they bought."""
    found = {work.subject_id}
    for model, name in ((Purchase, "key"), (Entitlement, "id"), (CheckoutAttempt, "id")):
        table = table_of(model)
        mine = select(table.c[name]).where(
            *here(work, table), table.c[name].in_(about), table.c.subject_id == work.subject_id
        )
        found |= set(db.execute(mine).scalars())
    return found


_TEXTS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (Import, ("problem",)),
    (SettlingRead, ("problem",)),
    (Sighting, ("about", "detail")),
    (FinishedWalk, ("problem", "report")),
    (LabStep, ("detail", "before", "events", "problem")),
    (Reconciliation, ("report",)),
    (EventPoll, ("problem",)),
    (StripeProbe, ("problem", "answers")),
)
"""Where a sentence or a report may quote what Stripe said of a customer."""


def scrub_texts(db: Session, work: Work, _after: str) -> str | None:
    """The names, wherever the product's own notes quote them."""
    for model, names in _TEXTS:
        table = table_of(model)
        key = list(table.primary_key)
        texts = [table.c[name] for name in names]
        is_written = or_(*(column.is_not(None) for column in texts))
        for row in db.execute(select(*key, *texts).where(_side(work, table), is_written)).all():
            values = {name: getattr(row, name) for name in names}
            clean = {name: scrubbed(value, work.pattern) for name, value in values.items()}
            if clean != values:
                this = [column == getattr(row, column.name) for column in key]
                db.execute(update(table).where(*this).values(clean))
    return None


def _side(work: Work, table: Table) -> Any:
    if "project_id" in table.c:
        return (table.c.project_id == work.scope.project_id) & (table.c.mode == work.scope.mode)
    mine = select(_CONNECTIONS.c.id).where(*here(work, _CONNECTIONS))
    return table.c.connection_id.in_(mine)
