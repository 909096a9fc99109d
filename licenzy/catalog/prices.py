"""Verbs on the prices of a product: map, retire and label them, and read them from Stripe again.

A price is read from Stripe on every mapping, never taken from a form. Retiring a price stops selling at it
and nothing else: whoever holds it keeps the product. `stripe_events.mapped_prices` removes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog import queries, rules
from licenzy.catalog.included import lines_of, price_step_problem
from licenzy.catalog.models import Kind, PriceBackfill, Product, ProductPrice
from licenzy.catalog.rules import ProductRefused
from licenzy.connections import queries as connections
from licenzy.connections.actions import access
from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError, StripeNotConnected
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import probe_again
from licenzy.projects.models import ProjectSide
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeAccess, StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing
from licenzy.workspace.audit import Actor, record


def add_price(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    product_id: str,
    price_id: str,
    label: str,
    actor: Actor,
    now: datetime,
) -> Product:
    """Sell a product at a price, under a label; the price that had the label until now is retired.

    A retired price of the product is sold at again. Raises ProductNotFound, ProductRefused,
    StripeNotConnected and Stripe's errors.
    """
    refuse(rules.mapping_problems(price_id, label))
    with database.read() as db:
        queries.product(db, scope, product_id=product_id)  # Raises where there is none.
    price = read_price(database, gateway, secret_box, scope, price_id=price_id)
    with database.write() as db:
        return sell_product_at(
            db, scope, product_id=product_id, price=price, label=label, actor=actor, now=now
        )


def sell_product_at(
    db: Session,
    scope: Scope,
    *,
    product_id: str,
    price: PriceFacts,
    label: str,
    actor: Actor,
    now: datetime,
) -> Product:
    """Do what `add_price` does, at a price that was just read from Stripe.

    Raises ProductNotFound and ProductRefused.
    """
    refuse(rules.mapping_problems(price.id, label))
    lock_catalog(db, scope)
    product = queries.product(db, scope, product_id=product_id)
    refuse_unfit(product.kind, price, scope.mode)
    if problem := price_step_problem(lines_of(product.included), price):
        raise ProductRefused({"price_id": problem})
    before = prices_shown(product)
    sell_at(db, product, price, label=label, now=now)
    save_prices(db, product, "product.price_added", before=before, actor=actor, now=now)
    probe_again(db, scope, now=now)
    return product


def retire_price(
    db: Session, scope: Scope, *, product_id: str, price_id: str, actor: Actor, now: datetime
) -> ProductPrice:
    """Stop selling at a price. Raises ProductNotFound and NotFound."""
    lock_catalog(db, scope)
    product = queries.product(db, scope, product_id=product_id)
    price = queries.price_of(product, price_id=price_id)
    if price.retired_at is None:
        before = prices_shown(product)
        price.retired_at = now
        save_prices(db, product, "product.price_retired", before=before, actor=actor, now=now)
    return price


def label_price(
    db: Session, scope: Scope, *, product_id: str, price_id: str, label: str, actor: Actor, now: datetime
) -> ProductPrice:
    """Give a price another label. Raises ProductNotFound, NotFound, and ProductRefused for a label in use."""
    lock_catalog(db, scope)
    product = queries.product(db, scope, product_id=product_id)
    price = queries.price_of(product, price_id=price_id)
    refuse(rules.mapping_problems(price.stripe_price_id, label))
    if price.selling and any(each.label == label for each in product.selling_prices if each is not price):
        raise ProductRefused({"price_label": f"Another price of this product is labelled {label}."})
    if price.label != label:
        before = prices_shown(product)
        price.label = label
        save_prices(db, product, "product.price_labelled", before=before, actor=actor, now=now)
    return price


def refresh_prices(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    product_id: str,
    now: datetime,
) -> Product:
    """Read the prices of a product from Stripe again and store what it says now, good or bad.

    Raises ProductNotFound, StripeNotConnected, ProductRefused when Stripe does not know one of them, and
    Stripe's errors.
    """
    with database.read() as db:
        product = queries.product(db, scope, product_id=product_id)
    read = {
        price.stripe_price_id: read_price(
            database, gateway, secret_box, scope, price_id=price.stripe_price_id
        )
        for price in product.selling_prices or product.prices
    }
    with database.write() as db:
        product = queries.product(db, scope, product_id=product_id)
        _note(product, read, now)
        db.add(product)
        db.flush()
    return product


def note_prices(db: Session, scope: Scope, *, prices: Mapping[str, PriceFacts], now: datetime) -> None:
    """Keep what Stripe says now of the prices that products are mapped to."""
    for product in queries.products(db, scope):
        _note(product, prices, now)
        db.add(product)
    db.flush()


def price_in_other_mode(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope, *, price_id: str
) -> bool | None:
    """Whether the key of the other mode finds a price that this mode's does not; none when unknown."""
    with database.read() as db:
        other = connections.connection_of(db, scope.other)
    if other is None or other.key_sealed is None:
        return None
    try:
        gateway.price(access(gateway, secret_box, other), price_id)
    except StripeObjectMissing:
        return False
    except LicenzyError:
        return None
    return True


def prices_at_stripe(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope
) -> list[PriceFacts]:
    """The active prices one can map, as Stripe lists them. Raises StripeNotConnected and Stripe's errors."""
    with database.read() as db:
        connection = connections.connection_of(db, scope)
    if connection is None:
        raise StripeNotConnected
    return gateway.prices(access(gateway, secret_box, connection))


# --- what verbs on products need as well --------------------------------------------------------------


def lock_catalog(db: Session, scope: Scope) -> None:
    """Let one transaction at a time map prices of a side: no constraint refuses two products one price."""
    db.get(ProjectSide, (scope.project_id, scope.mode), with_for_update=True, populate_existing=True)


def read_price(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    price_id: str,
    paced: StripeAccess | None = None,
) -> PriceFacts:
    """The price as Stripe has it. Raises ProductRefused when it has none of this id in this mode.

    `paced` is the access of who reads many, instead of the connection's own.
    """
    with database.read() as db:
        connection = connections.connection_of(db, scope)
    if connection is None:
        raise StripeNotConnected
    try:
        return gateway.price(paced or access(gateway, secret_box, connection), price_id)
    except StripeObjectMissing:
        there = price_in_other_mode(database, gateway, secret_box, scope, price_id=price_id)
        mode = scope.mode
        reason = (
            f"This is a {mode.other.value} mode price. Pick a {mode.value} mode price."
            if there
            else f"The connected account has no such price in {mode.value} mode. Check the account."
        )
        raise ProductRefused({"price_id": reason}) from None


def refuse_unfit(kind: Kind, price: PriceFacts, mode: Mode) -> None:
    """Raises ProductRefused for a price that a product of this kind cannot be sold at."""
    problem = rules.price_problem(
        kind,
        mode,
        livemode=price.livemode,
        active=price.active and price.product_active,
        recurring=price.recurring,
        metered=price.metered,
    )
    if problem is not None:
        raise ProductRefused({"price_id": problem})


def sell_at(db: Session, product: Product, price: PriceFacts, *, label: str, now: datetime) -> None:
    """Sell the product at this price from now on, in place of the price that has the label.

    The catalog is locked. Raises ProductRefused when the price is another product's.
    """
    scope = Scope.of(product)
    owner = queries.product_by_price(db, scope, price_id=price.id)
    known = next((each for each in product.prices if each.stripe_price_id == price.id), None)
    if known is None and owner is not None:
        raise ProductRefused({"price_id": rules.price_taken(owner.product_code)})
    if known is not None and known.selling and known.label != label:
        raise ProductRefused({"price_id": f"This product is sold at this price already, as {known.label}."})
    for each in product.selling_prices:
        if each.label == label and each is not known:
            each.retired_at = now
    # Written first: for one moment two prices would be sold at under one label.
    db.add(product)
    db.flush()
    if known is not None:
        known.retired_at = None
        known.label = label
        _set(known, _as_read(price, now))
    else:
        added = _added(product, price, label, now)
        product.prices = [*product.prices, added]
        if product.kind is Kind.SUBSCRIPTION:
            db.add(_backfill(added, now))
    db.add(product)
    db.flush()


def refuse(problems: dict[str, str]) -> None:
    """Raises ProductRefused where there are problems, by field."""
    if problems:
        raise ProductRefused(problems)


def prices_shown(product: Product) -> dict[str, Any]:
    """What the audit log shows of a product's prices: the Stripe price by its label, and the retired ones."""
    return {
        "prices": {price.label: price.stripe_price_id for price in product.selling_prices},
        "retired": [price.stripe_price_id for price in product.prices if not price.selling],
    }


def save_prices(
    db: Session, product: Product, action: str, *, before: dict[str, Any], actor: Actor, now: datetime
) -> None:
    """Store a product whose prices changed, and the act in the audit log."""
    product.updated_at = now
    db.add(product)
    db.flush()
    record(
        db,
        actor=actor,
        action=action,
        project_id=product.project_id,
        mode=product.mode,
        about=product.id,
        before=before,
        after=prices_shown(product),
        now=now,
    )


def _added(product: Product, price: PriceFacts, label: str, now: datetime) -> ProductPrice:
    return ProductPrice(
        project_id=product.project_id,
        id=new_id("ppr"),
        mode=product.mode,
        product_id=product.id,
        stripe_price_id=price.id,
        label=label,
        added_at=now,
        **_as_read(price, now),
    )


def _backfill(price: ProductPrice, now: datetime) -> PriceBackfill:
    """What has the worker find the subscriptions that held the price before it was a product's."""
    return PriceBackfill(
        project_id=price.project_id,
        price_id=price.id,
        mode=price.mode,
        product_id=price.product_id,
        stripe_price_id=price.stripe_price_id,
        requested_at=now,
    )


def _note(product: Product, read: Mapping[str, PriceFacts], now: datetime) -> None:
    for price in product.prices:
        if price.stripe_price_id in read:
            _set(price, _as_read(read[price.stripe_price_id], now))


def _as_read(price: PriceFacts, now: datetime) -> dict[str, Any]:
    return {
        "stripe_product_id": price.product_id,
        "stripe_product_name": price.product_name,
        "unit_amount": price.unit_amount,
        "currency": price.currency,
        "interval": price.interval,
        "interval_count": price.interval_count,
        "lookup_key": price.lookup_key,
        "livemode": price.livemode,
        "active": price.active,
        "product_active": price.product_active,
        "checked_at": now,
    }


def _set(price: ProductPrice, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(price, name, value)
