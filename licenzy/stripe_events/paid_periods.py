"""What shows that a subscription is paid whose events nobody received: its invoices, and refunds of them.

Its latest invoice need not be one of a period: it may be a proration, a failed renewal or a manual one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.entitlements.events import Change
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.stripe_events.pipeline import apply_reading
from licenzy.stripe_events.read import listed_origin
from licenzy.stripe_gateway import invoices, shapes
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.shapes import Reading
from licenzy.stripe_gateway.values import Unreadable

_PERIODS = 2
"""The paid periods of each item that are looked for: the present one, and the one before."""
_MOST = 100

_Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PaidPeriods:
    """Objects of Stripe's that tell it, as listed."""

    invoices: Sequence[_Object] = ()
    """Newest first."""
    payments: Sequence[_Object] = ()
    """Which payments paid those of the present periods."""
    refunds: Sequence[_Object] = ()
    disputes: Sequence[_Object] = ()


def read_paid_periods(gateway: StripeGateway, at: StripeAccess, subscription: _Object) -> PaidPeriods:
    """A subscription's invoices back to where each item's last two paid periods began, the newest hundred.

    With them what was given back of those that paid for the present periods. Raises Stripe's refusals.
    """
    missing = {item["id"]: _PERIODS for item in shapes.subscription(subscription)["items"]}
    read, present = list[_Object](), list[str]()
    for invoice in gateway.invoices_of(at, str(subscription["id"])):
        if not any(missing.values()) or len(read) >= _MOST:
            break
        try:
            data = invoices.invoice(invoice)
        except Unreadable:
            continue  # What it says is not known; those beside it still count.
        if data["status"] == "draft":
            continue
        read.append(invoice)
        lines = data["lines"] or () if data["status"] == "paid" else ()
        billed = {each["item"] for each in lines if each["recurring"] and not each["proration"]}
        if any(missing.get(item_id) == _PERIODS for item_id in billed):
            present.append(str(invoice["id"]))
        for item_id in billed & missing.keys():
            missing[item_id] = max(0, missing[item_id] - 1)
    payments = [each for name in present for each in gateway.payments_of_invoice(at, name)]
    intents = {invoices.invoice_payment(each)["payment_intent"] for each in payments} - {None}
    return PaidPeriods(
        read,
        payments,
        [each for name in sorted(intents) for each in gateway.refunds_of(at, name)],
        [each for name in sorted(intents) for each in gateway.disputes_of(at, name)],
    )


def apply_paid_periods(
    db: Session, scope: Scope, paid: PaidPeriods, *, connection_id: str, read_at: datetime, now: datetime
) -> list[Change]:
    """Record what was read as facts, the oldest invoice first; what that changed."""
    changes: list[Change] = []
    for kind, read, listed in (
        ("invoice", invoices.invoice, list(reversed(paid.invoices))),
        ("invoice_payment", invoices.invoice_payment, paid.payments),
        ("refund", shapes.refund, paid.refunds),
        ("dispute", shapes.dispute, paid.disputes),
    ):
        for obj in listed:
            reading = Reading(kind, str(obj["id"]), {**read(obj), "event": "snapshot"})
            happened_at = _happened_at(kind, obj, reading) or read_at
            origin = listed_origin(
                scope, connection_id=connection_id, reading=reading, occurred_at=happened_at
            )
            changes += apply_reading(db, origin, reading, now=now).changes
    return changes


def _happened_at(kind: str, obj: _Object, reading: Reading) -> datetime | None:
    """When the object became what it is, where Stripe says so."""
    if kind == "invoice" and reading.data["status"] == "paid":
        at = invoices.paid_at(obj)
    elif kind == "invoice":
        at = reading.data["created"]
    else:
        return made_at(reading)
    return from_unix(at) if at is not None else None


ENDED = frozenset({"failed", "canceled", "won", "lost", "warning_closed"})
"""Statuses of refunds and disputes that came later than they were made; when, their list does not say."""


def made_at(reading: Reading) -> datetime | None:
    """When a listed refund or dispute got the status that it has; None where its list does not tell."""
    made = reading.data.get("created")
    return from_unix(made) if isinstance(made, int) and reading.data["status"] not in ENDED else None
