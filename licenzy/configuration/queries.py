"""What a project and mode have now, in the terms of configuration files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from sqlmodel import Session

from licenzy.catalog import queries as catalog
from licenzy.catalog.copying import draft_with_price
from licenzy.catalog.models import Product
from licenzy.catalog.rules import trimmed_to_kind
from licenzy.configuration.entries import (
    Configuration,
    EndpointEntry,
    Installed,
    InstalledEndpoint,
    InstalledPrice,
    InstalledProduct,
    PriceEntry,
    ProductEntry,
    in_order,
)
from licenzy.deliveries.models import WebhookEndpoint
from licenzy.deliveries.queries import endpoints
from licenzy.deliveries.signing import present_secret
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope


def installed(db: Session, secret_box: SecretBox, scope: Scope) -> Installed:
    """The products and endpoints that there are, archived and disabled ones included."""
    products = [*catalog.products(db, scope), *catalog.archived_products(db, scope)]
    return Installed(
        tuple(_product(each) for each in sorted(products, key=lambda each: each.product_code)),
        tuple(_endpoint(secret_box, each) for each in endpoints(db, scope)),
    )


def exported(db: Session, scope: Scope) -> Configuration:
    """The file that describes what is sold and where events are sent, without any secret."""
    products = list(map(_product, catalog.products(db, scope)))
    # A lookup key can move to another price in Stripe, and two prices may be stored with the same one.
    keys = Counter(price.lookup_key for product in products for price in product.selling)
    return Configuration(
        "",
        tuple(
            ProductEntry(product.draft, tuple(_price_entry(price, keys) for price in product.selling))
            for product in products
        ),
        tuple(
            EndpointEntry(each.url, in_order(each.types), each.description)
            for each in endpoints(db, scope)
            if each.disabled_at is None
        ),
    )


def _price_entry(price: InstalledPrice, keys: Counter[str | None]) -> PriceEntry:
    if price.lookup_key is not None and keys[price.lookup_key] == 1:
        return PriceEntry(price.label, lookup_key=price.lookup_key)
    return PriceEntry(price.label, stripe_price=price.stripe_price_id)


def _product(product: Product) -> InstalledProduct:
    draft = trimmed_to_kind(draft_with_price(product, "", ""))
    # A code that is stored twice means no more than one that is stored once.
    draft = replace(draft, features=tuple(dict.fromkeys(draft.features)))
    return InstalledProduct(
        id=product.id,
        draft=draft,
        selling=tuple(
            InstalledPrice(
                each.label,
                each.stripe_price_id,
                each.lookup_key,
                each.stripe_product_id,
                each.interval,
                each.interval_count,
            )
            for each in product.selling_prices
        ),
        retired=tuple(each.stripe_price_id for each in product.prices if not each.selling),
        archived=product.archived_at is not None,
    )


def _endpoint(secret_box: SecretBox, endpoint: WebhookEndpoint) -> InstalledEndpoint:
    return InstalledEndpoint(
        id=endpoint.id,
        url=endpoint.url,
        types=tuple(endpoint.types),
        description=endpoint.description,
        disabled=endpoint.disabled_at is not None,
        secret=present_secret(secret_box, endpoint),
    )
