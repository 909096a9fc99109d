"""Reading the catalog."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select as CoreSelect
from sqlalchemy import or_
from sqlalchemy import select as core_select
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import Kind, PriceBackfill, Product, ProductPrice, ProductTerms
from licenzy.db.reads import read_all, read_first, read_rows
from licenzy.db.upsert import table_of
from licenzy.errors import NotFound, ProductNotFound
from licenzy.projects.scope import Scope


@read_all
def products(scope: Scope) -> SelectOfScalar[Product]:
    """The products sold in this mode, by code."""
    return _by_code(scope).where(col(Product.archived_at).is_(None))


@read_all
def archived_products(scope: Scope) -> SelectOfScalar[Product]:
    """The products no longer sold in this mode, by code."""
    return _by_code(scope).where(col(Product.archived_at).is_not(None))


def _by_code(scope: Scope) -> SelectOfScalar[Product]:
    return (
        select(Product)
        .where(Product.project_id == scope.project_id, Product.mode == scope.mode)
        .order_by(Product.product_code)
    )


def product(db: Session, scope: Scope, *, product_id: str) -> Product:
    """One product, archived or not. Raises ProductNotFound."""
    found = _product(db, scope, product_id=product_id)
    if found is None:
        raise ProductNotFound
    return found


@read_first
def _product(scope: Scope, *, product_id: str) -> SelectOfScalar[Product]:
    return select(Product).where(
        Product.project_id == scope.project_id, Product.mode == scope.mode, Product.id == product_id
    )


@read_first
def product_by_code(scope: Scope, *, product_code: str) -> SelectOfScalar[Product]:
    """The product with this code in this mode, archived or not."""
    return select(Product).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        Product.product_code == product_code,
    )


def products_in_trial_groups(db: Session, scope: Scope, *, of: Sequence[Product]) -> list[Product]:
    """The products that share a trial with one of these, and these themselves; archived ones included."""
    names = {each.trial_group for each in of} - {""}
    sharing = _in_trial_groups(db, scope, names=sorted(names)) if names else []
    return [*of, *(each for each in sharing if each.id not in {own.id for own in of})]


@read_all
def _in_trial_groups(scope: Scope, *, names: Sequence[str]) -> SelectOfScalar[Product]:
    return select(Product).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        col(Product.trial_group).in_(names),
    )


def has_trials(db: Session, scope: Scope) -> bool:
    """Whether any product that is sold in this mode has a trial."""
    return _with_trial(db, scope) is not None


@read_first
def _with_trial(scope: Scope) -> SelectOfScalar[str]:
    return (
        select(Product.id)
        .where(
            Product.project_id == scope.project_id,
            Product.mode == scope.mode,
            col(Product.archived_at).is_(None),
            col(Product.trial_days).is_not(None),
        )
        .limit(1)
    )


@read_first
def default_product(scope: Scope) -> SelectOfScalar[Product]:
    """The product of everybody who has nothing else; none where the side has chosen none."""
    return select(Product).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        col(Product.is_default),
        col(Product.archived_at).is_(None),
    )


def limits_named(db: Session, scope: Scope) -> list[str]:
    """The codes of the limits that products of the side have, archived ones included, in order."""
    return sorted({code for (limits,) in _limits(db, scope) for code in limits})


@read_rows
def _limits(scope: Scope) -> CoreSelect[Any]:
    columns = table_of(Product).c
    return core_select(columns.limits).where(
        columns.project_id == scope.project_id, columns.mode == scope.mode
    )


@read_all
def versions_of(scope: Scope, *, product_id: str) -> SelectOfScalar[ProductTerms]:
    """The versions of a product's terms, the first one first."""
    return (
        select(ProductTerms)
        .join(Product)
        .where(Product.project_id == scope.project_id, Product.mode == scope.mode, Product.id == product_id)
        .order_by(col(ProductTerms.version))
    )


@read_first
def product_by_price(scope: Scope, *, price_id: str) -> SelectOfScalar[Product]:
    """The product that a price means, archived ones and retired prices included; of several the oldest."""
    return (
        select(Product)
        .join(ProductPrice)
        .where(
            Product.project_id == scope.project_id,
            Product.mode == scope.mode,
            ProductPrice.stripe_price_id == price_id,
        )
        .order_by(col(Product.created_at), Product.id)
        .limit(1)
    )


class PriceMeaning(NamedTuple):
    """The product that a price means."""

    product_id: str
    kind: Kind


def mapped_prices(db: Session, scope: Scope, *, price_ids: Collection[str]) -> dict[str, PriceMeaning]:
    """What these Stripe prices mean, as `product_by_price` says it of one; without those of no product."""
    if not price_ids:
        return {}
    rows = _mapped_prices(db, scope, prices=sorted(price_ids))
    return {row.stripe_price_id: PriceMeaning(row.id, row.kind) for row in reversed(rows)}


@read_rows
def _mapped_prices(scope: Scope, *, prices: Sequence[str]) -> CoreSelect[Any]:
    mapped, products = table_of(ProductPrice).c, table_of(Product).c
    return (
        core_select(mapped.stripe_price_id, products.id, products.kind)
        .where(
            mapped.project_id == scope.project_id,
            mapped.mode == scope.mode,
            mapped.stripe_price_id.in_(prices),
            products.project_id == mapped.project_id,
            products.id == mapped.product_id,
        )
        .order_by(products.created_at, products.id)
    )


@read_first
def sold_product_id(scope: Scope, *, stripe_id: str) -> SelectOfScalar[str]:
    """The id of a product that is sold at this price, or at a price of this product of Stripe's."""
    return (
        select(Product.id)
        .join(ProductPrice)
        .where(
            Product.project_id == scope.project_id,
            Product.mode == scope.mode,
            col(Product.archived_at).is_(None),
            col(ProductPrice.retired_at).is_(None),
            or_(
                col(ProductPrice.stripe_price_id) == stripe_id,
                col(ProductPrice.stripe_product_id) == stripe_id,
            ),
        )
        .limit(1)
    )


def price_of(product: Product, *, price_id: str) -> ProductPrice:
    """One of a product's prices by our own id, retired or not. Raises NotFound."""
    for price in product.prices:
        if price.id == price_id:
            return price
    raise NotFound("This price does not exist.")


@read_all
def backfills(scope: Scope, *, product_id: str) -> SelectOfScalar[PriceBackfill]:
    """The searches for subscriptions that hold newly mapped prices of a product, newest first."""
    return (
        select(PriceBackfill)
        .where(
            PriceBackfill.project_id == scope.project_id,
            PriceBackfill.mode == scope.mode,
            PriceBackfill.product_id == product_id,
        )
        .order_by(col(PriceBackfill.requested_at).desc(), col(PriceBackfill.price_id).desc())
    )
