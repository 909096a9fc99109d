"""Verbs on the catalog. A price is read from Stripe again on every saving, never taken from a form.

Verbs that take a `Database` ask Stripe first and write afterwards, in a transaction of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.catalog import queries, rules
from licenzy.catalog.models import Product
from licenzy.catalog.rules import Draft, ProductRefused
from licenzy.connections import queries as connections
from licenzy.connections.actions import access
from licenzy.db.unit_of_work import Database
from licenzy.errors import LicenzyError, StripeNotConnected
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.observations.actions import probe_again
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeGateway
from licenzy.stripe_gateway.translate import StripeObjectMissing
from licenzy.workspace.audit import Actor, record


def create_product(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    draft: Draft,
    actor: Actor,
    now: datetime,
) -> Product:
    """Map a new code to a price. Raises ProductRefused, StripeNotConnected and Stripe's errors."""
    draft = rules.trimmed_to_kind(draft)
    _refuse(rules.draft_problems(draft))
    with database.read() as db:
        _refuse_taken_code(db, scope, code=draft.product_code)
    price = _read_price(database, gateway, secret_box, scope, price_id=draft.price_id)
    _refuse_unfit_price(draft, price, scope.mode)
    product = Product(
        id=new_id("prd"),
        project_id=scope.project_id,
        mode=scope.mode,
        product_code=draft.product_code,
        kind=draft.kind,
        created_at=now,
        updated_at=now,
        **_described(draft),
        **_priced(price, now),
    )
    with database.write() as db:
        _refuse_taken_code(db, scope, code=draft.product_code)
        try:
            db.add(product)
            db.flush()
        except IntegrityError:  # On Postgres two people may save the same new code in one moment.
            raise _code_taken(archived=False) from None
        _record(db, product, "product.created", actor=actor, before=None, now=now)
        probe_again(db, scope, now=now)
    return product


def edit_product(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    product_id: str,
    draft: Draft,
    actor: Actor,
    now: datetime,
) -> Product:
    """Change what future purchases of a product get; what was sold before stays as it was sold.

    The code and the kind of a product never change: those of `draft` are ignored.
    Raises ProductNotFound, ProductRefused, StripeNotConnected and Stripe's errors.
    """
    with database.read() as db:
        product = queries.product(db, scope, product_id=product_id)
    draft = rules.trimmed_to_kind(rules.renamed(draft, product_code=product.product_code, kind=product.kind))
    _refuse(rules.draft_problems(draft))
    price = _read_price(database, gateway, secret_box, scope, price_id=draft.price_id)
    _refuse_unfit_price(draft, price, scope.mode)
    with database.write() as db:
        product = queries.product(db, scope, product_id=product_id)
        before = _audit_view(product)
        _set(product, {**_described(draft), **_priced(price, now), "updated_at": now})
        db.add(product)
        db.flush()
        _record(db, product, "product.changed", actor=actor, before=before, now=now)
        probe_again(db, scope, now=now)
    return product


def refresh_price(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    product_id: str,
    now: datetime,
) -> Product:
    """Read a product's price from Stripe again and store what it says now, good or bad.

    Raises ProductNotFound, StripeNotConnected, ProductRefused when Stripe does not know the price, and
    Stripe's errors.
    """
    with database.read() as db:
        product = queries.product(db, scope, product_id=product_id)
    price = _read_price(database, gateway, secret_box, scope, price_id=product.stripe_price_id)
    with database.write() as db:
        product = queries.product(db, scope, product_id=product_id)
        _set(product, _priced(price, now))
        db.add(product)
        db.flush()
    return product


def archive_product(db: Session, scope: Scope, *, product_id: str, actor: Actor, now: datetime) -> Product:
    """Stop selling a product. Who bought it keeps what was bought. Raises ProductNotFound."""
    product = queries.product(db, scope, product_id=product_id)
    if product.archived_at is None:
        product.archived_at = product.updated_at = now
        db.add(product)
        _record(db, product, "product.archived", actor=actor, before=None, now=now)
    return product


def restore_product(db: Session, scope: Scope, *, product_id: str, actor: Actor, now: datetime) -> Product:
    """Sell an archived product again. Raises ProductNotFound."""
    product = queries.product(db, scope, product_id=product_id)
    if product.archived_at is not None:
        product.archived_at = None
        product.updated_at = now
        db.add(product)
        _record(db, product, "product.restored", actor=actor, before=None, now=now)
    return product


def prices_at_stripe(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope
) -> list[PriceFacts]:
    """The active prices one can map, as Stripe lists them. Raises StripeNotConnected and Stripe's errors."""
    with database.read() as db:
        connection = connections.connection_of(db, scope)
    if connection is None:
        raise StripeNotConnected
    return gateway.prices(access(gateway, secret_box, connection))


def _refuse(problems: dict[str, str]) -> None:
    if problems:
        raise ProductRefused(problems)


def _refuse_taken_code(db: Session, scope: Scope, *, code: str) -> None:
    taken = queries.product_by_code(db, scope, product_code=code)
    if taken is not None:
        raise _code_taken(archived=taken.archived_at is not None)


def _code_taken(*, archived: bool) -> ProductRefused:
    problem = (
        "An archived product of this mode has this code. Restore that product instead."
        if archived
        else "Another product of this mode has this code."
    )
    return ProductRefused({"product_code": problem})


def _read_price(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, scope: Scope, *, price_id: str
) -> PriceFacts:
    with database.read() as db:
        connection = connections.connection_of(db, scope)
    if connection is None:
        raise StripeNotConnected
    try:
        return gateway.price(access(gateway, secret_box, connection), price_id)
    except StripeObjectMissing:
        there = price_in_other_mode(database, gateway, secret_box, scope, price_id=price_id)
        mode = scope.mode
        reason = (
            f"This is a {mode.other.value} mode price. Pick a {mode.value} mode price."
            if there
            else f"The connected account has no such price in {mode.value} mode. Check the account."
        )
        raise ProductRefused({"price_id": reason}) from None


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


def note_prices(db: Session, scope: Scope, *, prices: Mapping[str, PriceFacts], now: datetime) -> None:
    """Keep what Stripe says now of the prices that products are mapped to."""
    for product in queries.products(db, scope):
        price = prices.get(product.stripe_price_id)
        if price is not None:
            _set(product, _priced(price, now))
            db.add(product)
    db.flush()


def _refuse_unfit_price(draft: Draft, price: PriceFacts, mode: Mode) -> None:
    problem = rules.price_problem(
        draft,
        mode,
        livemode=price.livemode,
        active=price.active and price.product_active,
        recurring=price.recurring,
        metered=price.metered,
    )
    if problem is not None:
        raise ProductRefused({"price_id": problem})


def _described(draft: Draft) -> dict[str, Any]:
    return {
        "units": draft.units,
        "usage_low_units": draft.usage_low_units,
        "duration_seconds": draft.duration_seconds,
        "features": list(draft.features),
        "grace_days": draft.grace_days,
        "trial_days": draft.trial_days,
        "allow_promotion_codes": draft.allow_promotion_codes,
        "automatic_tax": draft.automatic_tax,
        "adjustable_quantity": draft.adjustable_quantity,
    }


def _priced(price: PriceFacts, now: datetime) -> dict[str, Any]:
    return {
        "stripe_price_id": price.id,
        "stripe_product_id": price.product_id,
        "stripe_product_name": price.product_name,
        "unit_amount": price.unit_amount,
        "currency": price.currency,
        "interval": price.interval,
        "interval_count": price.interval_count,
        "lookup_key": price.lookup_key,
        "price_livemode": price.livemode,
        "price_active": price.active,
        "product_active": price.product_active,
        "checked_at": now,
    }


def _set(product: Product, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(product, name, value)


def _audit_view(product: Product) -> dict[str, Any]:
    """What the audit log tells of a product."""
    return {
        **rules.as_sold(product),
        "trial_days": product.trial_days,
        "allow_promotion_codes": product.allow_promotion_codes,
        "automatic_tax": product.automatic_tax,
        "adjustable_quantity": product.adjustable_quantity,
    }


def _record(
    db: Session, product: Product, action: str, *, actor: Actor, before: dict[str, Any] | None, now: datetime
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        project_id=product.project_id,
        mode=product.mode,
        about=product.id,
        before=before,
        after=_audit_view(product),
        now=now,
    )
