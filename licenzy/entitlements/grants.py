"""What an operator may do by hand: grant, revoke, adjust, extend, lift. Each is a fact with its actor.

The verbs give what changed, before and after; nothing when the act with this `once` was done before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import DURATION_MAX_SECONDS, UNITS_MAX
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import give_purchase, lock_purchase, project_purchase, record_fact
from licenzy.entitlements.announcing import Because, Change
from licenzy.entitlements.models import Entitlement, Fact, FactSource, State
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import ensure_subject, hold_subject
from licenzy.workspace.audit import Actor, record

MAX_NOTE = 500
_LONGEST = timedelta(seconds=DURATION_MAX_SECONDS)
_LIFTABLE = frozenset({"refunded", "disputed"})


@dataclass(frozen=True, slots=True)
class Hand:
    """Who acts, where, when and why."""

    scope: Scope
    actor: Actor
    note: str
    now: datetime
    once: str | None = None
    """Names this act: what comes again under the same name was sent twice and is not done again."""

    @property
    def there(self) -> datetime:
        """The account's time, by which access is decided."""
        return self.scope.at(self.now)


def possible_acts(held: Entitlement) -> tuple[str, ...]:
    """The verbs below that have a point for this entitlement: `lift`, `extend`, `adjust`, `revoke`."""
    acts = ["lift"] if held.reason in _LIFTABLE else []
    if held.state is not State.CANCELED:
        acts += ["extend"] if held.ends_at is not None else []
        acts += ["adjust"] if held.kind is Kind.USAGE_PACK else []
        acts.append("revoke")
    return tuple(acts)


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
    if until is not None and not hand.there < until <= hand.there + _LONGEST:
        raise InvalidRequest(fields={"until": "must be in the future, and within 100 years"})
    if product.kind is Kind.TIME_PASS and until is None:
        raise InvalidRequest(fields={"until": "a time pass needs an end"})
    if units is not None and not 1 <= units <= UNITS_MAX:
        raise InvalidRequest(fields={"units": f"must be a whole number from 1 to {UNITS_MAX}"})
    subject = ensure_subject(db, hand.scope, subject_ref=subject_ref, now=hand.now)
    key = f"grant:{hand.once or new_id('fct')}"
    purchase = lock_purchase(db, hand.scope, key=key, now=hand.now)
    if purchase.subject_id is not None:
        return []
    give_purchase(db, purchase, subject_id=subject.id)
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
    return _act_on(db, hand, held, {"action": "revoke"}) if held is not None else []


def adjust_units(db: Session, hand: Hand, *, entitlement_id: str, units: int) -> list[Change]:
    """Add units to a pack, or take some that are neither used nor reserved. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    if held is None:
        return []
    if held.kind is not Kind.USAGE_PACK:
        raise InvalidRequest(fields={"units": "only a usage pack has units"})
    if units == 0 or abs(units) > UNITS_MAX:
        raise InvalidRequest(fields={"units": f"must be a whole number from 1 to {UNITS_MAX}"})
    if held.granted_units + units < held.used_units + held.reserved_units:
        raise InvalidRequest(fields={"units": "would take units that are used or reserved already"})
    _refuse_canceled(held)
    return _act_on(db, hand, held, {"action": "adjust", "units": units})


def extend(db: Session, hand: Hand, *, entitlement_id: str, seconds: int) -> list[Change]:
    """Let an entitlement with an end last longer. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    if held is None:
        return []
    if seconds < 1 or held.ends_at is None:
        raise InvalidRequest(fields={"seconds": "must lengthen something that has an end"})
    if seconds > DURATION_MAX_SECONDS or held.ends_at + timedelta(seconds=seconds) > hand.there + _LONGEST:
        raise InvalidRequest(fields={"seconds": "would make it last longer than 100 years from now"})
    _refuse_canceled(held)
    return _act_on(db, hand, held, {"action": "extend", "seconds": seconds})


def lift(db: Session, hand: Hand, *, entitlement_id: str) -> list[Change]:
    """Give access back although a refund or dispute took it; later ones count again. Raises NotFound."""
    held = _entitlement(db, hand, entitlement_id)
    if held is None:
        return []
    if held.reason not in _LIFTABLE:
        raise InvalidRequest("No refund or dispute stands against this entitlement.", hint="")
    return _act_on(db, hand, held, {"action": "lift"})


def _refuse_canceled(held: Entitlement) -> None:
    if held.state is State.CANCELED:
        raise InvalidRequest("What is canceled stays canceled.", hint="Grant the product instead.")


def _entitlement(db: Session, hand: Hand, entitlement_id: str) -> Entitlement | None:
    """The entitlement, locked behind its purchase and subject as events do it; its counters stand still.

    None when this very act has been done.
    """
    found = db.exec(_with_id(hand, entitlement_id)).first()
    if found is None:
        raise NotFound("There is no such entitlement.")
    lock_purchase(db, hand.scope, key=found.purchase_key, now=hand.now)
    if _was_done(db, hand):
        return None
    hold_subject(db, hand.scope, subject_id=found.subject_id)
    locked = _with_id(hand, entitlement_id).with_for_update().execution_options(populate_existing=True)
    return db.exec(locked).one()


def _was_done(db: Session, hand: Hand) -> bool:
    if hand.once is None:
        return False
    return (
        db.exec(
            select(Fact.id).where(
                Fact.project_id == hand.scope.project_id,
                Fact.mode == hand.scope.mode,
                Fact.source_id == _source_id(hand),
                Fact.kind == "operator",
            )
        ).first()
        is not None
    )


def _source_id(hand: Hand) -> str:
    return f"once:{hand.once}" if hand.once is not None else new_id("fct")


def _with_id(hand: Hand, entitlement_id: str) -> SelectOfScalar[Entitlement]:
    return select(Entitlement).where(
        Entitlement.project_id == hand.scope.project_id,
        Entitlement.mode == hand.scope.mode,
        Entitlement.id == entitlement_id,
    )


def _act_on(db: Session, hand: Hand, held: Entitlement, data: dict[str, Any]) -> list[Change]:
    data["item_key"] = held.item_key
    return _act(db, hand, purchase_key=held.purchase_key, about=held.id, data=data)


def _act(db: Session, hand: Hand, *, purchase_key: str, about: str, data: dict[str, Any]) -> list[Change]:
    if len(hand.note) > MAX_NOTE:
        raise InvalidRequest(fields={"note": f"must have at most {MAX_NOTE} characters"})
    record_fact(
        db,
        hand.scope,
        source=FactSource.OPERATOR,
        source_id=_source_id(hand),
        kind="operator",
        object_id=about,
        purchase_key=purchase_key,
        occurred_at=hand.there,
        data={**data, "actor": hand.actor.user_id, "note": hand.note},
        now=hand.now,
    )
    purchase = lock_purchase(db, hand.scope, key=purchase_key, now=hand.now)
    because = Because(Source.PORTAL, f"manual_{data['action']}", actor_user_id=hand.actor.user_id)
    changes = project_purchase(db, purchase, now=hand.now, because=because)
    record(
        db,
        actor=hand.actor,
        action=f"entitlement.{data['action']}",
        about=about,
        before=changes[0]["before"] if changes else None,
        after=changes[0]["after"] if changes else None,
        now=hand.now,
        project_id=hand.scope.project_id,
        mode=hand.scope.mode,
    )
    return changes
