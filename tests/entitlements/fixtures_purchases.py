"""Signed Stripe events of one purchase, in either API version's shape, sent to the webhook endpoint."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.catalog.models import Kind, Product, ProductPrice, ProductTerms
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.actions import lock_purchase, project_purchase, record_fact
from licenzy.entitlements.decision import Standing, standing
from licenzy.entitlements.models import Entitlement, FactSource
from licenzy.projects.scope import Scope
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.subjects.models import Subject
from tests.support.cast import WEBHOOK_SECRET, make_product, make_subject
from tests.support.clock import START
from tests.support.invoice_lines import period_line
from tests.support.purchases import event, make_attempt, signed

DAY = timedelta(days=1)
MONTH = 30 * DAY
NEW, OLD = "2026-10-28.endive", "2020-03-02"
PRICE = 1200
_numbers = itertools.count(1)


@dataclass
class Storefront:
    """A connected project, and the way to send it events."""

    client: FlaskClient
    database: Database
    connection: Connection
    _recorded: list[dict[str, Any]] | None = None

    @contextmanager
    def record(self) -> Iterator[list[dict[str, Any]]]:
        """Within the block, events are put into the list that it gives, and not delivered."""
        self._recorded = []
        try:
            yield self._recorded
        finally:
            self._recorded = None

    def product(self, kind: Kind, **columns: Any) -> Product:
        with self.database.write() as db:
            code = columns.pop("product_code", f"P{next(_numbers)}")
            return make_product(
                db, project_id=self.connection.project_id, kind=kind, product_code=code, **columns
            )

    def code_of(self, price_id: str) -> str:
        """The product that a price is of."""
        with self.database.read() as db:
            of_price = ProductPrice.stripe_price_id == price_id
            price = db.exec(select(ProductPrice).where(of_price)).one()
            return db.get_one(Product, (price.project_id, price.product_id)).product_code

    def new_terms(self, product: Product, *, at: datetime, version: int = 2, grace_days: int = 0) -> None:
        """The next version of a product's terms, which features name."""
        features = [f"version_{version}"]
        terms = {"units": None, "duration_seconds": None, "features": features, "grace_days": grace_days}
        with self.database.write() as db:
            db.add(
                ProductTerms(
                    project_id=product.project_id,
                    product_id=product.id,
                    version=version,
                    from_=at,
                    terms=terms,
                )
            )

    def subject(self) -> Subject:
        with self.database.write() as db:
            return make_subject(
                db, project_id=self.connection.project_id, subject_ref=f"user_{next(_numbers)}"
            )

    def sell(
        self, product: Product, *, subject: Subject | None = None, quantity: int = 1, shape: str = NEW
    ) -> Sale:
        buyer = subject or self.subject()
        with self.database.write() as db:
            attempt = make_attempt(
                db, connection=self.connection, subject=buyer, product=product, quantity=quantity
            )
        return Sale(self, attempt, f"{next(_numbers)}", shape)

    def deliver(self, value: dict[str, Any]) -> StripeEvent:
        """Send a signed event; it must be acknowledged. Gives its row, unsaved while recording."""
        if self._recorded is not None:
            self._recorded.append(value)
            return StripeEvent.model_construct(event_id=value["id"], type=value["type"], payload="")
        body, headers = signed(value, WEBHOOK_SECRET)
        address = f"/v1/webhooks/stripe/{self.connection.id}"
        answer = self.client.post(address, data=body, headers=headers)
        assert answer.status_code == 200, answer.text
        with self.database.read() as db:
            return db.exec(
                select(StripeEvent).where(
                    StripeEvent.connection_id == self.connection.id, StripeEvent.event_id == value["id"]
                )
            ).one()


@dataclass
class Sale:
    """The objects that one checkout makes at Stripe, and the events that Stripe sends about them."""

    storefront: Storefront
    attempt: CheckoutAttempt
    tag: str
    shape: str
    sent: list[dict[str, Any]] = field(default_factory=list)
    terms: dict[str, Any] = field(default_factory=dict)
    """What the subscription is like from now on; changed by `subscription(…)`."""

    # --- ids ------------------------------------------------------------------------------------

    @property
    def sub(self) -> str:
        return f"sub_{self.tag}"

    def intent(self, period: int = 1) -> str:
        return f"pi_{self.tag}_{period}"

    def charge_id(self, period: int = 1) -> str:
        return f"ch_{self.tag}_{period}"

    def invoice_id(self, period: int = 1) -> str:
        return f"in_{self.tag}_{period}"

    # --- events ---------------------------------------------------------------------------------

    def send(
        self, kind: str, obj: dict[str, Any], at: datetime = START, previous: dict[str, Any] | None = None
    ) -> StripeEvent:
        value = event(kind, obj, at=at, previous=previous)
        value["api_version"] = self.shape
        self.sent.append(value)
        return self.storefront.deliver(value)

    def session(
        self, outcome: str = "completed", *, at: datetime = START, paid: str = "paid", **changes: Any
    ) -> StripeEvent:
        recurring = self.attempt.sold["kind"] == "subscription"
        obj = {
            "id": self.attempt.stripe_checkout_session_id,
            "object": "checkout.session",
            "mode": "subscription" if recurring else "payment",
            "status": "expired" if outcome == "expired" else "complete",
            "payment_status": paid,
            "subscription": self.sub if recurring else None,
            "payment_intent": None if recurring else self.intent(),
            "customer": f"cus_{self.tag}",
            "customer_details": {"email": "buyer@example.com"},
            "amount_total": PRICE * self.attempt.quantity,
            "currency": "usd",
            "metadata": {"licenzy_attempt": self.attempt.id},
            "livemode": False,
            **changes,
        }
        return self.send(f"checkout.session.{outcome}", obj, at)

    def subscription(
        self,
        status: str = "active",
        *,
        at: datetime = START,
        event_name: str = "updated",
        period: int = 1,
        previous: dict[str, Any] | None = None,
        **terms: Any,
    ) -> StripeEvent:
        """An event of the subscription; `terms` (cancel_at, items as {item: price}, …) stay until changed."""
        self.terms.update(terms)
        items = self.terms.get("items") or {"si": self.attempt.sold["stripe_price_id"]}
        bounds = {
            "current_period_start": unix(START + (period - 1) * MONTH),
            "current_period_end": unix(START + period * MONTH),
        }
        on_item, on_top = (bounds, {}) if self.shape == NEW else ({}, bounds)
        rows = [
            {
                "id": f"{name}_{self.tag}",
                "price": price if isinstance(price, dict) else {"id": price},
                "quantity": self.terms.get("quantity", self.attempt.quantity),
                **on_item,
            }
            for name, price in items.items()
        ]
        obj = {
            "id": self.sub,
            "object": "subscription",
            "status": status,
            "customer": f"cus_{self.tag}",
            "items": {"object": "list", "data": rows},
            "cancel_at": None,
            "cancel_at_period_end": False,
            "canceled_at": None,
            "ended_at": None,
            "trial_end": None,
            "start_date": unix(START),
            "pause_collection": None,
            "latest_invoice": self.invoice_id(period),
            "metadata": {"licenzy_attempt": self.attempt.id},
            **on_top,
            **{name: value for name, value in self.terms.items() if name not in {"items", "quantity"}},
        }
        return self.send(f"customer.subscription.{event_name}", obj, at, previous)

    def invoice(
        self, outcome: str = "paid", *, period: int = 1, at: datetime = START, **changes: Any
    ) -> StripeEvent:
        amount = PRICE * self.attempt.quantity
        obj: dict[str, Any] = {
            "id": self.invoice_id(period),
            "object": "invoice",
            "status": "open" if outcome == "payment_failed" else "paid",
            "billing_reason": "subscription_create" if period == 1 else "subscription_cycle",
            "amount_due": amount,
            "amount_paid": 0 if outcome == "payment_failed" else amount,
            "currency": "usd",
            "customer": f"cus_{self.tag}",
            "lines": {"object": "list", "has_more": False, "data": self._lines(period, amount)},
            **changes,
        }
        if self.shape == NEW:
            obj["parent"] = {"subscription_details": {"subscription": self.sub, "metadata": {}}}
        else:
            obj |= {
                "subscription": self.sub,
                "payment_intent": self.intent(period),
                "charge": self.charge_id(period),
            }
        kept = self.send(f"invoice.{outcome}", obj, at)
        if self.shape == NEW and outcome != "payment_failed":
            self.invoice_payment(period=period, at=at)
        return kept

    def _lines(self, period: int, amount: int) -> list[dict[str, Any]]:
        items = self.terms.get("items") or {"si": self.attempt.sold["stripe_price_id"]}
        span = (unix(START + (period - 1) * MONTH), unix(START + period * MONTH))
        return [
            period_line(f"{name}_{self.tag}", id_of(price), *span, amount=amount, newer=self.shape == NEW)
            for name, price in items.items()
        ]

    def invoice_payment(self, *, period: int = 1, at: datetime = START) -> StripeEvent:
        payment = {"type": "payment_intent", "payment_intent": self.intent(period)}
        obj = {
            "id": f"inpay_{self.tag}_{period}",
            "object": "invoice_payment",
            "invoice": self.invoice_id(period),
            "payment": payment,
            "status": "paid",
        }
        return self.send("invoice_payment.paid", obj, at)

    def refund(
        self,
        status: str = "succeeded",
        *,
        at: datetime = START,
        amount: int | None = None,
        number: int = 1,
        period: int = 1,
        event_name: str | None = None,
    ) -> StripeEvent:
        """A refund as its own object: `refund.…`, or `charge.refund.updated` in the old shape."""
        obj = {
            "id": f"re_{self.tag}_{period}_{number}",
            "object": "refund",
            "amount": PRICE * self.attempt.quantity if amount is None else amount,
            "charge": self.charge_id(period),
            "payment_intent": self.intent(period),
            "status": status,
            "created": unix(at),
        }
        newer = {"failed": "refund.failed"}.get(status, "refund.created")
        return self.send(event_name or (newer if self.shape == NEW else "charge.refund.updated"), obj, at)

    def refunded_charge(self, given: int, *, at: datetime = START, period: int = 1) -> StripeEvent:
        obj = {
            "id": self.charge_id(period),
            "object": "charge",
            "payment_intent": self.intent(period),
            "invoice": self.invoice_id(period) if self.shape == OLD else None,
            "amount": PRICE * self.attempt.quantity,
            "amount_refunded": given,
        }
        return self.send("charge.refunded", obj, at)

    def dispute(
        self, status: str, *, at: datetime = START, period: int = 1, event_name: str | None = None
    ) -> StripeEvent:
        obj = {
            "id": f"dp_{self.tag}_{period}",
            "object": "dispute",
            "amount": PRICE * self.attempt.quantity,
            "charge": self.charge_id(period),
            "payment_intent": self.intent(period),
            "status": status,
            "created": unix(at),
        }
        closed = status in {"won", "lost", "warning_closed"}
        return self.send(f"charge.dispute.{event_name or ('closed' if closed else 'created')}", obj, at)

    # --- what Licenzy stored --------------------------------------------------------------------

    def subscribed(self) -> Sale:
        """The first minute of a subscription, as Stripe tells of it."""
        self.subscription("incomplete", event_name="created")
        self.subscription("active", previous={"status": "incomplete"})
        self.invoice("paid")
        self.session()
        return self

    def renewed(self, period: int = 2) -> Sale:
        at = START + (period - 1) * MONTH
        self.subscription("active", period=period, at=at)
        self.invoice("paid", period=period, at=at + timedelta(hours=1))
        return self

    def entitlements(self) -> list[Entitlement]:
        """All that this sale gave, by item."""
        with self.storefront.database.read() as db:
            return list(
                db.exec(
                    select(Entitlement)
                    .where(Entitlement.attempt_id == self.attempt.id)
                    .order_by(col(Entitlement.item_key))
                )
            )

    def row(self) -> Entitlement:
        (only,) = self.entitlements()
        return only

    def standing_at(self, at: datetime) -> Standing:
        return standing(self.row(), at)

    def attempt_outcome(self) -> tuple[AttemptStatus, str | None]:
        """Status and reason of the attempt."""
        with self.storefront.database.read() as db:
            attempt = db.exec(select(CheckoutAttempt).where(CheckoutAttempt.id == self.attempt.id)).one()
        return attempt.status, attempt.reason

    def operator(self, action: str, *, at: datetime, item: str = "", **data: Any) -> None:
        """An operator's action, recorded as a fact and projected."""
        key = self.sub if self.attempt.sold["kind"] == "subscription" else self.row().purchase_key
        scope = Scope.of(self.attempt)
        with self.storefront.database.write() as db:
            purchase = lock_purchase(db, scope, key=key, now=at)
            record_fact(
                db,
                scope,
                source=FactSource.OPERATOR,
                source_id=f"op_{next(_numbers)}",
                kind="operator",
                object_id=key,
                purchase_key=key,
                occurred_at=at,
                data={"action": action, "item_key": item, **data},
                now=at,
            )
            project_purchase(db, purchase, now=at)


def id_of(price: Any) -> str:
    """A price may be given as its id, or as the object that Stripe sends."""
    return str(price["id"] if isinstance(price, dict) else price)


def unix(at: datetime) -> int:
    return int(at.timestamp())


GRANTED = ("active", True, None)
APPLIED, IGNORED = EventStatus.APPLIED, EventStatus.IGNORED
