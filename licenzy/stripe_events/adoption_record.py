"""What adopting writes, whoever does it: the fact, the row that was kept, notes on events, the audit row."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, update

from licenzy.entitlements.actions import record_fact
from licenzy.entitlements.models import FactSource
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, StripeEvent, UntrackedCheckout
from licenzy.subjects.actions import Customer, link_customer
from licenzy.workspace.audit import Actor, record


def record_adoption(
    db: Session,
    scope: Scope,
    kept: UntrackedCheckout,
    sold: Sequence[dict[str, Any]],
    *,
    actor: Actor,
    note: str,
    occurred_at: datetime,
    now: datetime,
) -> None:
    """Record the fact that a purchase made past Licenzy counts; `sold` is each product with its quantity."""
    first, *others = sold
    about = kept.session_id or kept.purchase_key
    record_fact(
        db,
        scope,
        source=FactSource.OPERATOR,
        source_id=f"adopt:{about}",
        kind="operator",
        object_id=about,
        purchase_key=kept.purchase_key,
        occurred_at=occurred_at,
        data={
            "action": "adopt",
            "session": kept.session_id,
            **first,
            **({"others": others} if others else {}),
            "actor": actor.user_id,
            "note": note,
        },
        now=now,
    )


def note_adoption(
    db: Session,
    scope: Scope,
    kept: UntrackedCheckout,
    subject: Customer,
    sold: Sequence[dict[str, Any]],
    *,
    actor: Actor,
    changes: int,
    now: datetime,
) -> None:
    """Write beside the fact whom a purchase was adopted onto; the subject is held."""
    kept.adopted_at, kept.adopted_by, kept.subject_id = now, actor.user_id, subject.id
    if kept.session_id is not None:
        by = "manually" if actor.user_id is not None else "by the project's setting"
        note = f"The checkout was adopted {by} and counts as a purchase."
        _note_on_events(db, scope, kept.session_id, note)
    if kept.recurring:
        note = "The subscription was adopted and counts as a purchase."
        _note_on_events(db, scope, kept.purchase_key, note)
    link_customer(
        db,
        scope,
        subject,
        # Whom the subject is at Stripe already is not overwritten: a subscription may hang on it.
        stripe_customer_id=kept.customer if subject.stripe_customer_id is None else None,
        email=kept.email if subject.email is None else None,
    )
    record(
        db,
        actor=actor,
        action="checkout.adopt" if kept.session_id is not None else "subscription.adopt",
        about=kept.session_id or kept.purchase_key,
        before=None,
        after={
            "subject": subject.id,
            "product_code": ", ".join(each["sold"]["product_code"] for each in sold),
            "changes": changes,
            **({} if actor.user_id is not None else {"by": "adopt_known_customers"}),
        },
        now=now,
        project_id=scope.project_id,
        mode=scope.mode,
    )


def note_owner(
    db: Session, scope: Scope, *, purchase_key: str, subject_id: str, actor: Actor, now: datetime
) -> None:
    """Nobody has to decide any more on what was kept of a held purchase: it is somebody's, by another way."""
    db.exec(
        update(UntrackedCheckout)
        .where(
            col(UntrackedCheckout.project_id) == scope.project_id,
            col(UntrackedCheckout.mode) == scope.mode,
            col(UntrackedCheckout.purchase_key) == purchase_key,
            col(UntrackedCheckout.adopted_at).is_(None),
        )
        .values(adopted_at=now, adopted_by=actor.user_id, subject_id=subject_id)
    )


def _note_on_events(db: Session, scope: Scope, object_id: str, note: str) -> None:
    db.exec(
        update(StripeEvent)
        .where(
            col(StripeEvent.project_id) == scope.project_id,
            col(StripeEvent.mode) == scope.mode,
            col(StripeEvent.object_id) == object_id,
            col(StripeEvent.status) == EventStatus.IGNORED,
        )
        .values(note=note)
    )
