"""Entitlements and Stripe payloads for tests, written directly."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import as_sold
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.entitlements.models import Entitlement, Purchase, State
from licenzy.kit.ids import new_id
from licenzy.subjects.models import Subject
from tests.support.clock import START
from tests.support.invoice_lines import period_line


def make_entitlement(
    db: Session,
    *,
    subject: Subject,
    product_code: str = "PRO_MONTHLY",
    kind: Kind = Kind.SUBSCRIPTION,
    state: State = State.ACTIVE,
    starts_at: datetime = START,
    ends_at: datetime | None = START + timedelta(days=30),
    ends_as: str | None = "expired",
    **columns: Any,
) -> Entitlement:
    """An entitlement as if projected from facts."""
    key = new_id("x")
    db.add(
        Purchase(
            project_id=subject.project_id, mode=subject.mode, key=key, subject_id=subject.id, created_at=START
        )
    )
    row = Entitlement(
        id=new_id("ent"),
        project_id=subject.project_id,
        mode=subject.mode,
        subject_id=subject.id,
        purchase_key=key,
        product_code=product_code,
        kind=kind,
        state=state,
        starts_at=starts_at,
        valid_until=ends_at,
        ends_at=ends_at,
        ends_as=ends_as,
        **{"source": "stripe", "created_at": starts_at, "updated_at": starts_at, **columns},
    )
    db.add(row)
    db.flush()
    return row


def make_attempt(
    db: Session,
    *,
    connection: Connection,
    subject: Subject,
    product: Product,
    session_id: str | None = None,
    quantity: int = 1,
    now: datetime = START,
    **columns: Any,
) -> CheckoutAttempt:
    """An open attempt with a session at Stripe."""
    attempt = CheckoutAttempt(
        id=new_id("att"),
        project_id=subject.project_id,
        mode=subject.mode,
        connection_id=connection.id,
        subject_id=subject.id,
        product_id=product.id,
        product_code=product.product_code,
        sold=as_sold(product, price_id=product.prices[0].stripe_price_id),
        quantity=quantity,
        stripe_params={},
        stripe_checkout_session_id=session_id or f"cs_test_{new_id('x')[2:]}",
        status=AttemptStatus.OPEN,
        created_at=now,
        updated_at=now,
        **columns,
    )
    db.add(attempt)
    db.flush()
    return attempt


def event(
    event_type: str,
    obj: dict[str, Any],
    *,
    at: datetime = START,
    livemode: bool = False,
    event_id: str | None = None,
    previous: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A Stripe event around an object."""
    data: dict[str, Any] = {"object": obj}
    if previous is not None:
        data["previous_attributes"] = previous
    return {
        "id": event_id or f"evt_{new_id('x')[2:]}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(at.timestamp()),
        "livemode": livemode,
        "type": event_type,
        "data": data,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
    }


def session_object(attempt: CheckoutAttempt, **changes: Any) -> dict[str, Any]:
    """The completed, paid Checkout Session of an attempt."""
    return {
        "id": attempt.stripe_checkout_session_id,
        "object": "checkout.session",
        "mode": "subscription" if attempt.sold["kind"] == "subscription" else "payment",
        "status": "complete",
        "payment_status": "paid",
        "subscription": None,
        "payment_intent": "pi_1",
        "customer": "cus_1",
        "customer_details": {"email": "buyer@example.com"},
        "amount_total": 1200,
        "currency": "usd",
        "metadata": {"licenzy_attempt": attempt.id},
        "livemode": attempt.mode is Mode.LIVE,
        **changes,
    }


def subscription_object(attempt: CheckoutAttempt, **changes: Any) -> dict[str, Any]:
    """The active subscription that an attempt's session made, in the shape of API 2025-03-31 and later."""
    start = int(START.timestamp())
    item = {
        "id": "si_1",
        "price": {"id": attempt.sold["stripe_price_id"]},
        "quantity": attempt.quantity,
        "current_period_start": start,
        "current_period_end": start + 30 * 86_400,
    }
    return {
        "id": "sub_1",
        "object": "subscription",
        "status": "active",
        "customer": "cus_1",
        "items": {"object": "list", "data": [item]},
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "trial_end": None,
        "start_date": start,
        "pause_collection": None,
        "latest_invoice": "in_1",
        "metadata": {"licenzy_attempt": attempt.id},
        **changes,
    }


def invoice_object(subscription_id: str = "sub_1", **changes: Any) -> dict[str, Any]:
    """The paid first invoice of a subscription."""
    start = int(START.timestamp())
    return {
        "id": "in_1",
        "object": "invoice",
        "status": "paid",
        "billing_reason": "subscription_create",
        "amount_due": 1200,
        "amount_paid": 1200,
        "currency": "usd",
        "customer": "cus_1",
        "parent": {"subscription_details": {"subscription": subscription_id, "metadata": {}}},
        "lines": {"data": [period_line("si_1", "price_1", start, start + 30 * 86_400, newer=True)]},
        **changes,
    }


def signed(value: Any, secret: str, *, at: datetime = START) -> tuple[bytes, dict[str, str]]:
    """The body of a webhook and its headers, signed as Stripe does."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    stamp = int(at.timestamp())
    signature = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return body, {"Stripe-Signature": f"t={stamp},v1={signature}", "Content-Type": "application/json"}
