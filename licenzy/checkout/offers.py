"""What a checkout sells: the product and the price it names, or the refusal that is known without Stripe."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import Session

from licenzy.alignment.facts import ConnectionFacts, FetchFacts, ProjectFacts, SideFacts
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.catalog.product_facts import facts_of_product
from licenzy.catalog.queries import product_by_code
from licenzy.checkout.rules import PricedProduct
from licenzy.connections.models import Connection
from licenzy.connections.rules import facts_of as connection_facts_of
from licenzy.connections.rules import fetches_events
from licenzy.errors import (
    LicenzyError,
    PriceInactive,
    PriceKindMismatch,
    PriceLabelNeeded,
    PriceLabelNotFound,
    PriceModeMismatch,
    ProductArchived,
    ProductModeMismatch,
    ProductNotForSale,
    ProductNotFound,
    StripeNotConnected,
    WebhookSecretMissing,
)
from licenzy.projects.scope import Scope


def sellable(
    db: Session, scope: Scope, *, code: str, label: str | None, connection: Connection | None, base_url: str
) -> PricedProduct:
    """The product and the price, after everything that can be refused without asking Stripe."""
    page = f"{base_url}/projects/{scope.project_id}/{scope.mode}"
    product = product_by_code(db, scope, product_code=code)
    if product is None:
        raise _unknown_product(db, scope, code, page)
    if product.archived_at is not None:
        raise ProductArchived(hint=f"Restore it at {page}/products, or send another product code.")
    if product.kind is Kind.FREE:
        raise ProductNotForSale
    price = _named_price(product, label, f"{page}/products/{product.id}")
    _refuse_misaligned(scope, connection, PricedProduct(product, price), base_url)
    return PricedProduct(product, price)


def _named_price(product: Product, label: str | None, page: str) -> ProductPrice:
    """The price with this label; without one the main price. Prices that were retired are not sold at."""
    selling = {price.label: price for price in product.selling_prices}
    price = product.main_price if label is None else selling.get(label)
    if price is not None:
        return price
    labels = {"price_labels": sorted(selling)}
    if not selling:
        raise PriceLabelNotFound(
            f"{product.product_code} has no price that is sold at.",
            hint=f"Add a price to it at {page}.",
            extra=labels,
        )
    if label is None:
        raise PriceLabelNeeded(extra=labels)
    raise PriceLabelNotFound(
        hint=f"Send one of the labels in `price_labels`, or add a price with this label at {page}.",
        extra=labels,
    )


def _refuse_misaligned(
    scope: Scope, connection: Connection | None, priced: PricedProduct, base_url: str
) -> None:
    """Refuse what alignment's rules say cannot be sold, with their fix and the page for it as the hint."""
    product = facts_of_product(priced.product)
    prices = (price for price in product.prices if price.stripe_price_id == priced.price.stripe_price_id)
    side = SideFacts(
        scope.mode,
        connection=_facts_of(connection, base_url) if connection else None,
        products=(replace(product, prices=tuple(prices)),),
    )
    sides = {scope.mode: side, scope.mode.other: SideFacts(scope.mode.other)}
    facts = ProjectFacts(priced.product.updated_at, sides[Mode.TEST], sides[Mode.LIVE])
    found = {finding.code: finding for finding in findings(facts, scope.mode)}
    for code, refusal in _REFUSED.items():
        if code in found:
            finding = found[code]
            page = f"{base_url}{finding.path(scope.project_id)}"
            raise refusal(finding.cause, hint=f"{finding.fix} See {page}.")


def _facts_of(connection: Connection, base_url: str) -> ConnectionFacts:
    is_fetching = fetches_events(connection.provider, connection.mode, base_url)
    return connection_facts_of(connection, has_trials=False, fetch=FetchFacts() if is_fetching else None)


_REFUSED: dict[str, type[LicenzyError]] = {
    "connection_missing": StripeNotConnected,
    "webhook_secret_missing": WebhookSecretMissing,
    "price_mode_mismatch": PriceModeMismatch,
    "price_inactive": PriceInactive,
    "price_kind_mismatch": PriceKindMismatch,
}
"""Findings that stored facts alone decide, and that no money may move under; the gravest first."""


def _unknown_product(db: Session, scope: Scope, code: str, page: str) -> LicenzyError:
    other = scope.mode.other
    if product_by_code(db, scope.other, product_code=code) is None:
        return ProductNotFound(hint=f"Compare the code with {page}/products, including upper and lower case.")
    return ProductModeMismatch(
        f"This product exists only in {other} mode, and the API key is a {scope.mode} mode key.",
        hint=f"Send an lz_{other}_ key, or create the product in {scope.mode} mode at {page}/products.",
        sent=code,
    )
