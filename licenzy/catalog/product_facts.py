"""Products as the rules of alignment see them. Pure."""

from __future__ import annotations

from licenzy.alignment.facts import IncludedFacts, MappedPrice, ProductFacts
from licenzy.catalog.included import lines_of, terms_text
from licenzy.catalog.models import Kind, Product, ProductPrice


def facts_of_product(product: Product) -> ProductFacts:
    """A product as alignment's rules see it."""
    return ProductFacts(
        id=product.id,
        product_code=product.product_code,
        kind=product.kind,
        created_at=product.created_at,
        unit=product.unit if product.kind is Kind.USAGE_PACK else None,
        units=product.units,
        duration_seconds=product.duration_seconds,
        included=tuple(IncludedFacts(line.unit, terms_text(line)) for line in lines_of(product.included)),
        limits=dict(product.limits),
        adds=product.adds,
        is_default=product.is_default,
        grants_access=product.grants_access,
        prices=tuple(map(_price_facts, product.prices)),
    )


def _price_facts(price: ProductPrice) -> MappedPrice:
    return MappedPrice(
        stripe_price_id=price.stripe_price_id,
        stripe_product_id=price.stripe_product_id,
        label=price.label,
        selling=price.selling,
        livemode=price.livemode,
        sellable=price.sellable,
        checked_at=price.checked_at,
        unit_amount=price.unit_amount,
        currency=price.currency,
        interval=price.interval,
        interval_count=price.interval_count,
    )
