"""Reading the catalog."""

from __future__ import annotations

from sqlalchemy import or_
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Product
from licenzy.errors import ProductNotFound


def products(db: Session, *, project_id: str, mode: Mode, archived: bool = False) -> list[Product]:
    """The products sold in this mode, or with `archived` those no longer sold; by code."""
    state = col(Product.archived_at).is_not(None) if archived else col(Product.archived_at).is_(None)
    return list(
        db.exec(
            select(Product)
            .where(Product.project_id == project_id, Product.mode == mode, state)
            .order_by(Product.product_code)
        )
    )


def product(db: Session, *, project_id: str, mode: Mode, product_id: str) -> Product:
    """One product, archived or not. Raises ProductNotFound."""
    found = db.exec(
        select(Product).where(
            Product.project_id == project_id, Product.mode == mode, Product.id == product_id
        )
    ).first()
    if found is None:
        raise ProductNotFound
    return found


def product_by_code(db: Session, *, project_id: str, mode: Mode, product_code: str) -> Product | None:
    """The product with this code in this mode, archived or not."""
    return db.exec(
        select(Product).where(
            Product.project_id == project_id, Product.mode == mode, Product.product_code == product_code
        )
    ).first()


def product_by_price(db: Session, *, project_id: str, mode: Mode, price_id: str) -> Product | None:
    """The product that a price belongs to, archived ones included; of several the oldest."""
    return db.exec(
        select(Product)
        .where(Product.project_id == project_id, Product.mode == mode, Product.stripe_price_id == price_id)
        .order_by(col(Product.created_at), Product.id)
        .limit(1)
    ).first()


def is_sold(db: Session, *, project_id: str, mode: Mode, stripe_id: str) -> bool:
    """Whether a product that is sold has this price, or a price of this product of Stripe's."""
    return (
        db.exec(
            select(Product.id)
            .where(
                Product.project_id == project_id,
                Product.mode == mode,
                col(Product.archived_at).is_(None),
                or_(col(Product.stripe_price_id) == stripe_id, col(Product.stripe_product_id) == stripe_id),
            )
            .limit(1)
        ).first()
        is not None
    )
