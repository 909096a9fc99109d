"""What giving terms to holders would change, before anybody asks for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import select as core_select
from sqlmodel import Session, col, func, select

from licenzy.catalog import queries as catalog
from licenzy.catalog import rules
from licenzy.catalog.actions import terms_after
from licenzy.catalog.models import Product, ProductTerms
from licenzy.catalog.prices import refuse
from licenzy.catalog.rules import Draft
from licenzy.catalog.term_differences import TermDifference, term_differences
from licenzy.connections.queries import with_clock
from licenzy.db.upsert import table_of
from licenzy.entitlements.given_terms import GivenTerms
from licenzy.entitlements.models import Entitlement, FactSource
from licenzy.entitlements.projected import RecordedFact
from licenzy.entitlements.projection import project
from licenzy.entitlements.queries import recorded_facts_by_purchase
from licenzy.errors import NotFound
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Example:
    """One entitlement that would change."""

    entitlement_id: str
    subject_id: str
    subject_ref: str
    version: int | None
    """Of the terms that it is on; none where that is not known."""
    differences: Sequence[TermDifference]
    until_before: datetime | None
    until_after: datetime | None


@dataclass(frozen=True, slots=True)
class HolderPreview:
    """How many entitlements would be given the terms, and examples of them."""

    version: int
    """That they would be given: the next one where a draft was not saved yet."""
    count: int
    examples: Sequence[Example]
    digest: str
    """Of the terms, so that nobody confirms others than those that were shown."""


def preview_version(
    db: Session, scope: Scope, *, product_id: str, version: int, now: datetime
) -> HolderPreview:
    """What giving a version to all holders would change. Raises ProductNotFound and NotFound."""
    product = catalog.product(db, scope, product_id=product_id)
    versions = catalog.versions_of(db, scope, product_id=product_id)
    terms = next((each.terms for each in versions if each.version == version), None)
    if terms is None:
        raise NotFound("This version of the terms does not exist.")
    return _preview(db, scope, product, versions, version, terms, now)


def preview_edit(db: Session, scope: Scope, *, product_id: str, draft: Draft, now: datetime) -> HolderPreview:
    """What it would change to edit a product and to give that to all holders.

    Raises ProductNotFound and ProductRefused.
    """
    product = catalog.product(db, scope, product_id=product_id)
    draft = rules.for_product(draft, product)
    refuse(rules.draft_problems(draft, priced=bool(draft.price_id)))
    terms = terms_after(product, draft)
    version = product.terms_version + (terms != rules.terms_of(product))
    versions = catalog.versions_of(db, scope, product_id=product_id)
    return _preview(db, scope, product, versions, version, terms, now)


def _preview(
    db: Session,
    scope: Scope,
    product: Product,
    versions: Sequence[ProductTerms],
    version: int,
    terms: Mapping[str, Any],
    now: datetime,
) -> HolderPreview:
    there = with_clock(db, scope).at(now)
    given = GivenTerms.of(product, versions, version=version, terms=terms)
    counts = _counts(db, _needing(scope, given, there))
    chosen = [entitlement_id for _, _, entitlement_id in counts[:EXAMPLES]]
    if 0 < len(chosen) < EXAMPLES:
        chosen = _filled_up(db, _needing(scope, given, there), chosen)
    known = {each.version: rules.terms_for_holders(each.terms) for each in versions}
    count = sum(count for _, count, _ in counts)
    return HolderPreview(version, count, _examples(db, scope, chosen, given, known, there), _digest(given))


def _needing(scope: Scope, given: GivenTerms, there: datetime) -> list[ColumnElement[bool]]:
    columns = table_of(Entitlement).c
    return [
        columns.project_id == scope.project_id,
        columns.mode == scope.mode,
        columns.product_code == given.product_code,
        given.needed(there),
    ]


def _counts(db: Session, needing: Sequence[ColumnElement[bool]]) -> list[tuple[int | None, int, str]]:
    """The versions that the entitlements are on, how many are on each, and the first; the most come first."""
    columns = table_of(Entitlement).c
    statement = (
        core_select(columns.terms_version, func.count(), func.min(columns.id))
        .where(*needing)
        .group_by(columns.terms_version)
    )
    found = [(version, count, first) for version, count, first in db.connection().execute(statement)]
    return sorted(found, key=lambda each: (-each[1], each[2]))


def _filled_up(db: Session, needing: Sequence[ColumnElement[bool]], chosen: Sequence[str]) -> list[str]:
    columns = table_of(Entitlement).c
    others = core_select(columns.id).where(*needing, columns.id.not_in(chosen))
    statement = others.order_by(columns.id).limit(EXAMPLES - len(chosen))
    return [*chosen, *db.connection().execute(statement).scalars()]


def _examples(
    db: Session,
    scope: Scope,
    entitlement_ids: Sequence[str],
    given: GivenTerms,
    known: Mapping[int, Mapping[str, Any]],
    there: datetime,
) -> list[Example]:
    found = db.exec(
        select(Entitlement, Subject.subject_ref)
        .join(Subject)
        .where(
            Entitlement.project_id == scope.project_id,
            Entitlement.mode == scope.mode,
            col(Entitlement.id).in_(entitlement_ids),
        )
    ).all()
    rows = sorted(found, key=lambda each: entitlement_ids.index(each[0].id))
    keys = sorted({row.purchase_key for row, _ in rows})
    facts = recorded_facts_by_purchase(db, scope, purchase_keys=keys)
    return [_example(row, ref, facts[row.purchase_key], given, known, there) for row, ref in rows]


def _example(
    row: Entitlement,
    subject_ref: str,
    facts: Sequence[RecordedFact],
    given: GivenTerms,
    known: Mapping[int, Mapping[str, Any]],
    there: datetime,
) -> Example:
    """The row as it is, and as the purchase's facts with one more would make it."""
    key, data = row.purchase_key, given.fact_data(actor_user_id=None)
    fact = RecordedFact("operator", FactSource.OPERATOR, "", key, there, data, there)
    after = {each.item_key: each for each in project([*facts, fact])}.get(row.item_key)
    before = known.get(row.terms_version or 0)
    if before is None:
        had = {"features": row.features, "limits": row.limits, "adds": row.adds}
        differences = term_differences(had, {"limits": {}, **_of_row(given.terms)})
    else:
        differences = term_differences(before, given.terms)
    # A pass among others of its product lasts as long as these say, and no terms change that.
    moved = after is not None and after.paid_at is None and after.valid_until != row.valid_until
    until = after.valid_until if after is not None and moved else row.valid_until
    return Example(
        row.id, row.subject_id, subject_ref, row.terms_version, differences, row.valid_until, until
    )


def _of_row(terms: Mapping[str, Any]) -> dict[str, Any]:
    """The terms that stand in the row of an entitlement as the product has them."""
    return {key: terms[key] for key in ("features", "limits", "adds") if key in terms}


def _digest(given: GivenTerms) -> str:
    written = json.dumps([given.version, given.terms], sort_keys=True)
    return hashlib.sha256(written.encode()).hexdigest()[:16]
