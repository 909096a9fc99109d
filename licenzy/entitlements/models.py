"""Facts, purchases and the entitlements projected from them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, BigInteger, CheckConstraint, Index, UniqueConstraint, false, text
from sqlmodel import Field

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import Table, of_same_project, of_same_side
from licenzy.projects.models import DEFAULT_UNIT

_OPEN_WINDOW = text("spent_at_end IS NULL")
_RUNNING = text("ended_at IS NULL")
OVERRIDE = "override"
"""The source of an entitlement that is a feature or a limit set for one subject; it gives no access."""
DEFAULT = "default"
"""The source of the row that a subject's windows of the default product's units belong to."""
NO_ENTITLEMENT = (OVERRIDE, DEFAULT)
"""The sources of rows that are no entitlements: no list shows them, and they give no access."""


class FactSource(StrEnum):
    """Where a fact comes from: an event of Stripe's, a later reading of the object, an operator."""

    EVENT = "event"
    SNAPSHOT = "snapshot"
    OPERATOR = "operator"


class State(StrEnum):
    """The projected state of an entitlement. Time and use turn it into the status a caller sees."""

    ACTIVE = "active"
    TRIALING = "trialing"
    PAST_DUE = "past_due"
    PAUSED = "paused"
    SUSPENDED = "suspended"
    CANCELED = "canceled"


class Purchase(Table, table=True):
    """What a set of facts is about: one subscription (`sub_…`), one paid session (`cs_…`), one manual grant.

    Its row is the lock under which the facts are read and projected, and the place where the subject
    is written once it is known, whichever fact brings it.
    """

    __tablename__ = "purchases"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        Index("ix_purchases_project_id_mode_subject_id", "project_id", "mode", "subject_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    key: str = Field(primary_key=True)
    subject_id: str | None = None
    attempt_id: str | None = None
    """The attempt that made it. While it is nobody's: one that it names in metadata and that did not."""
    finalized_at: datetime | None = Field(default=None, sa_type=Instant)
    """When what was bought was first available; `purchase.finalized` is told then, once."""
    trialed_at: datetime | None = Field(default=None, sa_type=Instant)
    """When its subscription was first in a trial; none where it never was."""
    trialed_products: list[str] | None = Field(default=None, sa_type=JSON)
    """The codes of the products that the trial was of."""
    created_at: datetime = Field(sa_type=Instant)


class PaymentLink(Table, table=True):
    """Which purchase a payment intent, charge or invoice of Stripe's belongs to.

    Since API 2025-03-31 neither charge nor invoice names the other, so refunds and disputes find their
    purchase here.
    """

    __tablename__ = "payment_links"
    __table_args__ = (
        Index("ix_payment_links_project_id_mode_purchase_key", "project_id", "mode", "purchase_key"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    ref: str = Field(primary_key=True)
    purchase_key: str
    """Empty while facts wait for a purchase that is not known yet."""


class Fact(Table, table=True):
    """Something that happened, in our words. Unique by source, never edited."""

    __tablename__ = "facts"
    __table_args__ = (
        UniqueConstraint("project_id", "mode", "source_id", "kind"),
        Index("ix_facts_project_id_mode_purchase_key", "project_id", "mode", "purchase_key"),
        Index("ix_facts_project_id_mode_waiting_for", "project_id", "mode", "waiting_for"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    source: FactSource = Field(sa_type=Word(FactSource))
    source_id: str
    """Stripe's event id, a snapshot's number, or an operator action's id."""
    kind: str
    """`session`, `subscription`, `invoice`, …: which shape `data` has."""
    purchase_key: str | None = None
    """The purchase it concerns; none while that is not known yet."""
    waiting_for: str | None = None
    """While the purchase is not known: the payment or invoice that will tell it."""
    object_id: str
    """The Stripe object it describes."""
    occurred_at: datetime = Field(sa_type=Instant)
    recorded_at: datetime = Field(sa_type=Instant)
    data: dict[str, Any] = Field(sa_type=JSON)


class Entitlement(Table, table=True):
    """A commercial right of a subject: the projection of the facts of its purchase.

    Consumption alone writes `used_units` and `reserved_units`; projection writes the rest.
    """

    __tablename__ = "entitlements"
    __table_args__ = (
        of_same_side("subject_id", "subjects"),
        UniqueConstraint("project_id", "mode", "purchase_key", "item_key"),
        Index("ix_entitlements_project_id_mode_subject_id", "project_id", "mode", "subject_id"),
        # What a batch of calls on Postgres locks: the packs of subjects of any project.
        Index("ix_entitlements_subject_id", "subject_id"),
        Index("ix_entitlements_project_id_mode_created_at", "project_id", "mode", "created_at"),
        Index("ix_entitlements_product_code", "project_id", "mode", "product_code", "id"),
        CheckConstraint("granted_units >= used_units + reserved_units", name="remaining_not_negative"),
        CheckConstraint("used_units >= 0 AND reserved_units >= 0", name="counters_not_negative"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    subject_id: str
    purchase_key: str
    item_key: str = ""
    """The subscription item, where one purchase holds several."""

    product_code: str
    kind: Kind = Field(sa_type=Word(Kind))
    features: list[str] = Field(default=[], sa_type=JSON)
    limits: dict[str, int | None] = Field(
        default={}, sa_type=JSON, sa_column_kwargs={"server_default": text("'{}'")}
    )
    """As its product had them when it was sold, by code; none is unlimited."""
    adds: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    """Whether its limits, times the quantity, come on top of those of other entitlements."""
    quantity: int = 1
    source: str
    """`stripe`, `portal`, `override` for a feature or limit that an operator set (see `overrides`), or
    `default` for what the default product includes (see `usage.default_units`)."""

    state: State = Field(sa_type=Word(State))
    reason: str | None = None
    """Why it is not available, where the state alone does not say: `refunded`, `disputed`, …"""
    starts_at: datetime = Field(sa_type=Instant)
    valid_until: datetime | None = Field(default=None, sa_type=Instant)
    """The date people are shown."""
    ends_at: datetime | None = Field(default=None, sa_type=Instant)
    """When access really ends: `valid_until` plus slack for late webhooks, or grace; none is never."""
    ends_as: str | None = None
    """The reason once `ends_at` has passed: `expired`, `canceled`, `past_due` or `renewal_unconfirmed`."""

    paid_at: datetime | None = Field(default=None, sa_type=Instant)
    duration_seconds: int | None = Field(default=None, sa_type=BigInteger)
    """What a time pass adds: passes of one product follow each other in order of payment."""

    unit: str = Field(default=DEFAULT_UNIT, max_length=32, sa_column_kwargs={"server_default": DEFAULT_UNIT})
    """What a usage pack consists of; without meaning for other kinds."""
    granted_units: int = Field(default=0, sa_type=BigInteger)
    used_units: int = Field(default=0, sa_type=BigInteger)
    reserved_units: int = Field(default=0, sa_type=BigInteger)
    included: list[dict[str, Any]] | None = Field(default=None, sa_type=JSON(none_as_null=True))
    """`windows.UnitWindows` of each unit that a subscription includes; none where it includes none."""
    windows_due_at: datetime | None = Field(default=None, sa_type=Instant)
    """From when on a call that draws included units opens a window first; none when none is paid for."""
    voided_at: datetime | None = Field(default=None, sa_type=Instant)
    """Set while a pack's remaining units are withdrawn (refund, cancellation)."""

    cancel_at: datetime | None = Field(default=None, sa_type=Instant)
    canceled_at: datetime | None = Field(default=None, sa_type=Instant)
    stripe_subscription_id: str | None = None
    stripe_checkout_session_id: str | None = None
    stripe_price_id: str | None = None
    """The price that was bought, or that the subscription's item holds; none where that is not known."""
    terms_version: int | None = None
    """The version of the product's terms that it is on; none where that is not known."""
    attempt_id: str | None = None
    created_at: datetime = Field(sa_type=Instant)
    updated_at: datetime = Field(sa_type=Instant)

    # Its own units are a pack's. Those that it includes are in windows (`usage.grants`).
    @property
    def window_starts_at(self) -> None:
        """None: a pack is no window."""
        return None

    @property
    def window_ends_at(self) -> None:
        """None: a pack is no window."""
        return None


class UsageWindow(Table, table=True):
    """Units that a subscription includes in one window, once a call has used of them.

    The first call that draws one writes the row, so that what nobody uses takes no room. Consumption writes
    the counters, and projection the size and the end, by the windows that stand with the entitlement.
    """

    __tablename__ = "usage_windows"
    __table_args__ = (
        of_same_side("entitlement_id", "entitlements"),
        Index(
            "ix_usage_windows_open",
            "project_id",
            "mode",
            "holder_id",
            sqlite_where=_OPEN_WINDOW,
            postgresql_where=_OPEN_WINDOW,
        ),
        # What a batch of calls on Postgres locks: the windows of subjects of any project.
        Index(
            "ix_usage_windows_open_of_subject",
            "subject_id",
            sqlite_where=_OPEN_WINDOW,
            postgresql_where=_OPEN_WINDOW,
        ),
        CheckConstraint(
            "granted_units + carried_units >= used_units + reserved_units + overdrawn_units",
            name="remaining_not_negative",
        ),
        CheckConstraint(
            "used_units >= 0 AND reserved_units >= 0 AND carried_units >= 0 AND overdrawn_units >= 0",
            name="counters_not_negative",
        ),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    entitlement_id: str = Field(primary_key=True)
    """The entitlement that it was opened for."""
    unit: str = Field(primary_key=True, max_length=32)
    starts_at: datetime = Field(sa_type=Instant, primary_key=True)
    ends_at: datetime = Field(sa_type=Instant)
    """When the next one is due; until that is paid for, this one stays open."""
    subject_id: str
    holder_id: str
    """The entitlement whose right it is: another one once its item has taken the place of the first."""
    granted_units: int = Field(sa_type=BigInteger)
    """Its size by the facts, and never less than what has been taken of it."""
    carried_units: int = Field(default=0, sa_type=BigInteger)
    """Unused units of the window before, which end with this one and are drawn first."""
    used_units: int = Field(default=0, sa_type=BigInteger)
    reserved_units: int = Field(default=0, sa_type=BigInteger)
    overdrawn_units: int = Field(default=0, sa_type=BigInteger)
    """What was taken of the window before beyond what its time was paid for."""
    opened_at: datetime = Field(sa_type=Instant)
    spent_at_end: int | None = Field(default=None, sa_type=BigInteger)
    """What had been taken of its own units when the next window was opened; none while it is open."""


class TermChange(Table, table=True):
    """One version of a product's terms given to all holders. The worker writes a fact for each purchase.

    The row is the worker's place among the entitlements of the product, and its progress.
    """

    __tablename__ = "term_changes"
    __table_args__ = (
        of_same_project("product_id", "products"),
        # One at a time for each product: what two of them gave would depend on who comes last.
        Index(
            "uq_term_changes_running",
            "project_id",
            "product_id",
            unique=True,
            sqlite_where=_RUNNING,
            postgresql_where=_RUNNING,
        ),
        Index("ix_term_changes_product_id", "project_id", "mode", "product_id"),
    )

    project_id: str = Field(foreign_key="projects.id", primary_key=True)
    mode: Mode = Field(sa_type=Word(Mode), primary_key=True)
    id: str = Field(primary_key=True)
    product_id: str
    version: int
    run: int = 1
    """Which time it is that holders are given this version, counted from 1."""
    requested_by: str | None = None
    """The user who asked for it; none from the command line."""
    requested_at: datetime = Field(sa_type=Instant)
    last_id: str = ""
    """The last entitlement of the product that was checked; the next batch begins after it."""
    total: int | None = None
    """How many entitlements of the product there were when it began; none before."""
    checked: int = 0
    changed: int = 0
    """How many entitlements were given the version."""
    failed: int = 0
    """How many purchases could not be projected; their next event tries again."""
    stopped_at: datetime | None = Field(default=None, sa_type=Instant)
    """When somebody stopped it."""
    ended_at: datetime | None = Field(default=None, sa_type=Instant, index=True)
    """When it was done, or stopped."""

    @property
    def state(self) -> str:
        """`running`, `stopped` or `done`."""
        if self.ended_at is None:
            return "running"
        return "done" if self.stopped_at is None else "stopped"
