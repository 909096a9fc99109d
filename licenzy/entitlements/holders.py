"""Giving a version of a product's terms to all who have the product: asked for here, done by the worker.

Each purchase gets one fact, in the transaction that also moves the row of `term_changes` on. So a worker
that is killed goes on where its last commit was, and no purchase gets a second fact.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, or_
from sqlalchemy import select as core_select
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog import queries as catalog
from licenzy.catalog.models import Product, ProductTerms
from licenzy.catalog.prices import lock_catalog
from licenzy.catalog.rules import terms_for_holders
from licenzy.connections.queries import with_clock
from licenzy.db.reads import read_all, read_first, read_one
from licenzy.db.savepoint import savepoint
from licenzy.db.upsert import table_of
from licenzy.deliveries.models import Source
from licenzy.deliveries.queries import listeners
from licenzy.entitlements.actions import FactDraft, project_purchase, record_facts
from licenzy.entitlements.changed_terms import TERMS
from licenzy.entitlements.events import ChangeCause
from licenzy.entitlements.models import Entitlement, FactSource, Purchase, State, TermChange
from licenzy.entitlements.projected import RecordedFact
from licenzy.entitlements.purchases import LockedPurchase
from licenzy.entitlements.queries import recorded_facts_by_purchase
from licenzy.errors import LicenzyError, NotFound
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import lock_customers
from licenzy.workspace.audit import Actor, record

BATCH = 20
"""How many purchases are changed in one transaction: others who write wait no longer than that takes."""
CHECKED_AT_A_TIME = 500
"""How many entitlements are read in one transaction to find them."""

_log = logging.getLogger("licenzy.entitlements")


# --- asking for it ---------------------------------------------------------------------------------------


def give_to_holders(
    db: Session, scope: Scope, *, product_id: str, version: int, actor: Actor, now: datetime
) -> TermChange:
    """Have the worker give a version of a product's terms to all who have the product.

    A change to another version that is still running is stopped; one to the same version goes on, and is
    what is returned. Raises ProductNotFound, and NotFound for a version that there is none of.
    """
    lock_catalog(db, scope)
    product = catalog.product(db, scope, product_id=product_id)
    if all(each.version != version for each in catalog.versions_of(db, scope, product_id=product_id)):
        raise NotFound("This version of the terms does not exist.")
    running = running_change(db, scope, product_id=product_id)
    if running is not None:
        if running.version == version:
            return running
        _end(db, running, now)
    change = TermChange(
        project_id=scope.project_id,
        mode=scope.mode,
        id=new_id("tch"),
        product_id=product_id,
        version=version,
        run=1 + _runs(db, scope, product_id=product_id, version=version),
        requested_by=actor.user_id,
        requested_at=now,
    )
    db.add(change)
    db.flush()
    _audit(db, change, product, "product.terms_for_holders", actor, now)
    return change


def stop_change(db: Session, scope: Scope, *, change_id: str, actor: Actor, now: datetime) -> TermChange:
    """End a change before all holders have its version; who has it keeps it. Raises NotFound."""
    change = change_by_id(db, scope, change_id=change_id)
    if change is None:
        raise NotFound("This change of terms does not exist.")
    if change.ended_at is None:
        product = catalog.product(db, scope, product_id=change.product_id)
        _end(db, change, now)
        _audit(db, change, product, "product.terms_for_holders_stopped", actor, now)
    return change


def _end(db: Session, change: TermChange, now: datetime) -> None:
    change.stopped_at = change.ended_at = now
    db.add(change)
    db.flush()


def _audit(
    db: Session, change: TermChange, product: Product, action: str, actor: Actor, now: datetime
) -> None:
    record(
        db,
        actor=actor,
        action=action,
        project_id=change.project_id,
        mode=change.mode,
        about=change.product_id,
        after={
            "product_code": product.product_code,
            "version": change.version,
            "changed": change.changed,
        },
        now=now,
    )


# --- reading ---------------------------------------------------------------------------------------------


@read_first
def running_change(scope: Scope, *, product_id: str) -> SelectOfScalar[TermChange]:
    """The change of a product's terms that the worker is at; held until the transaction ends."""
    return _changes(scope, product_id).where(col(TermChange.ended_at).is_(None)).with_for_update()


@read_all
def changes_of(scope: Scope, *, product_id: str) -> SelectOfScalar[TermChange]:
    """What was given to the holders of a product, the newest first."""
    return _changes(scope, product_id).order_by(
        col(TermChange.requested_at).desc(), col(TermChange.id).desc()
    )


def _changes(scope: Scope, product_id: str) -> SelectOfScalar[TermChange]:
    return select(TermChange).where(
        TermChange.project_id == scope.project_id,
        TermChange.mode == scope.mode,
        TermChange.product_id == product_id,
    )


@read_first
def change_by_id(scope: Scope, *, change_id: str) -> SelectOfScalar[TermChange]:
    """One change, held until the transaction ends."""
    return (
        select(TermChange)
        .where(
            TermChange.project_id == scope.project_id,
            TermChange.mode == scope.mode,
            TermChange.id == change_id,
        )
        .with_for_update()
    )


@read_one
def _runs(scope: Scope, *, product_id: str, version: int) -> SelectOfScalar[int]:
    return select(func.count()).where(
        TermChange.project_id == scope.project_id,
        TermChange.mode == scope.mode,
        TermChange.product_id == product_id,
        TermChange.version == version,
    )


# --- doing it --------------------------------------------------------------------------------------------


def change_next(db: Session, *, now: datetime, batch: int = BATCH, checked: int = CHECKED_AT_A_TIME) -> bool:
    """Give the version to the next holders of the change that was asked for first, of any project.

    For the worker: at most `batch` purchases in this transaction, found among the next `checked` entitlements
    of the product. False where there is nothing to do.
    """
    change = db.exec(_due()).first()
    if change is None:
        return False
    scope = with_clock(db, Scope.of(change))
    given = _Given.of(db, scope, change)
    if change.total is None:
        change.total = _entitlements(db, scope, product_code=given.product_code)
    page = _next(db, scope, given, after=change.last_id, limit=checked, now=now)
    keys: set[str] = set()
    passed = 0
    for row in page:
        if row.needs_it and row.purchase_key not in keys:
            if len(keys) == batch:
                break
            keys.add(row.purchase_key)
        passed += 1
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


@dataclass(frozen=True, slots=True)
class _Given:
    """The version that holders are given."""

    product_code: str
    version: int
    terms: dict[str, Any]
    replaces: list[str]
    """The keys that any version of the product has, of those that holders can be given."""
    same: list[int]
    """The versions that give holders just the same."""

    @classmethod
    def of(cls, db: Session, scope: Scope, change: TermChange) -> _Given:
        product = catalog.product(db, scope, product_id=change.product_id)
        versions = catalog.versions_of(db, scope, product_id=change.product_id)
        terms = next(terms_for_holders(each.terms) for each in versions if each.version == change.version)
        replaces = sorted({key for each in versions for key in terms_for_holders(each.terms)})
        return cls(product.product_code, change.version, terms, replaces, same_versions(versions, terms))

    def fact(self, change: TermChange, key: str, at: datetime) -> FactDraft:
        repeated = f":{change.run}" if change.run > 1 else ""
        data = {
            "action": TERMS,
            "product_code": self.product_code,
            "version": self.version,
            "terms": self.terms,
            "replaces": self.replaces,
            "actor": change.requested_by,
            "note": "",
        }
        source_id = f"terms:{change.product_id}:{change.version}:{key}{repeated}"
        return FactDraft(FactSource.OPERATOR, source_id, "operator", key, at, data, key)


def same_versions(versions: Sequence[ProductTerms], terms: dict[str, Any]) -> list[int]:
    """The versions of a product that give holders these terms."""
    return [each.version for each in versions if terms_for_holders(each.terms) == terms]


def needs_version(same: Sequence[int], now: datetime) -> ColumnElement[bool]:
    """Whether an entitlement is on another version than these, and not over for good; `now` at Stripe."""
    columns = table_of(Entitlement).c
    is_over = (columns.ends_as == "expired") & columns.ends_at.is_not(None) & (columns.ends_at <= now)
    is_other = or_(columns.terms_version.is_(None), columns.terms_version.not_in(same))
    return (columns.state != State.CANCELED) & is_other & func.coalesce(~is_over, True)


@read_one
def _entitlements(scope: Scope, *, product_code: str) -> SelectOfScalar[int]:
    return select(func.count()).where(
        Entitlement.project_id == scope.project_id,
        Entitlement.mode == scope.mode,
        Entitlement.product_code == product_code,
    )


def _next(
    db: Session, scope: Scope, given: _Given, *, after: str, limit: int, now: datetime
) -> Sequence[Row[Any]]:
    columns = table_of(Entitlement).c
    needs_it = needs_version(given.same, scope.at(now)).label("needs_it")
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


def _change_purchases(
    db: Session, scope: Scope, change: TermChange, given: _Given, keys: Sequence[str], now: datetime
) -> None:
    """Record a fact for each of these purchases that still needs it, and write what they then give."""
    purchases = _locked_purchases(db, scope, keys)
    lock_customers(db, scope, subject_ids={each.subject_id for each in purchases if each.subject_id})
    needing = _locked_entitlements(db, scope, given, [each.key for each in purchases], now)
    purchases = [each for each in purchases if each.subject_id is not None and each.key in needing]
    record_facts(db, scope, [given.fact(change, each.key, scope.at(now)) for each in purchases], now=now)
    facts = recorded_facts_by_purchase(db, scope, purchase_keys=[each.key for each in purchases])
    writing = _Writing(db, change, bool(listeners(db, scope)), now)
    written = [each.key for each in purchases if writing.project(each, facts[each.key])]
    # Counted in the end: what an object of the session changes would be written at each savepoint.
    change.changed += sum(needing[key] for key in written)
    change.failed += len(purchases) - len(written)


def _locked_purchases(db: Session, scope: Scope, keys: Sequence[str]) -> list[LockedPurchase]:
    columns = table_of(Purchase).c
    names = ("key", "subject_id", "attempt_id", "finalized_at")
    statement = (
        core_select(*(columns[name] for name in names))
        .where(columns.project_id == scope.project_id, columns.mode == scope.mode, columns.key.in_(keys))
        .order_by(columns.key)
        .with_for_update()
    )
    found = db.connection().execute(statement)
    return [LockedPurchase(scope.project_id, scope.mode, **row._mapping) for row in found]


def _locked_entitlements(
    db: Session, scope: Scope, given: _Given, keys: Sequence[str], now: datetime
) -> dict[str, int]:
    """How many entitlements of each purchase need the version, now that nothing else writes them.

    All of a purchase are locked, in the order of their key: consuming locks packs in that order too.
    """
    columns = table_of(Entitlement).c
    is_given = columns.product_code == given.product_code
    needs_it = (is_given & needs_version(given.same, scope.at(now))).label("needs_it")
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
