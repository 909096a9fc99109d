"""Makes the changes of a configuration file, by the verbs of the rooms that they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from sqlmodel import Session

from licenzy.catalog import actions as products
from licenzy.catalog import prices, queries
from licenzy.catalog.included import step_problems
from licenzy.catalog.models import DEFAULT_LABEL, Product
from licenzy.configuration.differences import (
    Act,
    Differences,
    EndpointChange,
    PriceAct,
    PriceChange,
    ProductChange,
    label_order,
)
from licenzy.configuration.entries import Configuration, ProductEntry
from licenzy.deliveries import actions as endpoints
from licenzy.deliveries.actions import EndpointContext
from licenzy.entitlements.holders import give_to_holders
from licenzy.entitlements.queries import was_granted
from licenzy.kit.secret_box import SecretBox
from licenzy.stripe_gateway.client import PriceFacts

SECRET_OVERLAP = timedelta(days=1)
"""For how long a secret that was replaced signs deliveries too."""

_NEW = (PriceAct.CREATE, PriceAct.ADD)


@dataclass(frozen=True, slots=True)
class NewSecret:
    """The secret that was made for a new endpoint: show it once."""

    endpoint_id: str
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Execution:
    """Who makes the changes, where and when, and what they need."""

    secret_box: SecretBox
    context: EndpointContext
    configuration: Configuration
    facts: Mapping[str, PriceFacts]
    """The prices that were just read from Stripe, by their IDs."""
    secrets: Mapping[str, str] = field(repr=False)
    """By the name of the environment variable."""
    private_allowed: bool


def execute(db: Session, execution: Execution, changes: Differences) -> tuple[NewSecret, ...]:
    """Make the changes in the caller's transaction, in which the catalog is locked.

    Raises ConfigurationRefused where a verb refuses one of them.
    """
    # What stops being the default comes first: one product can be it.
    for product in sorted(changes.products, key=_takes_default):
        with execution.configuration.naming(f"product {product.code}"):
            _write_product(db, execution, product)
    secrets = []
    for endpoint in changes.endpoints:
        with execution.configuration.naming(f"endpoint {endpoint.url}"):
            secrets.append(_write_endpoint(db, execution, endpoint))
    return tuple(each for each in secrets if each is not None)


def _takes_default(change: ProductChange) -> bool:
    return change.act is not Act.ARCHIVE and change.entry is not None and change.entry.draft.is_default


def _write_product(db: Session, execution: Execution, change: ProductChange) -> None:
    scope, actor, now = execution.context.scope, execution.context.actor, execution.context.now
    if change.act is Act.CREATE:
        _create_product(db, execution, change)
        return
    product_id = change.product_id or ""
    if change.act is Act.ARCHIVE:
        products.archive_product(db, scope, product_id=product_id, actor=actor, now=now)
        return
    if not change.fields and not change.prices and change.act is not Act.RESTORE:
        return
    product = queries.product(db, scope, product_id=product_id)
    # Included units must always fit the prices. Where the new ones do not fit the present prices, they fit
    # those of the file, and so do the present ones, whose steps are shorter: the prices go first then.
    prices_first = change.entry is not None and step_problems(
        change.entry.draft.included, product.selling_prices
    )
    if prices_first:
        _write_prices(db, execution, product, change.prices)
    if change.fields and change.entry is not None:
        _write_fields(db, execution, product_id, change.entry, for_holders=change.for_holders)
    if change.act is Act.RESTORE:
        # Changed first: it may have been the default product, which another one is by now.
        products.restore_product(db, scope, product_id=product_id, actor=actor, now=now)
    if not prices_first:
        _write_prices(db, execution, product, change.prices)


def _write_fields(
    db: Session, execution: Execution, product_id: str, entry: ProductEntry, *, for_holders: bool
) -> None:
    products.change_product(
        db,
        execution.context.scope,
        product_id=product_id,
        draft=entry.draft,
        price=None,
        was_granted=was_granted,
        give_to_holders=give_to_holders if for_holders else None,
        actor=execution.context.actor,
        now=execution.context.now,
    )


def _create_product(db: Session, execution: Execution, change: ProductChange) -> None:
    assert change.entry is not None
    if not change.entry.draft.is_sold:
        products.insert_product(
            db,
            execution.context.scope,
            draft=change.entry.draft,
            price=None,
            actor=execution.context.actor,
            now=execution.context.now,
        )
        return
    # The price labelled default comes first, as it does where somebody creates the product in the portal.
    first, *others = sorted(change.prices, key=lambda each: (each.label != DEFAULT_LABEL, each.label))
    draft = replace(change.entry.draft, price_id=first.stripe_price_id or "", price_label=first.label)
    product = products.insert_product(
        db,
        execution.context.scope,
        draft=draft,
        price=execution.facts[draft.price_id],
        actor=execution.context.actor,
        now=execution.context.now,
    )
    for each in others:
        _sell(db, execution, product, each)


def _write_prices(
    db: Session, execution: Execution, product: Product, changes: tuple[PriceChange, ...]
) -> None:
    for change in changes:
        if change.act is PriceAct.RETIRE:
            _retire(db, execution, product, change.stripe_price_id)
    labelled = {each.stripe_price_id: each for each in changes if each.act is PriceAct.LABEL}
    selling = {price.stripe_price_id: price.label for price in product.selling_prices}
    order, circle = label_order(labelled.values(), selling)
    for price_id in circle:
        _retire(db, execution, product, price_id)
    for price_id in order:
        prices.label_price(
            db,
            execution.context.scope,
            product_id=product.id,
            price_id=_own_id(product, price_id),
            label=labelled[price_id].label,
            actor=execution.context.actor,
            now=execution.context.now,
        )
    for change in changes:
        if change.act in _NEW or change.stripe_price_id in circle:
            _sell(db, execution, product, change)


def _sell(db: Session, execution: Execution, product: Product, change: PriceChange) -> None:
    with execution.configuration.naming(f"product {product.product_code}, price {change.label}"):
        prices.sell_product_at(
            db,
            execution.context.scope,
            product_id=product.id,
            price=execution.facts[change.stripe_price_id or ""],
            label=change.label,
            actor=execution.context.actor,
            now=execution.context.now,
        )


def _retire(db: Session, execution: Execution, product: Product, price_id: str | None) -> None:
    prices.retire_price(
        db,
        execution.context.scope,
        product_id=product.id,
        price_id=_own_id(product, price_id),
        actor=execution.context.actor,
        now=execution.context.now,
    )


def _own_id(product: Product, price_id: str | None) -> str:
    return next(price.id for price in product.prices if price.stripe_price_id == price_id)


def _write_endpoint(db: Session, execution: Execution, change: EndpointChange) -> NewSecret | None:
    context, entry = execution.context, change.entry
    if change.act is Act.DISABLE or entry is None:
        endpoints.disable_endpoint(db, context, endpoint_id=change.endpoint_id or "")
        return None
    secret = execution.secrets[entry.secret_env] if entry.secret_env is not None else None
    if change.act is Act.CREATE:
        created, made = endpoints.create_endpoint(
            db,
            execution.secret_box,
            context,
            url=entry.url,
            types=entry.types,
            description=entry.description,
            secret=secret,
            private_allowed=execution.private_allowed,
        )
        return NewSecret(created.id, created.url, made) if secret is None else None
    _change_endpoint(db, execution, change, secret)
    return None


def _change_endpoint(db: Session, execution: Execution, change: EndpointChange, secret: str | None) -> None:
    context, entry, endpoint_id = execution.context, change.entry, change.endpoint_id or ""
    assert entry is not None
    if change.fields:
        endpoints.change_endpoint(
            db,
            context,
            endpoint_id=endpoint_id,
            url=entry.url,
            types=entry.types,
            description=entry.description,
            private_allowed=execution.private_allowed,
        )
    if change.new_secret:
        endpoints.rotate_secret(
            db,
            execution.secret_box,
            context,
            endpoint_id=endpoint_id,
            overlap=SECRET_OVERLAP,
            secret=secret,
        )
    if change.act is Act.RESTORE:
        endpoints.resume_endpoint(db, context, endpoint_id=endpoint_id)
