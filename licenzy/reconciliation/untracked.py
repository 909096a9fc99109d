"""A page of an account's subscriptions, sorted: those known here, and those that nobody here sold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import Session

from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.db.reads import read_rows
from licenzy.db.upsert import table_of
from licenzy.entitlements.actions import lock_purchase
from licenzy.entitlements.events import Change
from licenzy.entitlements.queries import owned_purchases
from licenzy.projects.scope import Scope
from licenzy.stripe_events.erased import Named, about_erased
from licenzy.stripe_events.known_customers import (
    adopt_of_known_customer,
    adopts_by_itself,
    subjects_of_customers,
)
from licenzy.stripe_events.settling import request_read
from licenzy.stripe_events.untracked import SubscriptionState, keep_subscriptions

_ATTEMPTS = table_of(CheckoutAttempt).c


def attempt_named(obj: Mapping[str, Any]) -> str | None:
    """The attempt that an object of Stripe's names in metadata."""
    named = (obj.get("metadata") or {}).get("licenzy_attempt")
    return named if isinstance(named, str) else None


def known_subscriptions(db: Session, connection: Connection, listed: Sequence[Mapping[str, Any]]) -> set[str]:
    """Those of listed subscriptions that somebody here bought, or that an attempt of ours may have sold.

    Metadata that names the attempt of another subscription was copied by hand.
    """
    scope, ids = connection.scope, [str(each["id"]) for each in listed]
    known = owned_purchases(db, scope, keys=ids)
    named = {attempt_named(each) for each in listed if str(each["id"]) not in known} - {None}
    if not named:
        return known
    attempts = {
        row.id: row.stripe_subscription_id
        for row in _attempts(db, scope, connection_id=connection.id, ids=sorted(map(str, named)))
    }
    for each in listed:
        attempt = attempt_named(each)
        if attempt in attempts and attempts[attempt] in {None, each["id"]}:
            known.add(str(each["id"]))
    return known


@read_rows
def _attempts(scope: Scope, *, connection_id: str, ids: Sequence[str]) -> Select[Any]:
    return select(_ATTEMPTS.id, _ATTEMPTS.stripe_subscription_id).where(
        _ATTEMPTS.project_id == scope.project_id,
        _ATTEMPTS.mode == scope.mode,
        _ATTEMPTS.connection_id == connection_id,
        _ATTEMPTS.id.in_(ids),
    )


def keep_untracked(
    db: Session, connection: Connection, states: Sequence[SubscriptionState], *, now: datetime
) -> list[SubscriptionState]:
    """Keep those that have a product's price; those that the project's setting may adopt."""
    scope = connection.scope
    # An import, say, may have brought some along since their page was read.
    bought = owned_purchases(db, scope, keys=[each.key for each in states])
    of_nobody = [each for each in states if each.key not in bought]
    named = [Named(customers={str(each.data["customer"])}) for each in of_nobody]
    erased = about_erased(db, scope, named)
    states = [each for each, is_erased in zip(of_nobody, erased, strict=True) if not is_erased]
    waiting = keep_subscriptions(db, scope, states, connection_id=connection.id, now=now)
    if not waiting or not adopts_by_itself(db, scope):
        return []
    customers = {str(each.data["customer"]) for each in waiting if each.data["customer"] is not None}
    owners = subjects_of_customers(db, scope, customers=customers)
    return [each for each in waiting if each.data["customer"] in owners]


def adopt_untracked(
    db: Session, connection: Connection, state: SubscriptionState, *, now: datetime
) -> list[Change]:
    """Adopt a kept subscription for the subject that is its customer, and ask for a read of it."""
    purchase = lock_purchase(db, connection.scope, key=state.key, now=now)
    changes = adopt_of_known_customer(db, purchase, state.data["customer"], now=now)
    if changes is None:
        return []
    request_read(db, connection.scope, object_id=state.key, connection_id=connection.id, now=now)
    return changes
