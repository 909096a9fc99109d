"""Copying the catalog of test to live: what is copied, and which live price each price of test gets.

Nothing but the description and the labels is copied. A price belongs to one mode: its live twin is found by
its lookup key, or picked by a person, and is read from Stripe as for any other product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog import queries
from licenzy.catalog.actions import create_product
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.catalog.prices import add_price
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.db.unit_of_work import Database
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeGateway
from licenzy.workspace.audit import Actor


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of each product that was to be copied."""

    made: tuple[str, ...]
    refused: Mapping[tuple[str, str], str]
    """By code and label, why not."""


def copy_to_live(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    *,
    project_id: str,
    prices: Mapping[str, Mapping[str, str]],
    actor: Actor,
    now: datetime,
) -> Copied:
    """Make products of test in live as well; `prices` has the live price ids of each code by their labels.

    Each price is mapped or refused by itself, so that it can be repeated for those that were refused.
    Raises StripeNotConnected, and Stripe's errors when it cannot be asked at all.
    """
    live = Scope(project_id, Mode.LIVE)
    with database.read() as db:
        sold = queries.products(db, Scope(project_id, Mode.TEST))
    tried = {product.product_code: product for product in sold}
    made: dict[str, Product] = {}
    refused: dict[tuple[str, str], str] = {}
    for code, label, price_id in (
        (code, label, price_id) for code, labels in prices.items() for label, price_id in labels.items()
    ):
        if code not in tried:
            refused[code, label] = "This product no longer exists in test mode."
            continue
        parts = (database, gateway, secret_box, live)
        try:
            if code in made:
                add_price(
                    *parts, product_id=made[code].id, price_id=price_id, label=label, actor=actor, now=now
                )
            else:
                draft = draft_of(tried[code], price_id, label)
                made[code] = create_product(*parts, draft=draft, actor=actor, now=now)
        except ProductRefused as problem:
            refused[code, label] = problem.message
    return Copied(tuple(made), refused)


def draft_of(product: Product, price_id: str, label: str) -> Draft:
    """The product's description with another price."""
    return Draft(
        product_code=product.product_code,
        kind=product.kind,
        price_id=price_id,
        price_label=label,
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


def twin_of(kind: Kind, sold: ProductPrice, prices: Sequence[PriceFacts]) -> PriceFacts | None:
    """The one price with the same lookup key, where its shape fits the kind; never guessed otherwise."""
    keyed = [price for price in fitting(kind, prices) if price.lookup_key == sold.lookup_key]
    return keyed[0] if sold.lookup_key is not None and len(keyed) == 1 else None


def fitting(kind: Kind, prices: Sequence[PriceFacts]) -> list[PriceFacts]:
    """The prices that a product of this kind can be mapped to."""
    return [
        price
        for price in prices
        if shape_problem(kind, recurring=price.recurring, metered=price.metered) is None
    ]
