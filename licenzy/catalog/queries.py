"""Reading the catalog."""

from __future__ import annotations

from sqlalchemy import or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import PriceBackfill, Product, ProductPrice, ProductTerms
from licenzy.db.reads import read_all, read_first
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
