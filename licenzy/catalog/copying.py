"""Copying the catalog of test to live: what is copied, and which live price each product gets.

Nothing but the description is copied. A price belongs to one mode: its live twin is found by its lookup key,
or picked by a person, and is read from Stripe as for any other product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """What became of each product that was to be copied."""

    created: tuple[str, ...]
    refused: Mapping[str, str]
    """By code, why not."""


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
    """Make products of test in live as well; `prices` tells the live price id for each code.

    Each product is created or refused by itself, so that it can be repeated for those that were refused.
    Raises StripeNotConnected, and Stripe's errors when it cannot be asked at all.
    """
    with database.read() as db:
        products = queries.products(db, Scope(project_id, Mode.TEST))
    products_by_code = {product.product_code: product for product in products}
    created, refused = [], {}
    for code, price_id in price_ids.items():
        if code not in products_by_code:
            refused[code] = "There is no such product in test any more."
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
    """The product's description with another price."""
    return Draft(
        product_code=product.product_code,
        kind=product.kind,
        price_id=price_id,
        units=product.units,
        duration_seconds=product.duration_seconds,
        features=tuple(product.features),
        grace_days=product.grace_days,
        trial_days=product.trial_days,
        allow_promotion_codes=product.allow_promotion_codes,
        automatic_tax=product.automatic_tax,
        adjustable_quantity=product.adjustable_quantity,
        usage_low_units=product.usage_low_units,
    )


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
