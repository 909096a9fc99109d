"""Which unit a call draws, and whether the unit and the product that it names are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.included import lines_of
from licenzy.catalog.models import Kind, Product, ProductTerms
from licenzy.catalog.queries import product_by_code
from licenzy.catalog.rules import INCLUDING_KINDS
from licenzy.db.reads import read_all
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.windows import included_of
from licenzy.errors import ProductNotFound, UnitNotFound
from licenzy.projects.actions import fix_default_unit
from licenzy.projects.queries import side_of
from licenzy.projects.scope import Scope
from licenzy.subjects.queries import subject_by_ref
from licenzy.usage.window_queries import including


def unit_of_call(db: Session, scope: Scope, *, unit: str | None, called_at: datetime) -> str:
    """The unit that a call draws. Where it names none, the default unit of its side, fixed from now on."""
    if unit is not None:
        return unit
    side = side_of(db, scope)
    if side is None or side.default_unit_used_at is None:
        return fix_default_unit(db, scope, now=called_at)
    return side.default_unit


def require_known_names(
    db: Session, scope: Scope, *, subject_ref: str, unit: str | None, product_code: str | None
) -> None:
    """Refuse what a call names and nothing has. Raises UnitNotFound and ProductNotFound.

    For a subject without any pack that the call could draw, to tell a wrong name from a spent balance. A
    unit is known as well where the subject once had a pack of it, whatever its product was changed to, or
    where a product once included it.
    """
    if unit is not None:
        known = units_sold(db, scope)
        if (
            unit not in known
            and unit not in _units_had(db, scope, subject_ref)
            and unit not in units_ever_sold(db, scope)
        ):
            raise UnitNotFound(extra={"units": known})
    if product_code is not None and product_by_code(db, scope, product_code=product_code) is None:
        raise ProductNotFound


def units_sold(db: Session, scope: Scope) -> list[str]:
    """The units of the side's products, archived ones as well, by name: of packs and what others include."""
    included = (line.unit for lines in _included_lines(db, scope) for line in lines_of(lines))
    return sorted({*_units_of_packs_sold(db, scope), *included})


def units_ever_sold(db: Session, scope: Scope) -> list[str]:
    """The same, and those that a product included on earlier terms: windows of them may have been used."""
    product_ids = _including_products(db, scope)
    all_terms = _all_terms(db, scope, product_ids=product_ids) if product_ids else []
    earlier = (line["unit"] for terms in all_terms for line in terms.get("included") or ())
    return sorted({*units_sold(db, scope), *earlier})


@read_all
def _including_products(scope: Scope) -> SelectOfScalar[str]:
    return select(Product.id).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        col(Product.kind).in_(INCLUDING_KINDS),
    )


@read_all
def _all_terms(scope: Scope, *, product_ids: Sequence[str]) -> SelectOfScalar[Mapping[str, Any]]:
    return select(ProductTerms.terms).where(
        ProductTerms.project_id == scope.project_id, col(ProductTerms.product_id).in_(product_ids)
    )


@read_all
def _included_lines(scope: Scope) -> SelectOfScalar[Sequence[Any]]:
    return select(Product.included).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        col(Product.kind).in_(INCLUDING_KINDS),
    )


@read_all
def _units_of_packs_sold(scope: Scope) -> SelectOfScalar[str]:
    return select(Product.unit).where(
        Product.project_id == scope.project_id,
        Product.mode == scope.mode,
        Product.kind == Kind.USAGE_PACK,
    )


def _units_had(db: Session, scope: Scope, subject_ref: str) -> set[str]:
    subject = subject_by_ref(db, scope, subject_ref=subject_ref)
    if subject is None:
        return set()
    owned = including(db, scope, subject_id=subject.id)
    included = {unit.unit for each in owned for unit in included_of(each.included)}
    return included | set(_units_of_packs(db, scope, subject_id=subject.id))


@read_all
def _units_of_packs(scope: Scope, *, subject_id: str) -> SelectOfScalar[str]:
    return select(Entitlement.unit).where(
        Entitlement.project_id == scope.project_id,
        Entitlement.mode == scope.mode,
        Entitlement.subject_id == subject_id,
        col(Entitlement.kind) == Kind.USAGE_PACK,
    )
