"""Giving a version of terms to all who have the product, done by the worker in batches.

Each purchase gets one fact, in the transaction that also moves the row of `term_changes` on. So a worker
that is killed goes on where its last commit was, and no purchase gets a second fact.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row
from sqlalchemy import select as core_select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog import queries as catalog
from licenzy.connections.queries import with_clock
from licenzy.db.reads import read_one
from licenzy.db.savepoint import savepoint
from licenzy.db.upsert import table_of
from licenzy.deliveries.models import Source
from licenzy.deliveries.queries import listeners
from licenzy.entitlements.actions import FactDraft, project_purchase, record_facts
from licenzy.entitlements.changed_terms import TERMS
from licenzy.entitlements.events import ChangeCause
from licenzy.entitlements.given_terms import GivenTerms
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement, FactSource, Purchase, TermChange
from licenzy.entitlements.projected import RecordedFact
from licenzy.entitlements.projection import CLOCK_AHEAD
from licenzy.entitlements.purchases import LOCKED_COLUMNS, LockedPurchase
from licenzy.entitlements.queries import recorded_facts_by_purchase
from licenzy.errors import LicenzyError
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import lock_customers

BATCH = 20
"""How many purchases are changed in one transaction: others who write wait no longer than that takes."""
CHECKED_AT_A_TIME = 500
"""How many entitlements are read in one transaction to find them."""

_log = logging.getLogger("licenzy.entitlements")


def change_next(db: Session, *, now: datetime, batch: int = BATCH, checked: int = CHECKED_AT_A_TIME) -> bool:
    """Give the version to the next holders of the change that was asked for first, of any project.

    For the worker: at most `batch` purchases in this transaction, found among the next `checked` entitlements
    of the product. False where there is nothing to do.
    """
    change = db.exec(_due()).first()
    if change is None:
        return False
    scope = with_clock(db, Scope.of(change))
    given = _given(db, scope, change)
    if change.total is None:
        change.total = _entitlements(db, scope, product_code=given.product_code)
    page = _next(db, scope, given, after=change.last_id, limit=checked, now=now)
    keys, passed = _taken(page, batch)
    if keys:
        _change_purchases(db, scope, change, given, sorted(keys), now)
    change.checked += passed
    change.last_id = page[passed - 1].id if passed else change.last_id
    if passed == len(page) < checked:
        change.ended_at = now
    db.add(change)
    db.flush()
    return True


def _due() -> SelectOfScalar[TermChange]:
    return (
        select(TermChange)
        .where(col(TermChange.ended_at).is_(None))
        .order_by(col(TermChange.requested_at), col(TermChange.id))
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _given(db: Session, scope: Scope, change: TermChange) -> GivenTerms:
    product = catalog.product(db, scope, product_id=change.product_id)
    versions = catalog.versions_of(db, scope, product_id=change.product_id)
    terms = next(each.terms for each in versions if each.version == change.version)
    return GivenTerms.of(product, versions, version=change.version, terms=terms)


@read_one
def _entitlements(scope: Scope, *, product_code: str) -> SelectOfScalar[int]:
    return select(func.count()).where(
        Entitlement.project_id == scope.project_id,
        Entitlement.mode == scope.mode,
        Entitlement.product_code == product_code,
        col(Entitlement.source).not_in(NO_ENTITLEMENT),
    )


def _next(
    db: Session, scope: Scope, given: GivenTerms, *, after: str, limit: int, now: datetime
) -> Sequence[Row[Any]]:
    columns = table_of(Entitlement).c
    needs_it = given.needed(scope.at(now)).label("needs_it")
    statement = (
        core_select(columns.id, columns.purchase_key, needs_it)
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.product_code == given.product_code,
            columns.id > after,
        )
        .order_by(columns.id)
        .limit(limit)
    )
    return db.connection().execute(statement).all()


def _taken(page: Sequence[Row[Any]], batch: int) -> tuple[set[str], int]:
    """The first purchases of a page that need the version, and how many entitlements were passed by then."""
    keys: set[str] = set()
    for passed, row in enumerate(page):
        if row.needs_it and row.purchase_key not in keys:
            if len(keys) == batch:
                return keys, passed
            keys.add(row.purchase_key)
    return keys, len(page)


def _change_purchases(
    db: Session, scope: Scope, change: TermChange, given: GivenTerms, keys: Sequence[str], now: datetime
) -> None:
    """Record a fact for each of these purchases that still needs it, and write what they then give."""
    purchases = _locked_purchases(db, scope, keys)
    lock_customers(db, scope, subject_ids={each.subject_id for each in purchases if each.subject_id})
    needing = _locked_entitlements(db, scope, given, [each.key for each in purchases], now)
    purchases = [each for each in purchases if each.subject_id is not None and each.key in needing]
    facts = recorded_facts_by_purchase(db, scope, purchase_keys=[each.key for each in purchases])
    drafts = [_fact(change, given, key, _instant(facts[key], scope.at(now))) for key in facts]
    record_facts(db, scope, drafts, now=now)
    for draft in drafts:
        facts[draft.object_id].append(_as_recorded(draft, now))
    writing = _Writing(db, change, bool(listeners(db, scope)), now)
    written = [each.key for each in purchases if writing.project(each, facts[each.key])]
    # Counted in the end: what an object of the session changes would be written at each savepoint.
    change.changed += sum(needing[key] for key in written)
    change.failed += len(purchases) - len(written)


def _locked_purchases(db: Session, scope: Scope, keys: Sequence[str]) -> list[LockedPurchase]:
    columns = table_of(Purchase).c
    statement = (
        core_select(*(columns[name] for name in LOCKED_COLUMNS))
        .where(columns.project_id == scope.project_id, columns.mode == scope.mode, columns.key.in_(keys))
        .order_by(columns.key)
        .with_for_update()
    )
    found = db.connection().execute(statement)
    return [LockedPurchase(scope.project_id, scope.mode, **row._mapping) for row in found]


def _locked_entitlements(
    db: Session, scope: Scope, given: GivenTerms, keys: Sequence[str], now: datetime
) -> dict[str, int]:
    """How many entitlements of each purchase need the version, now that nothing else writes them.

    All of a purchase are locked, in the order of their key: consuming locks packs in that order too.
    """
    columns = table_of(Entitlement).c
    is_given = columns.product_code == given.product_code
    needs_it = (is_given & given.needed(scope.at(now))).label("needs_it")
    statement = (
        core_select(columns.purchase_key, needs_it)
        .where(
            columns.project_id == scope.project_id,
            columns.mode == scope.mode,
            columns.purchase_key.in_(keys),
        )
        .order_by(columns.id)
        .with_for_update()
    )
    needing: dict[str, int] = {}
    for key, needs in db.connection().execute(statement):
        if needs:
            needing[key] = needing.get(key, 0) + 1
    return needing


def _fact(change: TermChange, given: GivenTerms, key: str, at: datetime) -> FactDraft:
    repeated = f":{change.run}" if change.run > 1 else ""
    source_id = f"terms:{change.product_id}:{change.version}:{key}{repeated}"
    data = given.fact_data(actor_user_id=change.requested_by)
    return FactDraft(FactSource.OPERATOR, source_id, "operator", key, at, data, key)


def _instant(facts: Sequence[RecordedFact], there: datetime) -> datetime:
    """When a purchase gets the terms: now, and after all that it had so far.

    Stripe's clock may be a little ahead of this server's, and so may be that of another server.
    """
    before = [
        fact.occurred_at
        for fact in facts
        if fact.occurred_at <= there + CLOCK_AHEAD or fact.data.get("action") == TERMS
    ]
    return max([there, *(at + timedelta(microseconds=1) for at in before)])


def _as_recorded(draft: FactDraft, now: datetime) -> RecordedFact:
    return RecordedFact(
        draft.kind, draft.source, draft.source_id, draft.object_id, draft.occurred_at, draft.data, now
    )


class _Writing(NamedTuple):
    """One batch being written."""

    db: Session
    change: TermChange
    has_endpoints: bool
    now: datetime

    def project(self, purchase: LockedPurchase, facts: Sequence[RecordedFact]) -> bool:
        """Write what a purchase gives now. One that cannot be projected does not keep the others waiting."""
        cause = ChangeCause(Source.PORTAL, "terms_changed", actor_user_id=self.change.requested_by)
        try:
            with savepoint(self.db):
                project_purchase(
                    self.db,
                    purchase,
                    now=self.now,
                    cause=cause,
                    facts=facts,
                    has_endpoints=self.has_endpoints,
                )
        except (LicenzyError, SQLAlchemyError):
            raise
        except Exception:
            _log.exception("the terms of %s could not be changed", purchase.key)
            return False
        return True
