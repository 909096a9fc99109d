"""What projection reads and what it makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import FactSource, State
from licenzy.projects.models import DEFAULT_UNIT

SETTLED = frozenset({"paid", "no_payment_required"})
"""The payment statuses of a Checkout Session whose money has come, or was never due."""


class FactLike(Protocol):
    """What the projection reads of a fact."""

    @property
    def kind(self) -> str: ...
    @property
    def source(self) -> FactSource: ...
    @property
    def source_id(self) -> str: ...
    @property
    def object_id(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def recorded_at(self) -> datetime: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


class RecordedFact(NamedTuple):
    """A fact as it was recorded, without what only the database needs to know."""

    kind: str
    source: FactSource
    source_id: str
    object_id: str
    occurred_at: datetime
    data: Mapping[str, Any]
    recorded_at: datetime


def payment_refs(data: Mapping[str, object]) -> set[str]:
    """The payment intent, charge and invoice that a fact's data names."""
    named = {data.get(name) for name in ("payment_intent", "charge", "invoice")}
    return {ref for ref in named if isinstance(ref, str)}


def is_paid_invoice(fact: FactLike) -> bool:
    """Whether the fact of an invoice tells that it is paid."""
    paid = {"invoice.paid", "invoice.payment_succeeded"}
    return fact.data["event"] in paid or fact.data["status"] == "paid"


@dataclass(frozen=True, slots=True)
class Projected:
    """One entitlement as the facts have it; the columns of the row of the same names."""

    item_key: str
    product_code: str
    kind: Kind
    features: list[str]
    quantity: int
    state: State
    starts_at: datetime
    granted_at: datetime
    limits: dict[str, int | None] = field(default_factory=dict)
    adds: bool = False
    source: str = "stripe"
    reason: str | None = None
    valid_until: datetime | None = None
    ends_at: datetime | None = None
    ends_as: str | None = None
    paid_at: datetime | None = None
    duration_seconds: int | None = None
    unit: str = DEFAULT_UNIT
    granted_units: int = 0
    voided_at: datetime | None = None
    cancel_at: datetime | None = None
    canceled_at: datetime | None = None
    stripe_subscription_id: str | None = None
    stripe_checkout_session_id: str | None = None
    stripe_price_id: str | None = None
    terms_version: int | None = None
    included: list[dict[str, Any]] | None = None
    """`windows.UnitWindows` of each unit that the product includes; none where it includes none."""
    continues: tuple[str, ...] = ()
    """The items whose place it took, and whose windows are its own since."""
