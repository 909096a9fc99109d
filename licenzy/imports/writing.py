"""Writing an imported purchase: a fact that says so, and a snapshot, on the way that every reading takes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DataError, SQLAlchemyError
from sqlmodel import Session

from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_price
from licenzy.catalog.rules import as_sold
from licenzy.connections.queries import connection_of
from licenzy.db.savepoint import savepoint
from licenzy.db.upsert import change_row
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import (
    FactDraft,
    give_purchase,
    lock_purchase,
    project_purchase,
    record_facts,
)
from licenzy.entitlements.events import ChangeCause
from licenzy.entitlements.imported import IMPORT
from licenzy.entitlements.models import Entitlement, FactSource, Purchase
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import entitlements_of_purchase
from licenzy.entitlements.windows import included_of, whole_seconds
from licenzy.errors import CustomerErased, LicenzyError
from licenzy.imports import queries
from licenzy.imports.actions import require_same_account
from licenzy.imports.known import kinds_of_prices
from licenzy.imports.matching import is_sold
from licenzy.imports.models import Import, ImportRow, ImportStep
from licenzy.imports.read_objects import found_in
from licenzy.kit.clock import Clock, from_micros
from licenzy.projects.scope import Scope
from licenzy.stripe_events.adoption_record import note_owner
from licenzy.stripe_events.paid_periods import made_at
from licenzy.stripe_events.pipeline import apply_reading
from licenzy.stripe_events.read import listed_origin
from licenzy.stripe_events.settling import claim_now, has_event_since, read_done, request_read
from licenzy.stripe_events.snapshots import record_snapshot
from licenzy.stripe_gateway.shapes import Reading
from licenzy.subjects.actions import add_customer, ensure_subject, link_customer, lock_customer
from licenzy.subjects.queries import subjects_of_stripe_customer
from licenzy.workspace.audit import Actor

REASON = "imported"
_log = logging.getLogger("licenzy.imports")


def write_purchase(db: Session, *, scope: Scope, import_id: str, key: str, clock: Clock) -> None:
    """Write one matched purchase, unless that was done, and note what became of it.

    What is not as it was when it was matched is left out. One that cannot be written keeps none of the others
    from being written. Raises InvalidRequest where the connection is to another account now.
    """
    import_ = queries.import_by_id(db, scope, import_id=import_id)
    if import_ is None or import_.step is not ImportStep.RUN:
        return
    connection = connection_of(db, scope)
    require_same_account(import_, connection)
    assert connection is not None
    purchase = lock_purchase(db, scope, key=key, now=clock())
    row = queries.row_of(db, scope, import_id=import_id, key=key)
    if row is None or row.applied_at is not None or row.found is None:
        return
    result = _reason_against(db, scope, row, purchase)
    if result is None:
        result = _written(db, connection.scope, import_, row, purchase, clock())
    row.applied_at, row.result, row.found = clock(), result, None
    db.add(row)
    db.flush()


def _reason_against(db: Session, scope: Scope, row: ImportRow, purchase: LockedPurchase) -> str | None:
    """Why a purchase is no longer to be written."""
    if purchase.subject_id is not None:
        return "here_already"
    kinds = kinds_of_prices(db, scope, prices={item["price"] for item in row.items})
    if not any(is_sold(item["price"], row.key, kinds) for item in row.items):
        return "price_not_mapped"
    if row.matched_by == "linked_customer":
        linked = subjects_of_stripe_customer(
            db, scope, stripe_customer_id=row.stripe_customer_id or "", limit=2
        )
        if [each.subject_ref for each in linked] != [row.subject_ref]:
            return "no_longer_clear"
    return None


def _written(
    db: Session, scope: Scope, import_: Import, row: ImportRow, purchase: LockedPurchase, now: datetime
) -> str:
    try:
        with savepoint(db):
            _write(db, scope, import_, row, purchase, now)
    except DataError:
        _log.exception("the purchase %s cannot be written to this database", row.key)
        return "failed"
    except CustomerErased:
        return "customer_erased"
    except (LicenzyError, SQLAlchemyError):
        raise
    except Exception:
        _log.exception("the purchase %s could not be imported", row.key)
        return "failed"
    return REASON


def _write(
    db: Session, scope: Scope, import_: Import, row: ImportRow, purchase: LockedPurchase, now: datetime
) -> None:
    assert row.found is not None
    assert row.subject_ref is not None
    subject = ensure_subject(db, scope, subject_ref=row.subject_ref, now=now)
    purchase = give_purchase(db, purchase, subject_id=subject.id)
    # What was bought elsewhere was told of elsewhere: nobody hears that it is finalized.
    change_row(db, Purchase, purchase.primary_key, {"finalized_at": now})
    stored = row.found
    occurred_at = from_micros(stored["occurred_at"]) if stored.get("occurred_at") else None
    as_of = from_micros(stored["read_at"]) if "read_at" in stored else scope.at(now)
    draft = FactDraft(
        FactSource.OPERATOR,
        f"{IMPORT}:{row.key}",
        "operator",
        row.key,
        as_of,
        {**import_fact_of(db, scope, row, stored), "actor": import_.run_by, "note": ""},
        row.key,
    )
    record_facts(db, scope, [draft], now=now)
    _link(db, scope, row, subject.id)
    actor = Actor(import_.run_by)
    note_owner(db, scope, purchase_key=row.key, subject_id=subject.id, actor=actor, now=now)
    # It was read when the preview was made: what has been asked for since then is not met by it.
    began = min(now, as_of - scope.clock_offset)
    claim = claim_now(db, scope, connection_id=import_.connection_id, object_id=row.key, began=began)
    cause = ChangeCause(Source.PORTAL, REASON, actor_user_id=import_.run_by)
    found = found_in(stored, row.key, occurred_at)
    record_snapshot(db, claim, found, as_of=as_of, now=now, cause=cause, announced=import_.announced)
    read_done(db, claim, now=now)
    if has_event_since(db, scope, purchase_key=row.key, instant=as_of):
        request_read(db, scope, connection_id=import_.connection_id, object_id=row.key, now=now)
    for kind, object_id, data in stored.get("reversing", ()):
        _reverse(db, scope, import_, Reading(kind, object_id, {**data, "event": "snapshot"}), as_of, now)
    if row.used:
        _use(db, scope, import_, row, subject.id, as_of, now, cause)


def import_fact_of(db: Session, scope: Scope, row: ImportRow, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What the import's fact says of a purchase, whoever lets it be written."""
    data: dict[str, Any] = {"action": IMPORT, "import": row.import_id, "matched_by": row.matched_by}
    if row.key.startswith("sub_"):
        return data | {"begun": stored["begun"], "periods": stored["periods"]}
    first, *others = _sold(db, scope, row.items)
    return data | {"session": row.key, **first, **({"others": others} if others else {})}


def _sold(db: Session, scope: Scope, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the lines of a session sold, as the catalog says now."""
    found: list[dict[str, Any]] = []
    for item in items:
        product = product_by_price(db, scope, price_id=item["price"])
        if product is not None and product.kind is not Kind.SUBSCRIPTION:
            sold = as_sold(product, price_id=item["price"])
            found.append({"sold": sold, "quantity": item["quantity"]})
    return found


def _link(db: Session, scope: Scope, row: ImportRow, subject_id: str) -> None:
    """Who the subject is at Stripe: the customer of its newest purchase. It may have bought as others."""
    known, customer = lock_customer(db, scope, subject_id=subject_id), row.stripe_customer_id
    is_first = known.stripe_customer_id is None and row.is_newest
    link_customer(
        db,
        scope,
        known,
        stripe_customer_id=customer if is_first else None,
        email=row.email if known.email is None else None,
    )
    if customer is not None and not is_first and known.stripe_customer_id != customer:
        add_customer(db, scope, subject_id=subject_id, stripe_customer_id=customer)


def _reverse(
    db: Session, scope: Scope, import_: Import, reading: Reading, as_of: datetime, now: datetime
) -> None:
    """What a refund or dispute takes back, as a walk records it."""
    occurred_at = made_at(reading) or as_of
    origin = listed_origin(
        scope, connection_id=import_.connection_id, reading=reading, occurred_at=occurred_at
    )
    apply_reading(db, origin, reading, now=now)


def _use(
    db: Session,
    scope: Scope,
    import_: Import,
    row: ImportRow,
    subject_id: str,
    as_of: datetime,
    now: datetime,
    cause: ChangeCause,
) -> None:
    """Lower what a pack or the running window grants by the units that were used elsewhere.

    What a line about a Stripe customer says is taken from its purchases in turn, the newest first.
    """
    given = entitlements_of_purchase(db, scope, purchase_key=row.key)
    is_of_customer = row.matched_by != "csv_subscription" and row.stripe_customer_id is not None
    taken = queries.used_before(db, scope, row, subject_id=subject_id) if is_of_customer else {}
    left = {unit: used - taken.get(unit, 0) for unit, used in sorted(row.used.items())}
    acts = [act for unit, used in left.items() for act in _lowered(given, unit, used, as_of)]
    drafts = [
        FactDraft(
            FactSource.OPERATOR,
            f"{IMPORT}:{row.key}:used:{place}",
            "operator",
            row.key,
            as_of,
            {**act, "actor": import_.run_by, "note": "Used before the import."},
            row.key,
        )
        for place, act in enumerate(acts)
    ]
    if drafts:
        record_facts(db, scope, drafts, now=now)
        purchase = lock_purchase(db, scope, key=row.key, now=now)
        project_purchase(db, purchase, now=now, cause=cause, has_endpoints=import_.announced)


def _lowered(given: Sequence[Entitlement], unit: str, used: int, at: datetime) -> list[dict[str, Any]]:
    acts: list[dict[str, Any]] = []
    for each in given:
        if used and each.kind is Kind.USAGE_PACK and each.unit == unit:
            taken = min(used, each.granted_units)
            acts.append({"action": "adjust", "unit": unit, "units": -taken, "item_key": each.item_key})
            used -= taken
        windows = next((one for one in included_of(each.included) if one.unit == unit), None)
        present = windows.at(whole_seconds(at)).present if used and windows is not None else None
        if present is not None:
            taken = min(used, present.units)
            start = present.starts_at
            adjusted = {"unit": unit, "starts_at": start, "units": -taken, "item_key": each.item_key}
            acts.append({"action": "adjust_window", **adjusted})
            used -= taken
    return [act for act in acts if act["units"]]
