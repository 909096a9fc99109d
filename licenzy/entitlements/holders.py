"""Giving a version of a product's terms to all who have the product: asked for, stopped and read here.

`holder_batches` does it.
"""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Session, col, func, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog import queries as catalog
from licenzy.catalog.models import Product
from licenzy.catalog.prices import lock_catalog
from licenzy.db.reads import read_all, read_first, read_one
from licenzy.entitlements.models import TermChange
from licenzy.errors import NotFound
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.workspace.audit import Actor, record


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


def stop_change(
    db: Session, scope: Scope, *, product_id: str, change_id: str, actor: Actor, now: datetime
) -> TermChange:
    """End a change before all holders have its version; who has it keeps it. Raises NotFound."""
    change = change_by_id(db, scope, change_id=change_id)
    if change is None or change.product_id != product_id:
        raise NotFound("This change of terms does not exist.")
    if change.ended_at is None:
        product = catalog.product(db, scope, product_id=product_id)
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
    """The change of a product's terms that the worker is at; its row is locked until the transaction ends."""
    return _changes(scope, product_id).where(col(TermChange.ended_at).is_(None)).with_for_update()


@read_all
def changes_of(scope: Scope, *, product_id: str) -> SelectOfScalar[TermChange]:
    """What was given to the holders of a product, the newest first."""
    return _changes(scope, product_id).order_by(col(TermChange.id).desc())


def _changes(scope: Scope, product_id: str) -> SelectOfScalar[TermChange]:
    return select(TermChange).where(
        TermChange.project_id == scope.project_id,
        TermChange.mode == scope.mode,
        TermChange.product_id == product_id,
    )


@read_first
def change_by_id(scope: Scope, *, change_id: str) -> SelectOfScalar[TermChange]:
    """One change; its row is locked until the transaction ends."""
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
