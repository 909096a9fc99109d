"""From what Stripe sent or answered to what is to be recorded of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from licenzy.entitlements import statuses
from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projected import payment_refs
from licenzy.kit.clock import from_unix
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway import invoices, shapes
from licenzy.stripe_gateway.shapes import Event, Reading, read_object


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a reading comes from: whose it is, what told it, and when that was at Stripe."""

    scope: Scope
    connection_id: str
    source: FactSource
    source_id: str
    occurred_at: datetime


def listed_origin(scope: Scope, *, connection_id: str, reading: Reading, occurred_at: datetime) -> Origin:
    """That of an object as Stripe lists it: each status is told once, whoever reads it first."""
    source_id = f"listed:{reading.object_id}:{reading.data['status']}"
    return Origin(scope, connection_id, FactSource.SNAPSHOT, source_id, occurred_at)


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is nothing to record, and why."""

    note: str


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """A price or product of Stripe's changed."""

    event_type: str
    object_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """What Stripe said when it was asked: the purchase it is about, the readings, and its payments."""

    purchase_key: str
    readings: Sequence[Reading]
    payments: frozenset[str] = frozenset()
    """Those that belong to the purchase beside those that the readings name."""
    occurred_at: datetime | None = None
    """When what was read happened, where that is not the moment of reading."""
    has_sessions: bool = False
    """Whether the sessions that made the subscription are among the readings, all there are."""

    def numbered(self, snapshot: int) -> Found:
        """The same as the snapshot of this number."""
        readings = [
            each.with_data(event=each.data.get("event", "snapshot"), snapshot=snapshot)
            for each in self.readings
        ]
        return replace(self, readings=readings)


def read(event: Event) -> Reading | CatalogChange | Nothing:
    """What an event says in our words. Raises Unreadable."""
    reading = read_object(event)
    if reading is None:
        if event.type.startswith(("price.", "product.")):
            return CatalogChange(event.type, event.object_id or "")
        if event.type == "credit_note.created":
            return _credit_note(event)
        return nothing_depends_on(event.type)
    if reading.kind == "session" and reading.data["mode"] == "setup":
        return Nothing("A session that only saves a payment method grants nothing.")
    return reading


def _credit_note(event: Event) -> Nothing:
    """A credit note changes no access by itself: what it refunds comes as a refund."""
    given, currency = event.object.get("out_of_band_amount"), event.object.get("currency")
    if not isinstance(given, int) or given <= 0:
        return nothing_depends_on(event.type)
    return Nothing(
        f"Credit note: {given} {currency} (smallest unit) was paid back outside of Stripe. Access stays. "
        "Revoke it manually if it should end."
    )


def nothing_depends_on(event_type: str) -> Nothing:
    """An event of a type, or about an object, that is of no use here."""
    return Nothing(f"Access does not depend on {event_type}.")


def subscription_found(
    obj: Mapping[str, Any], *, sessions: Sequence[Mapping[str, Any]] | None = None
) -> Found:
    """A subscription as read, with its latest invoice where that came along.

    `sessions` are those that made it, all there are, where Stripe was asked for them.
    """
    readings = [Reading("subscription", obj["id"], shapes.subscription(obj))]
    payments: frozenset[str] = frozenset()
    latest = obj.get("latest_invoice")
    if isinstance(latest, Mapping):
        invoice = Reading("invoice", latest["id"], {**invoices.invoice(latest), "subscription": obj["id"]})
        readings.append(invoice)
        payments = frozenset(payment_refs(invoice.data))
    for session in sessions or ():
        found = session_found(session)
        readings += found.readings if found is not None else ()
    return Found(obj["id"], readings, payments, has_sessions=sessions is not None)


def session_found(
    obj: Mapping[str, Any], *, lines: Sequence[Mapping[str, Any]] | None = None
) -> Found | None:
    """A Checkout Session as read; None while it is open, or when it sold nothing.

    `lines` are its line items, all of them, where Stripe was asked for them.
    """
    event = shapes.session_event(obj)
    if event is None or obj.get("mode") == "setup":
        return None
    reading = Reading("session", obj["id"], {**shapes.session(obj), "event": event})
    if lines is not None:
        reading = reading.with_data(lines=[shapes.session_line(each) for each in lines])
    created = obj.get("created")
    return Found(
        reading.data["subscription"] or reading.object_id,
        [reading],
        frozenset(payment_refs(reading.data)),
        from_unix(created) if isinstance(created, int) else None,
    )


def payment_found(
    *,
    session: Mapping[str, Any] | None,
    invoice: Mapping[str, Any] | None,
    invoice_payment: Mapping[str, Any] | None,
    refs: frozenset[str],
) -> Found | None:
    """A payment as read, by what it paid; None where no purchase is behind it."""
    if session is not None:
        found = session_found(session)
        if found is None:
            return None
        return Found(found.purchase_key, found.readings, found.payments | refs, found.occurred_at)
    if invoice is None or invoice_payment is None:
        return None
    bill = Reading("invoice", invoice["id"], invoices.invoice(invoice))
    if bill.data["subscription"] is None:
        return None
    paid = Reading("invoice_payment", invoice_payment["id"], invoices.invoice_payment(invoice_payment))
    return Found(bill.data["subscription"], [bill, paid], refs)


def unknown_word(found: Found | None) -> str | None:
    """What is to be said of a subscription whose status is none of Stripe's eight."""
    for reading in found.readings if found is not None else ():
        if reading.kind == "subscription" and reading.data["status"] not in statuses.KNOWN:
            return (
                f"Stripe reported the status {reading.data['status'][:40]}, which is unknown. "
                "The last known state stays."
            )
    return None
