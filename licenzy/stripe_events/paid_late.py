"""What customers who were erased pay for nevertheless, as by an open checkout: known again, unnamed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.db.upsert import insert_unless_there
from licenzy.entitlements.links import link_payments
from licenzy.entitlements.models import Purchase
from licenzy.projects.scope import Scope
from licenzy.stripe_events.erased import named_in, owners_of
from licenzy.subjects.actions import add_customer
from licenzy.subjects.erased import erased_among, erased_name, search_events_again, subjects_by_names

SEARCHED_AFTER = timedelta(seconds=60)
"""After which time the inbox is searched for events that came before the one that told whose they are."""


def note_purchase_of_erased(db: Session, scope: Scope, value: Mapping[str, Any], *, now: datetime) -> None:
    """Note whose the Stripe customer and the payments are that an ignored event names; `now` is real time.

    Events about them alone are then recognized, those that come and those that came before.
    """
    named = named_in(value)
    owners = owners_of(db, scope, [named])[0]
    if len(owners) != 1 or owners != erased_among(db, scope, subject_ids=owners):
        return
    (subject_id,) = owners
    known = subjects_by_names(db, scope, refs=(), customers=named.customers)
    customers = sorted(each for each in named.customers if not known.get(each))
    for customer in customers:
        hashed = erased_name(db, scope, customer)
        add_customer(db, scope, subject_id=subject_id, stripe_customer_id=hashed)
    is_new = _note_payments(db, scope, subject_id, named.purchases, now)
    if customers or is_new:
        search_events_again(db, scope, subject_id=subject_id, due_at=now + SEARCHED_AFTER)


def _note_payments(db: Session, scope: Scope, subject_id: str, named: Collection[str], now: datetime) -> bool:
    """Whether the purchase was not known yet."""
    keys = sorted((each for each in named if each.startswith(("sub_", "cs_"))), reverse=True)
    if not keys:
        return False
    row = {
        "project_id": scope.project_id,
        "mode": scope.mode,
        "key": keys[0],  # The subscription, where the session made one.
        "subject_id": subject_id,
        "created_at": scope.at(now),
    }
    is_new = insert_unless_there(db, Purchase, row)
    payments = [each for each in named if each.startswith(("pi_", "ch_", "py_", "in_"))]
    link_payments(db, scope, refs=payments, purchase_key=keys[0])
    return is_new
