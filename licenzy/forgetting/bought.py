"""What was recorded of a customer's purchases and checkouts: numbers stay, and what names a person goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Fact, PaymentLink, Purchase
from licenzy.forgetting.work import Work, batch_of, here
from licenzy.stripe_events.models import SettlingRead, UntrackedCheckout

_AT_ONCE = 200
_FACTS, _PURCHASES, _LINKS = table_of(Fact), table_of(Purchase), table_of(PaymentLink)
_ATTEMPTS, _UNTRACKED, _READS = table_of(CheckoutAttempt), table_of(UntrackedCheckout), table_of(SettlingRead)

_OF_PEOPLE: Mapping[str, Any] = {"customer": None, "email": None, "reference": None, "note": ""}
"""What a fact may say of a person, and what stands there instead: no entitlement is made of it."""


def blank_purchases(db: Session, work: Work, after: str) -> str | None:
    """The facts of the customer's purchases, and reads of them that were to come."""
    mine = [_PURCHASES.c.subject_id == work.subject_id]
    batch = batch_of(db, work, Purchase, after=after, most=_AT_ONCE, by="key", where=mine)
    keys = [row.key for row in batch.rows]
    if keys:
        _blank_facts(db, work, [_FACTS.c.purchase_key.in_(keys)])
        payments = select(_LINKS.c.ref).where(*here(work, _LINKS), _LINKS.c.purchase_key.in_(keys))
        of_these = or_(_READS.c.object_id.in_(keys), _READS.c.object_id.in_(payments))
        reads = update(_READS).where(*here(work, _READS), of_these)
        db.execute(reads.values(due_at=None, problem=None))
    return batch.last_key


def blank_untracked(db: Session, work: Work, after: str) -> str | None:
    """Purchases made outside Licenzy, adopted for the customer or not, and their facts."""
    names = work.names
    named = or_(
        _UNTRACKED.c.customer.in_(names.customers),
        func.lower(_UNTRACKED.c.email).in_(names.addresses),
        _UNTRACKED.c.reference == names.ref,
    )
    theirs = or_(_UNTRACKED.c.subject_id == work.subject_id, and_(named, _UNTRACKED.c.subject_id.is_(None)))
    batch = batch_of(
        db, work, UntrackedCheckout, _UNTRACKED.c.purchase_key, after=after, most=_AT_ONCE, where=[theirs]
    )
    ids = [row.id for row in batch.rows]
    if ids:
        _blank_facts(db, work, [_FACTS.c.purchase_key.in_([row.purchase_key for row in batch.rows])])
        rows = update(_UNTRACKED).where(*here(work, _UNTRACKED), _UNTRACKED.c.id.in_(ids))
        db.execute(rows.values(customer=None, email=None, reference=None))
    return batch.last_key


def blank_facts_of_nobody(db: Session, work: Work, after: str) -> str | None:
    """Facts of the customer's purchases that were never anybody's here."""
    nobody = [_PURCHASES.c.subject_id.is_(None)]
    batch = batch_of(db, work, Purchase, after=after, most=_AT_ONCE, by="key", where=nobody)
    keys = [row.key for row in batch.rows]
    if keys:
        facts = select(_FACTS.c.id, _FACTS.c.data).where(*here(work, _FACTS), _FACTS.c.purchase_key.in_(keys))
        theirs = [row.id for row in db.execute(facts) if _names(work, row.data)]
        _blank_facts(db, work, [_FACTS.c.id.in_(theirs)])
    return batch.last_key


def _names(work: Work, data: Mapping[str, Any]) -> bool:
    return (
        data.get("customer") in work.names.customers
        or str(data.get("email") or "").lower() in work.names.addresses
        or data.get("reference") == work.names.ref
    )


def _blank_facts(db: Session, work: Work, which: Sequence[ColumnElement[bool]]) -> None:
    columns = (_FACTS.c.id, _FACTS.c.source, _FACTS.c.object_id, _FACTS.c.data)
    for row in db.execute(select(*columns).where(*here(work, _FACTS), *which)).all():
        blank = {name: _OF_PEOPLE.get(name, value) for name, value in row.data.items()}
        # Grants and overrides name the customer that they are for.
        object_id = work.subject_id if row.object_id == work.names.ref else row.object_id
        if (blank, object_id) != (row.data, row.object_id):
            this = update(_FACTS).where(*here(work, _FACTS), _FACTS.c.id == row.id)
            db.execute(this.values(data=blank, object_id=object_id))


def blank_attempts(db: Session, work: Work, after: str) -> str | None:
    """What Stripe was asked for, and the addresses of its pages."""
    mine = [_ATTEMPTS.c.subject_id == work.subject_id]
    batch = batch_of(db, work, CheckoutAttempt, after=after, most=_AT_ONCE, where=mine)
    ids = [row.id for row in batch.rows]
    if ids:
        rows = update(_ATTEMPTS).where(*here(work, _ATTEMPTS), _ATTEMPTS.c.id.in_(ids))
        db.execute(rows.values(stripe_params={}, checkout_url=None))
    return batch.last_key
