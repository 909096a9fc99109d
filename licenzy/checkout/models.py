"""Checkout attempts: each call to sell something, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_project, of_same_side

_PAID = text("paid_at IS NOT NULL")


class AttemptStatus(StrEnum):
    """`created` before Stripe was asked, `open` with a payable session, then how it ended."""

    CREATED = "created"
    OPEN = "open"
    PROCESSING = "processing"
    PAID = "paid"
    FAILED = "failed"


class CheckoutAttempt(Table, table=True):
    """One call of `POST /v1/checkout/session`, written before Stripe is asked."""

    __tablename__ = "checkout_attempts"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        of_same_project("product_id", "products"),
        Index("ix_checkout_attempts_project_id_mode_created_at", "project_id", "mode", "created_at"),
        Index(
            "ix_checkout_attempts_paid_at",
            "project_id",
            "mode",
            "paid_at",
            sqlite_where=_PAID,
            postgresql_where=_PAID,
        ),
        Index(
            "uq_checkout_attempts_stripe_checkout_session_id",
            "project_id",
            "mode",
            "stripe_checkout_session_id",
            unique=True,
        ),
        Index("ix_checkout_attempts_subject_id", "project_id", "mode", "subject_id"),
        Index(
            "ix_checkout_attempts_stripe_subscription_id",
            "project_id",
            "mode",
            "stripe_subscription_id",
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    connection_id: str = Field(foreign_key="connections.id")
    subject_id: str
    product_id: str
    """Of the first product, where it sells several; so are `product_code`, `sold` and `quantity`."""
    product_code: str
    sold: dict[str, Any] = Field(sa_type=JSON)
    """The product as sold: kind, price, units, duration, features, grace, and the version of these terms."""
    price_label: str | None = None
    """The label of the price at that time; none for attempts made before prices had labels."""
    quantity: int
    items_sold: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """Product, price label, quantity and terms of each item of a call with items; none of other calls."""
    trial_days: int | None = None
    """The trial that it offers; 0 where the customer had it, none where the product has no trial."""
    stripe_params: dict[str, Any] = Field(sa_type=JSON)
    """Exactly what Stripe is asked for, so that a repeat asks the same."""
    stripe_try: int = 0
    """The n of Stripe's idempotency key `<attempt>:<n>`: rises only after Stripe answered an error."""

    status: AttemptStatus = Field(default=AttemptStatus.CREATED, sa_type=Word(AttemptStatus))
    reason: str | None = None
    stripe_checkout_session_id: str | None = None
    checkout_url: str | None = None
    stripe_subscription_id: str | None = None
    stripe_payment_intent_id: str | None = None
    amount_total: int | None = Field(default=None, sa_type=BigInteger)
    currency: str | None = None
    expires_at: datetime | None = Field(default=None, sa_type=Instant)
    paid_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)

    @property
    def bought(self) -> list[tuple[str, int]]:
        """The code and quantity of each product that it sells."""
        if self.items_sold is None:
            return [(self.product_code, self.quantity)]
        return [(each["product_code"], each["quantity"]) for each in self.items_sold]

    @property
    def product_codes(self) -> str:
        """What it sells, for people: `PRO`, or `PRO, SEATS`."""
        return ", ".join(code for code, _quantity in self.bought)
