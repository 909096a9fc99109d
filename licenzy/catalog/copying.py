"""Copies products from test mode to live mode.

The product's terms and the labels of its prices are copied, its prices are not: a price belongs to one mode.
The live price is the one with the same lookup key, or one that a user picks, and is read from Stripe as for
any other product. A free product has none and is copied as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog import queries
from licenzy.catalog.actions import create_product
from licenzy.catalog.included import lines_of
from licenzy.catalog.models import DEFAULT_LABEL, Kind, Product, ProductPrice
from licenzy.catalog.prices import add_price
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
    refused: Mapping[tuple[str, str], str]
    """Product code and label of the price -> reason."""


def copy_to_live(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    project_id: str,
    price_ids: Mapping[str, Mapping[str, str]],
    free: Sequence[str] = (),
    actor: Actor,
    now: datetime,
) -> CopyResult:
    """Create products of test mode in live mode too; `price_ids` is product code -> label -> live price id.

    `free` are the codes of those that have no price. Each price is mapped in its own transaction. Call again
    for those refused. Raises StripeNotConnected, and Stripe's errors when it does not answer: products that
    were created before such an error stay, although there is no result that names them, and a second call
    refuses them as taken.
    """
    live = Scope(project_id, Mode.LIVE)
    with database.read() as db:
        products = queries.products(db, Scope(project_id, Mode.TEST))
    products_by_code = {product.product_code: product for product in products}
    created: dict[str, Product] = {}
    refused: dict[tuple[str, str], str] = {}
    chosen = [
        (code, label, price_id) for code, prices in price_ids.items() for label, price_id in prices.items()
    ]
    for code, label, price_id in (*chosen, *((code, DEFAULT_LABEL, "") for code in free)):
        if code not in products_by_code:
            refused[code, label] = "This product no longer exists in test mode."
            continue
        parts = (database, gateway, secret_box, live)
        try:
            if code in created:
                add_price(
                    *parts, product_id=created[code].id, price_id=price_id, label=label, actor=actor, now=now
                )
            else:
                draft = draft_with_price(products_by_code[code], price_id, label)
                created[code] = create_product(*parts, draft=draft, actor=actor, now=now)
        except ProductRefused as problem:
            refused[code, label] = problem.message
    return CopyResult(tuple(created), refused)


def draft_with_price(product: Product, price_id: str, label: str) -> Draft:
    """The product's terms with another price."""
    # By the fields of a draft, so that one that is added later is copied too.
    own = {field.name for field in fields(Draft)} - {"price_id", "price_label"}
    terms = {name: getattr(product, name) for name in own}
    terms |= {"price_id": price_id, "price_label": label}
    terms |= {"features": tuple(product.features), "included": lines_of(product.included)}
    terms["limits"] = dict(product.limits)
    return Draft(**terms)


def price_with_same_lookup_key(
    kind: Kind, sold: ProductPrice, prices: Sequence[PriceFacts]
) -> PriceFacts | None:
    """The one price with the same lookup key, where its shape fits the kind; never guessed otherwise."""
    keyed = [price for price in prices_that_fit(kind, prices) if price.lookup_key == sold.lookup_key]
    return keyed[0] if sold.lookup_key is not None and len(keyed) == 1 else None


def prices_that_fit(kind: Kind, prices: Sequence[PriceFacts]) -> list[PriceFacts]:
    """The prices that a product of this kind can be mapped to."""
    return [
        price
        for price in prices
        if shape_problem(kind, recurring=price.recurring, metered=price.metered) is None
    ]
