"""The catalog: product codes mapped to Stripe prices."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import JSON, BigInteger, Index, UniqueConstraint
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table


class Kind(StrEnum):
    """What a product grants: a subscription, a stretch of time, or units to use up."""

    SUBSCRIPTION = "subscription"
    TIME_PASS = "time_pass"
    USAGE_PACK = "usage_pack"


class Product(Table, table=True):
    """A `product_code` of one project and mode, mapped to one Stripe price."""

    __tablename__ = "products"
    __table_args__ = (
        UniqueConstraint("project_id", "mode", "product_code"),
        Index("ix_products_project_id_mode_stripe_price_id", "project_id", "mode", "stripe_price_id"),
    )

    id: str = Field(primary_key=True)
    project_id: str = Field(foreign_key="projects.id")
    mode: Mode = Field(sa_type=Word(Mode))
    product_code: str = Field(max_length=64)
    kind: Kind = Field(sa_type=Word(Kind))

    units: int | None = None
    """Units that one usage pack grants."""
    usage_low_units: int | None = None
    """`usage.low` is told when a subject's units of this product fall to this many; none tells nothing."""
    duration_seconds: int | None = Field(default=None, sa_type=BigInteger)
    """How long one time pass lasts, or a usage pack keeps; a pack without it never expires."""
    features: list[str] = Field(default=[], sa_type=JSON)
    """Feature codes that holders of the product have."""
    grace_days: int = 0
    """Days of access after a subscription's first failed payment."""
    trial_days: int | None = None
    allow_promotion_codes: bool = False
    automatic_tax: bool = False
    adjustable_quantity: bool = False

    stripe_price_id: str
    stripe_product_id: str
    stripe_product_name: str
    unit_amount: int | None = Field(default=None, sa_type=BigInteger)
    """In the currency's smallest unit; none for tiered or custom prices."""
    currency: str
    interval: str | None = None
    """`day`, `week`, `month` or `year`; none for one-time prices."""
    interval_count: int | None = None
    lookup_key: str | None = None
    price_livemode: bool
    price_active: bool
    product_active: bool
    checked_at: datetime = Field(sa_type=Instant)
    """When the price was last read from Stripe."""

    archived_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)
