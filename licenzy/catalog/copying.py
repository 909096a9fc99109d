"""Copies products from test mode to live mode.

The product's terms are copied, its price is not: a price belongs to one mode. The live price is the one with
the same lookup key, or one that a user picks, and is read from Stripe as for any other product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog import queries
from licenzy.catalog.actions import create_product
from licenzy.catalog.models import Product
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.db.unit_of_work import Database
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeGateway
from licenzy.workspace.audit import Actor


@dataclass(frozen=True, slots=True)
class CopyResult:
    """Which products were created in live mode, and which were not."""

    created: tuple[str, ...]
    """Product codes."""
    refused: Mapping[str, str]
    """Product code -> reason."""


def copy_to_live(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    project_id: str,
    price_ids: Mapping[str, str],
    actor: Actor,
    now: datetime,
) -> CopyResult:
    """Create products of test mode in live mode as well; `price_ids` is product code -> live price id.

    Each product is created in its own transaction. Call again for those refused. Raises StripeNotConnected,
    and Stripe's errors when it does not answer: products created before such an error stay, although there is
    no result that names them, and a second call refuses them as taken.
    """
    with database.read() as db:
        products = queries.products(db, Scope(project_id, Mode.TEST))
    products_by_code = {product.product_code: product for product in products}
    created, refused = [], {}
    for code, price_id in price_ids.items():
        if code not in products_by_code:
            refused[code] = "This product no longer exists in test mode."
            continue
        try:
            create_product(
                database,
                gateway,
                secret_box,
                Scope(project_id, Mode.LIVE),
                draft=draft_with_price(products_by_code[code], price_id),
                actor=actor,
                now=now,
            )
        except ProductRefused as problem:
            refused[code] = problem.message
        else:
            created.append(code)
    return CopyResult(tuple(created), refused)


def draft_with_price(product: Product, price_id: str) -> Draft:
    """The product's terms with another price."""
    # By the fields of a draft, so that one that is added later is copied too.
    terms = {field.name: getattr(product, field.name) for field in fields(Draft) if field.name != "price_id"}
    return Draft(**terms | {"price_id": price_id, "features": tuple(product.features)})


def price_with_same_lookup_key(product: Product, prices: Sequence[PriceFacts]) -> PriceFacts | None:
    """The one price with the same lookup key, where its shape fits the product; never guessed otherwise."""
    keyed = [price for price in prices_that_fit(product, prices) if price.lookup_key == product.lookup_key]
    return keyed[0] if product.lookup_key is not None and len(keyed) == 1 else None


def prices_that_fit(product: Product, prices: Sequence[PriceFacts]) -> list[PriceFacts]:
    """The prices that a product of this kind can be mapped to."""
    return [
        price
        for price in prices
        if shape_problem(product.kind, recurring=price.recurring, metered=price.metered) is None
    ]
