"""What calls to Stripe come to, in our words, and how it is read from the answers; all raise `Unreadable`."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from licenzy.stripe_gateway import answers, shapes
from licenzy.stripe_gateway.answers import Json
from licenzy.stripe_gateway.values import Unreadable


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """The account behind a key. All but `denied` are unknown when a restricted key may not read it."""

    id: str | None
    name: str | None
    country: str | None
    charges_enabled: bool | None
    denied: str | None = None
    """The permission that a restricted key lacks to read its own account."""


@dataclass(frozen=True, slots=True)
class PriceFacts:
    """A Stripe price with the product it belongs to."""

    id: str
    livemode: bool
    active: bool
    product_id: str
    product_name: str
    product_active: bool
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None
    lookup_key: str | None
    nickname: str | None
    metered: bool

    @property
    def recurring(self) -> bool:
        return self.interval is not None


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A Checkout Session just created."""

    id: str
    url: str
    expires_at: datetime
    amount_total: int | None
    """What it asks for as it was opened, in the smallest unit of its currency."""
    amount_subtotal: int | None = None
    """The same before discounts and taxes; none where that is not told."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """A webhook endpoint at Stripe; its secret is told only by the call that creates it."""

    id: str
    url: str
    status: str
    api_version: str | None
    enabled_events: tuple[str, ...]
    livemode: bool
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """What a payment paid for: the Checkout Session behind it, or the invoice, as Stripe has them."""

    refs: set[str]
    """The payment's ids: its payment intent and charge."""
    session: Json | None = None
    invoice: Json | None = None
    invoice_payment: Json | None = None
    at: datetime | None = None
    """When the invoice was read, by Stripe's clock."""


def account_facts(account: Json) -> AccountFacts:
    """What an account says of itself."""
    profile = answers.part(account, "business_profile")
    dashboard = answers.part(answers.part(account, "settings"), "dashboard")
    named = answers.optional_text(dashboard, "display_name") or answers.optional_text(profile, "name")
    return AccountFacts(
        id=answers.name(account, "id"),
        name=named or answers.optional_text(account, "email"),
        country=answers.optional_text(account, "country"),
        charges_enabled=answers.optional_flag(account, "charges_enabled"),
    )


def session_facts(session: Json) -> SessionFacts:
    """A session that a buyer can be sent to."""
    return SessionFacts(
        answers.name(session, "id"),
        answers.text(session, "url"),
        answers.instant(session, "expires_at"),
        answers.optional_whole(session, "amount_total"),
        answers.optional_whole(session, "amount_subtotal"),
    )


def readable_prices(listed: list[Json]) -> list[PriceFacts]:
    """The prices of a list: one that cannot be read is left out. Raises Unreadable where none can be."""
    found: list[PriceFacts] = []
    problem: Unreadable | None = None
    for each in listed:
        try:
            found.append(price_facts(each))
        except Unreadable as unreadable:
            problem = unreadable
    if problem is not None and not found:
        raise problem
    return found


def price_facts(price: Json) -> PriceFacts:
    """A price whose product may be expanded."""
    given = price.get("product")
    product = {"id": given, "active": True} if isinstance(given, str) else answers.part(price, "product")
    product_id = answers.identity(product, "id")
    recurring = answers.part(price, "recurring")
    alive = answers.optional_flag(product, "active")
    return PriceFacts(
        id=answers.identity(price, "id"),
        livemode=answers.flag(price, "livemode"),
        active=answers.flag(price, "active"),
        product_id=product_id,
        product_name=answers.optional_text(product, "name") or product_id,
        product_active=alive if alive is not None else not answers.flag(product, "deleted"),
        unit_amount=answers.optional_whole(price, "unit_amount"),
        currency=answers.optional_text(price, "currency") or "",
        interval=answers.optional_text(recurring, "interval"),
        interval_count=answers.optional_whole(recurring, "interval_count"),
        lookup_key=answers.optional_text(price, "lookup_key"),
        nickname=answers.optional_text(price, "nickname"),
        metered=recurring.get("usage_type") == "metered",
    )


def endpoint_facts(endpoint: Json) -> EndpointFacts:
    """A webhook endpoint, with its secret where that is told."""
    events = endpoint.get("enabled_events") or []
    if not isinstance(events, list) or not all(map(shapes.is_name, events)):
        raise Unreadable("the events of an endpoint are not a list of names")
    return EndpointFacts(
        id=answers.name(endpoint, "id"),
        url=answers.text(endpoint, "url"),
        status=answers.optional_name(endpoint, "status") or "enabled",
        api_version=answers.optional_name(endpoint, "api_version"),
        enabled_events=tuple(events),
        livemode=answers.flag(endpoint, "livemode"),
        secret=answers.optional_name(endpoint, "secret"),
    )
