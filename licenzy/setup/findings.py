"""Mismatches of modes and set-up that stored facts alone can tell. Pure.

Rules whose facts are unknown stay silent, and nothing is said of live before something live exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from licenzy.alignment.modes import Mode
from licenzy.catalog.rules import shape_problem
from licenzy.setup.facts import ConnectionFacts, ProductFacts, SetupFacts


class Severity(StrEnum):
    """Whether selling is impossible, at risk, or merely worth knowing about."""

    BLOCKS = "blocks"
    WARNS = "warns"
    NOTES = "notes"


@dataclass(frozen=True, slots=True)
class Finding:
    """One mismatch: what was seen and when, why it matters, and which page mends it."""

    code: str
    severity: Severity
    about: str
    cause: str
    fix: str
    page: str
    seen_at: datetime | None = None


def findings(facts: SetupFacts) -> list[Finding]:
    """What does not fit on this side, worst first."""
    if facts.mode is Mode.LIVE and not _exists(facts):
        return []
    found = [*_of_connection(facts.connection), *_of_catalog(facts), *_of_keys(facts)]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _exists(facts: SetupFacts) -> bool:
    return facts.connection is not None or bool(facts.products) or bool(facts.keys)


def _of_connection(connection: ConnectionFacts | None) -> Iterator[Finding]:
    page = "portal.connection"
    if connection is None or not connection.connected:
        yield Finding(
            "connection_missing",
            Severity.BLOCKS,
            "Stripe connection",
            "No Stripe key is saved for this mode, so nothing can be sold.",
            "Connect Stripe.",
            page,
        )
    elif connection.charges_enabled is False:
        yield Finding(
            "account_cannot_charge",
            Severity.WARNS,
            connection.account_id or "Stripe account",
            "The Stripe account cannot take charges yet.",
            "Finish the account’s activation at Stripe.",
            page,
            connection.key_saved_at,
        )
    if connection is None or not connection.connected:
        return
    if connection.secret_saved_at is None:
        yield Finding(
            "webhook_secret_missing",
            Severity.BLOCKS,
            "Webhook",
            "Without the webhook signing secret no payment can be noticed: buyers would pay and get nothing.",
            "Set the webhook up.",
            page,
            connection.key_saved_at,
        )
    elif not connection.proven:
        yield Finding(
            "webhook_never_proven",
            Severity.NOTES,
            "Webhook",
            "No event with a good signature has arrived since the signing secret was saved.",
            "Make a first purchase; it sends one.",
            page,
            connection.secret_saved_at,
        )


def _of_catalog(facts: SetupFacts) -> Iterator[Finding]:
    for product in facts.products:
        yield from _of_price(product, facts.mode)
    by_price: dict[str, list[str]] = {}
    for product in facts.products:
        by_price.setdefault(product.stripe_price_id, []).append(product.product_code)
    for price_id, codes in by_price.items():
        if len(codes) > 1:
            yield Finding(
                "price_mapped_twice",
                Severity.WARNS,
                price_id,
                f"{' and '.join(sorted(codes))} share one price: a subscription changed at Stripe to this "
                "price is taken for the older of them.",
                "Give each product a price of its own.",
                "portal.products",
            )


def _of_price(product: ProductFacts, mode: Mode) -> Iterator[Finding]:
    page = "portal.products"
    if product.price_livemode is not mode.livemode:
        yield Finding(
            "price_mode_mismatch",
            Severity.BLOCKS,
            product.product_code,
            f"Its price {product.stripe_price_id} belongs to {mode.other.value}.",
            f"Pick a price of {mode.value}.",
            page,
            product.checked_at,
        )
    if not product.sellable:
        yield Finding(
            "price_inactive",
            Severity.BLOCKS,
            product.product_code,
            f"Its price {product.stripe_price_id}, or the Stripe product behind it, is archived at Stripe.",
            "Activate it at Stripe and read the price again, or pick another price.",
            page,
            product.checked_at,
        )
    problem = shape_problem(product.kind, recurring=product.recurring, metered=False)
    if problem is not None:
        yield Finding(
            "price_kind_mismatch",
            Severity.BLOCKS,
            product.product_code,
            problem,
            "Pick another price.",
            page,
            product.checked_at,
        )


def _of_keys(facts: SetupFacts) -> Iterator[Finding]:
    if facts.products and not facts.keys:
        yield Finding(
            "api_key_missing",
            Severity.NOTES,
            "API keys",
            "Products are ready, but no API key exists in this mode for your backend to call with.",
            "Make an API key.",
            "portal.api_keys",
        )
