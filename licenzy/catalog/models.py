"""The catalog: product codes, the Stripe prices they are mapped to, and the terms they are sold on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, Index, UniqueConstraint, false, text
from sqlalchemy.orm import relationship
from sqlmodel import Field, Relationship

from licenzy.alignment.modes import Mode
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_project
from licenzy.projects.models import DEFAULT_UNIT

DEFAULT_LABEL = "default"
"""The label of a price that is given none."""

_SELLING = text("retired_at IS NULL")
_DEFAULT = text("is_default AND archived_at IS NULL")


class Kind(StrEnum):
    """What a product grants: a subscription, a stretch of time, units to use up, or what is free."""

    SUBSCRIPTION = "subscription"
    TIME_PASS = "time_pass"
    USAGE_PACK = "usage_pack"
    FREE = "free"


class TrialCard(StrEnum):
    """Whether a buyer enters a card to begin a trial; Stripe's words."""

    ALWAYS = "always"
    IF_REQUIRED = "if_required"


class TrialEnd(StrEnum):
    """What becomes of a subscription whose trial ends without a card; Stripe's words."""

    CANCEL = "cancel"
    PAUSE = "pause"


class ProductPrice(Table, table=True):
    """A Stripe price that means a product, for as long as somebody holds it, and as it was last read.

    Retiring a price stops selling at it. What was bought at it goes on meaning the product.
    """

    __tablename__ = "product_prices"
    __table_args__ = (
        of_same_project("product_id", "products"),
        UniqueConstraint("project_id", "product_id", "stripe_price_id"),
        Index(
            "uq_product_prices_selling_label",
            "project_id",
            "product_id",
            "label",
            unique=True,
            sqlite_where=_SELLING,
            postgresql_where=_SELLING,
        ),
        Index("ix_product_prices_stripe_price_id", "project_id", "mode", "stripe_price_id"),
        Index("ix_product_prices_stripe_product_id", "project_id", "mode", "stripe_product_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode))
    product_id: str
    stripe_price_id: str
    label: str = Field(max_length=32)
    """What a checkout names the price by; unique among the prices at which the product is sold."""
    added_at: datetime = Field(sa_type=Instant)
    retired_at: datetime | None = Field(default=None, sa_type=Instant)
    """Since when the product is no longer sold at this price."""

    stripe_product_id: str
    stripe_product_name: str
    unit_amount: int | None = Field(default=None, sa_type=BigInteger)
    """In the currency's smallest unit; none for tiered or custom prices."""
    currency: str
    interval: str | None = None
    """`day`, `week`, `month` or `year`; none for one-time prices."""
    interval_count: int | None = None
    lookup_key: str | None = None
    livemode: bool
    active: bool
    """Whether Stripe sells at it."""
    product_active: bool
    """Whether its Stripe product is active."""
    checked_at: datetime = Field(sa_type=Instant)
    """When the price was last read from Stripe."""

    @property
    def selling(self) -> bool:
        """Whether a checkout can name it, as far as the catalog decides."""
        return self.retired_at is None

    @property
    def sellable(self) -> bool:
        """Whether Stripe sold at it when it was last read."""
        return self.active and self.product_active


class Product(Table, table=True):
    """A `product_code` of one project and mode, with the Stripe prices that mean it."""

    __tablename__ = "products"
    __table_args__ = (
        UniqueConstraint("project_id", "mode", "product_code"),
        # Read together with the API key by every access check.
        Index(
            "uq_products_default",
            "project_id",
            "mode",
            unique=True,
            sqlite_where=_DEFAULT,
            postgresql_where=_DEFAULT,
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    id: str = Field(primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode))
    product_code: str = Field(max_length=64)
    kind: Kind = Field(sa_type=Word(Kind))

    terms_version: int = 1
    """The number of the present terms among `product_terms`."""
    unit: str = Field(default=DEFAULT_UNIT, max_length=32, sa_column_kwargs={"server_default": DEFAULT_UNIT})
    """What a usage pack consists of, such as `images`; fixed once somebody has one."""
    units: int | None = None
    """Units that one usage pack grants."""
    usage_low_units: int | None = None
    """`usage.low` is told when a subject's units of this product fall to this many; none tells nothing."""
    duration_seconds: int | None = Field(default=None, sa_type=BigInteger)
    """How long one time pass lasts, or a usage pack keeps; a pack without it never expires."""
    features: list[str] = Field(default=[], sa_type=JSON)
    """Feature codes that holders of the product have."""
    included: list[dict[str, Any]] = Field(
        default=[], sa_type=JSON, sa_column_kwargs={"server_default": "[]"}
    )
    """The units that it includes, a line for each unit: `catalog.included` reads and writes them."""
    limits: dict[str, int | None] = Field(
        default={}, sa_type=JSON, sa_column_kwargs={"server_default": text("'{}'")}
    )
    """How many of something holders may have, by its code; none is unlimited."""
    adds: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether its limits, times the quantity, come on top of those of other products."""
    is_default: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether subjects without a subscription, time pass or manual grant have it. One free product a side."""
    grants_access: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether the default product answers a check that asks for no feature and no limit."""
    grace_days: int = 0
    """Days of access after a subscription's first failed payment."""
    trial_days: int | None = None
    trial_card: TrialCard = Field(
        default=TrialCard.ALWAYS,
        sa_type=Word(TrialCard),
        sa_column_kwargs={"server_default": TrialCard.ALWAYS.value},
    )
    trial_end_without_card: TrialEnd = Field(
        default=TrialEnd.CANCEL,
        sa_type=Word(TrialEnd),
        sa_column_kwargs={"server_default": TrialEnd.CANCEL.value},
    )
    trial_once: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether a customer who had a trial of the group gets no other one."""
    trial_group: str = Field(default="", max_length=32, sa_column_kwargs={"server_default": ""})
    """The products of one name share one trial; empty is a group of the product's own."""
    allow_promotion_codes: bool = False
    automatic_tax: bool = False
    adjustable_quantity: bool = False

    archived_at: datetime | None = Field(default=None, sa_type=Instant)
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)

    prices: list[ProductPrice] = Relationship(
        sa_relationship=relationship(
            ProductPrice, order_by="(ProductPrice.added_at, ProductPrice.id)", lazy="selectin"
        )
    )
    """All of its prices, retired ones included, oldest first; read together with the product."""

    @property
    def selling_prices(self) -> list[ProductPrice]:
        """The prices at which it is sold, oldest first."""
        return [price for price in self.prices if price.selling]

    @property
    def main_price(self) -> ProductPrice | None:
        """The price of a checkout that names none: the one labelled `default`, else the only one."""
        selling = self.selling_prices
        for price in selling:
            if price.label == DEFAULT_LABEL:
                return price
        return selling[0] if len(selling) == 1 else None

    @property
    def stripe_name(self) -> str:
        """Its name at Stripe: of the main price's product, else of the newest price's."""
        price = self.main_price or (self.prices[-1] if self.prices else None)
        return price.stripe_product_name if price is not None else ""


class ProductTerms(Table, table=True):
    """What a purchase of a product gave from one instant on. Written by every edit, never changed."""

    __tablename__ = "product_terms"
    __table_args__ = (of_same_project("product_id", "products"),)

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    product_id: str = Field(primary_key=True)
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Counted from 1 for each product."""
    from_: datetime = Field(sa_type=Instant)
    """From when on a purchase was made on these terms; the first ones also mean what was before."""
    terms: dict[str, Any] = Field(sa_type=JSON)
    """Unit and units, duration in seconds, features, limits, days of grace, and the included units."""


class PriceBackfill(Table, table=True):
    """The search for subscriptions that hold a newly mapped price, so that each is read from Stripe again."""

    __tablename__ = "price_backfills"
    __table_args__ = (of_same_project("product_id", "products"),)

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    price_id: str = Field(primary_key=True)
    """Of our price, `ppr_…`."""
    mode: Mode = Field(sa_type=Word(Mode))
    product_id: str
    stripe_price_id: str
    last_key: str = ""
    """The last subscription that was searched; the next batch begins behind it."""
    searched: int = 0
    total: int | None = None
    """How many subscriptions there were when it began; none before."""
    found: int = 0
    """How many of those searched hold the price, or held it once."""
    requested_at: datetime = Field(sa_type=Instant)
    finished_at: datetime | None = Field(default=None, sa_type=Instant, index=True)
