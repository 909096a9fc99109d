"""Facts of subscriptions whose products include units, as Stripe's events and readings give them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from licenzy.entitlements.actions import (
    FactDraft,
    give_purchase,
    lock_purchase,
    project_purchase,
    record_facts,
)
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject
from tests.entitlements.test_projection import Fact

HOUR, DAY = 3600, 86_400
_numbers = itertools.count(1)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


ANCHOR = at("2026-01-15T10:00:00")
FEBRUARY, MARCH, APRIL = (at(f"2026-{month:02}-15T10:00:00") for month in (2, 3, 4))
NEXT_YEAR = at("2027-01-15T10:00:00")


def line(unit: str = "images", units: int = 1000, every: str = "month", **more: Any) -> dict[str, Any]:
    return {"unit": unit, "units": units, "every": every, "rollover": None, **more}


def sold(*included: dict[str, Any], price: str = "price_pro", code: str = "PRO") -> dict[str, Any]:
    return {
        "kind": "subscription",
        "product_code": code,
        "features": [],
        "grace_days": 3,
        "stripe_price_id": price,
        "version": 1,
        "included": list(included),
    }


def state(
    when: int,
    terms: dict[str, Any],
    *,
    span: tuple[int, int],
    status: str = "active",
    quantity: int = 1,
    item: str = "si_1",
    anchor: int = ANCHOR,
    invoice: str | None = None,
    **changes: Any,
) -> Fact:
    data = {
        "event": "customer.subscription.updated",
        "status": status,
        "items": [
            {
                "id": item,
                "price": terms["stripe_price_id"],
                "quantity": quantity,
                "period_start": span[0],
                "period_end": span[1],
                "sold": terms,
            }
        ],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "started_at": ANCHOR,
        "trial_end": None,
        "pause": None,
        "previous": {},
        "latest_invoice": invoice,
        "anchor": anchor,
        **changes,
    }
    return Fact("subscription", data, from_unix(when), f"evt_{next(_numbers):04}")


def billed(
    span: tuple[int, int],
    amount: int = 2000,
    *,
    quantity: int = 1,
    price: str = "price_pro",
    proration: bool = False,
    item: str = "si_1",
) -> dict[str, Any]:
    return {
        "item": item,
        "price": price,
        "quantity": quantity,
        "proration": proration,
        "recurring": True,
        "amount": amount,
        "start": span[0],
        "end": span[1],
    }


def paid(
    invoice_id: str, when: int, *lines: dict[str, Any], reason: str = "subscription_cycle", **changes: Any
) -> Fact:
    data = {
        "event": "invoice.paid",
        "status": "paid",
        "billing_reason": reason,
        "amount_paid": sum(each["amount"] for each in lines),
        "period_end": max(each["end"] for each in lines),
        "currency": "usd",
        "payment_intent": f"pi_{invoice_id}",
        "charge": None,
        "created": when,
        "lines": list(lines),
        "more_lines": False,
        **changes,
    }
    return Fact("invoice", data, from_unix(when), f"evt_{next(_numbers):04}", invoice_id)


def of_year(*lines: dict[str, Any], rollover: Any = None) -> list[Fact]:
    terms = sold(*(lines or (line(rollover=rollover),)))
    span = ANCHOR, NEXT_YEAR
    return [
        state(ANCHOR, terms, span=span, invoice="in_1"),
        paid("in_1", ANCHOR + 5, billed(span, 20_000), reason="subscription_create"),
    ]


def of_month(terms: dict[str, Any], quantity: int = 1) -> list[Fact]:
    span = ANCHOR, FEBRUARY
    return [
        state(ANCHOR, terms, span=span, invoice="in_1", quantity=quantity),
        paid("in_1", ANCHOR + 5, billed(span, quantity=quantity), reason="subscription_create"),
    ]


def record(db: Session, subject: Subject, facts: Sequence[Fact], *, now: datetime) -> None:
    """Write facts down as the subject's, of the subscription that they are of, and project them."""
    scope = Scope.of(subject)
    purchase = lock_purchase(db, scope, key="sub_1", now=now)
    if purchase.subject_id is None:
        purchase = give_purchase(db, purchase, subject_id=subject.id)
    drafts = [
        FactDraft(
            each.source, each.source_id, each.kind, each.object_id, each.occurred_at, each.data, "sub_1"
        )
        for each in facts
    ]
    record_facts(db, scope, drafts, now=now)
    project_purchase(db, purchase, now=now)
