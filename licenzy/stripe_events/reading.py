"""Reading a touched object from Stripe and recording what it says as a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.connections.actions import access
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_by_id
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.actions import lock_purchase, project_purchase
from licenzy.entitlements.links import link_payments, payment_refs
from licenzy.entitlements.models import FactSource
from licenzy.errors import LicenzyError
from licenzy.kit.clock import Clock
from licenzy.kit.seal import Seal
from licenzy.stripe_events.apply import Origin, apply_reading
from licenzy.stripe_events.settling import Claim, claim_due_read, read_done, read_failed
from licenzy.stripe_gateway import shapes
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.stripe_gateway.shapes import Reading
from licenzy.stripe_gateway.translate import StripeObjectMissing


@dataclass(frozen=True, slots=True)
class Found:
    """What Stripe said: the purchase it is about, the readings, and the payments that belong to it."""

    purchase_key: str
    readings: Sequence[Reading]
    payments: set[str] = field(default_factory=set)


def settle_next(database: Database, gateway: StripeGateway, seal: Seal, *, clock: Clock) -> bool:
    """Do the settling read that has been due longest; False when none is due.

    When Stripe cannot be reached, or does not know the object, the projected state stands, the reason is
    kept with the request, and the first is tried again later.
    """
    with database.write() as db:
        claim = claim_due_read(db, now=clock())
    if claim is None:
        return False
    began = clock()
    try:
        with database.read() as db:
            connection = connection_by_id(db, claim.connection_id)
        assert connection is not None
        found = _ask(gateway, seal, connection, claim.object_id)
    except LicenzyError as problem:
        with database.write() as db:
            unknown = isinstance(problem, StripeObjectMissing)
            read_failed(db, claim, problem=problem.message, give_up=unknown, now=clock())
        return True
    as_of = began + timedelta(seconds=connection.clock_offset_seconds)
    with database.write() as db:
        if found is not None:
            record_snapshot(db, claim, found, as_of=as_of, now=clock())
        read_done(db, claim, now=clock())
    return True


def record_snapshot(db: Session, claim: Claim, found: Found, *, as_of: datetime, now: datetime) -> None:
    """Write what was read as facts numbered by the claim, and project the purchase."""
    origin = Origin(
        project_id=claim.project_id,
        mode=claim.mode,
        connection_id=claim.connection_id,
        source=FactSource.SNAPSHOT,
        source_id=f"snapshot:{claim.object_id}:{claim.snapshot}",
        occurred_at=as_of,
    )
    for reading in found.readings:
        reading.data.update(event="snapshot", snapshot=claim.snapshot)
        apply_reading(db, origin, reading, found.purchase_key, now=now)
    purchase = lock_purchase(db, key=found.purchase_key, now=now, **origin.scope)
    link_payments(db, refs=found.payments, purchase_key=found.purchase_key, **origin.scope)
    project_purchase(db, purchase, now=now)


def _ask(gateway: StripeGateway, seal: Seal, connection: Connection, object_id: str) -> Found | None:
    """What Stripe says of the object; None for a payment that no purchase is behind."""
    at = access(gateway, seal, connection)
    if object_id.startswith("sub_"):
        return subscription_found(gateway.subscription(at, object_id))
    payment = gateway.payment(at, object_id)
    if payment.session is not None:
        reading = Reading("session", payment.session["id"], shapes.session(payment.session))
        key = reading.data["subscription"] or reading.object_id
        return Found(key, [reading], payment.refs)
    if payment.invoice is None or payment.invoice_payment is None:
        return None
    invoice = Reading("invoice", payment.invoice["id"], shapes.invoice(payment.invoice))
    if invoice.data["subscription"] is None:
        return None
    paid = Reading(
        "invoice_payment", payment.invoice_payment["id"], shapes.invoice_payment(payment.invoice_payment)
    )
    return Found(invoice.data["subscription"], [invoice, paid], payment.refs)


def subscription_found(obj: dict[str, Any]) -> Found:
    """A subscription as read, with its latest invoice where that came along."""
    readings = [Reading("subscription", obj["id"], shapes.subscription(obj))]
    latest = obj.get("latest_invoice")
    if isinstance(latest, dict):
        invoice = Reading("invoice", latest["id"], shapes.invoice(latest))
        invoice.data["subscription"] = obj["id"]
        readings.append(invoice)
    return Found(obj["id"], readings, payment_refs(readings[-1].data) if len(readings) > 1 else set())
