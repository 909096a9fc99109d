"""What an operator may do by hand: grant, revoke, adjust, extend, lift. Each is a fact with its actor."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.actions import Change, lock_purchase, project_purchase, record_fact
from licenzy.entitlements.models import Entitlement, FactSource
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.subjects.actions import ensure_subject
from licenzy.workspace.audit import Actor, record

MAX_NOTE = 500


@dataclass(frozen=True, slots=True)
class Hand:
    """Who acts, where, when and why."""

    project_id: str
    mode: Mode
    actor: Actor
    note: str
    now: datetime

    @property
    def scope(self) -> dict[str, Any]:
        return {"project_id": self.project_id, "mode": self.mode}


def grant(
    db: Session,
    hand: Hand,
    *,
    subject_ref: str,
    product: Product,
    until: datetime | None = None,
    units: int | None = None,
) -> list[Change]:
    """Give a subject a product without a purchase, until an instant or for good; packs with their units."""
    if until is not None and until <= hand.now:
        raise InvalidRequest(fields={"until": "must be in the future"})
    if product.kind is Kind.TIME_PASS and until is None:
        raise InvalidRequest(fields={"until": "a time pass needs an end"})
    subject = ensure_subject(db, subject_ref=subject_ref, now=hand.now, **hand.scope)
    key = f"grant:{new_id('fct')}"
    purchase = lock_purchase(db, key=key, now=hand.now, **hand.scope)
    purchase.subject_id = subject.id
    data = {
        "action": "grant",
        "product_code": product.product_code,
        "kind": product.kind.value,
        "features": list(product.features),
        "units": (units or product.units) if product.kind is Kind.USAGE_PACK else None,
        "until": to_micros(until) if until is not None else None,
    }
    return _act(db, hand, purchase_key=key, about=subject_ref, data=data)


def revoke(db: Session, hand: Hand, *, entitlement_id: str) -> list[Change]:
    """End an entitlement now, whatever Stripe says of it. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    return _act_on(db, hand, held, {"action": "revoke"})


def adjust_units(db: Session, hand: Hand, *, entitlement_id: str, units: int) -> list[Change]:
    """Add units to a pack, or take some that are neither used nor reserved. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    if held.kind is not Kind.USAGE_PACK:
        raise InvalidRequest(fields={"units": "only a usage pack has units"})
    if held.granted_units + units < held.used_units + held.reserved_units:
        raise InvalidRequest(fields={"units": "would take units that are used or reserved already"})
    return _act_on(db, hand, held, {"action": "adjust", "units": units})


def extend(db: Session, hand: Hand, *, entitlement_id: str, seconds: int) -> list[Change]:
    """Let an entitlement with an end last longer. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    if seconds < 1 or held.ends_at is None:
        raise InvalidRequest(fields={"seconds": "must lengthen something that has an end"})
    return _act_on(db, hand, held, {"action": "extend", "seconds": seconds})


def lift(db: Session, hand: Hand, *, entitlement_id: str) -> list[Change]:
    """Give access back although a refund or dispute took it; later ones count again. Raises NotFound."""
    return _act_on(db, hand, _entitlement(db, hand, entitlement_id), {"action": "lift"})


def _entitlement(db: Session, hand: Hand, entitlement_id: str) -> Entitlement:
    """The entitlement, locked behind its purchase as events do it, so that its counters stand still."""
    found = db.exec(_with_id(hand, entitlement_id)).first()
    if found is None:
        raise NotFound("There is no such entitlement.")
    lock_purchase(db, key=found.purchase_key, now=hand.now, **hand.scope)
    locked = _with_id(hand, entitlement_id).with_for_update().execution_options(populate_existing=True)
    return db.exec(locked).one()


def _with_id(hand: Hand, entitlement_id: str) -> SelectOfScalar[Entitlement]:
    return select(Entitlement).where(
        Entitlement.project_id == hand.project_id,
        Entitlement.mode == hand.mode,
        Entitlement.id == entitlement_id,
    )


def _act_on(db: Session, hand: Hand, held: Entitlement, data: dict[str, Any]) -> list[Change]:
    data["item_key"] = held.item_key
    return _act(db, hand, purchase_key=held.purchase_key, about=held.id, data=data)


def _act(db: Session, hand: Hand, *, purchase_key: str, about: str, data: dict[str, Any]) -> list[Change]:
    if len(hand.note) > MAX_NOTE:
        raise InvalidRequest(fields={"note": f"must have at most {MAX_NOTE} characters"})
    action_id = new_id("fct")
    record_fact(
        db,
        source=FactSource.OPERATOR,
        source_id=action_id,
        kind="operator",
        object_id=about,
        purchase_key=purchase_key,
        occurred_at=hand.now,
        data={**data, "actor": hand.actor.user_id, "note": hand.note},
        now=hand.now,
        **hand.scope,
    )
    purchase = lock_purchase(db, key=purchase_key, now=hand.now, **hand.scope)
    changes = project_purchase(db, purchase, now=hand.now)
    record(
        db,
        actor=hand.actor,
        action=f"entitlement.{data['action']}",
        about=about,
        before=changes[0]["before"] if changes else None,
        after=changes[0]["after"] if changes else None,
        now=hand.now,
        **hand.scope,
    )
    return changes
