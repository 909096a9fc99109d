"""What an operator may do by hand: grant, revoke, adjust, extend, lift. Each is a fact with its actor.

The verbs give what changed, before and after; nothing when the act with this `submission_id` was done before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import DURATION_MAX_SECONDS, INCLUDING_KINDS, limit_terms
from licenzy.catalog.unit_names import UNITS_MAX
from licenzy.deliveries.models import Source
from licenzy.entitlements.actions import give_purchase, lock_purchase, project_purchase, record_fact
from licenzy.entitlements.events import Change, ChangeCause
from licenzy.entitlements.models import NO_ENTITLEMENT, Entitlement, Fact, FactSource, State
from licenzy.entitlements.window_counters import due_window, own_spent
from licenzy.entitlements.window_rows import OpenWindows
from licenzy.entitlements.windows import Window, included_of, whole_seconds
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.clock import to_micros
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.subjects.actions import ensure_subject, lock_customer
from licenzy.workspace.audit import Actor, record

MAX_NOTE = 500
_LONGEST = timedelta(seconds=DURATION_MAX_SECONDS)
_LIFTABLE = frozenset({"refunded", "disputed"})


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """Who acts, where, when and why."""

    scope: Scope
    actor: Actor
    note: str
    now: datetime
    submission_id: str | None = None
    """Names this act: what comes again under the same name was sent twice and is not done again."""

    @property
    def there(self) -> datetime:
        """The account's time, by which access is decided."""
        return self.scope.at(self.now)


def allowed_actions(entitlement: Entitlement) -> tuple[str, ...]:
    """The verbs below that have a point for this entitlement, by the names that forms have for them."""
    acts = ["lift"] if entitlement.reason in _LIFTABLE else []
    if entitlement.state is not State.CANCELED:
        acts += ["extend"] if entitlement.ends_at is not None else []
        acts += ["adjust"] if entitlement.kind is Kind.USAGE_PACK else []
        acts += ["adjust_included"] if entitlement.included else []
        acts.append("revoke")
    return tuple(acts)


def grant(
    db: Session,
    operator: OperatorContext,
    *,
    subject_ref: str,
    product: Product,
    until: datetime | None = None,
    units: int | None = None,
) -> list[Change]:
    """Give a subject a product without a purchase, until an instant or for good; packs with their units."""
    if until is not None and not operator.there < until <= operator.there + _LONGEST:
        raise InvalidRequest(fields={"until": "must be in the future, and within 100 years"})
    if product.kind is Kind.TIME_PASS and until is None:
        raise InvalidRequest(fields={"until": "a time pass needs an end"})
    if units is not None and not 1 <= units <= UNITS_MAX:
        raise InvalidRequest(fields={"units": f"must be a whole number from 1 to {UNITS_MAX}"})
    subject = ensure_subject(db, operator.scope, subject_ref=subject_ref, now=operator.now)
    key = f"grant:{operator.submission_id or new_id('fct')}"
    purchase = lock_purchase(db, operator.scope, key=key, now=operator.now)
    if purchase.subject_id is not None:
        return []
    give_purchase(db, purchase, subject_id=subject.id)
    data: dict[str, Any] = {
        "action": "grant",
        "product_code": product.product_code,
        "kind": product.kind.value,
        "version": product.terms_version,
        "features": list(product.features),
        **limit_terms(product),
        "units": (units or product.units) if product.kind is Kind.USAGE_PACK else None,
        "until": to_micros(until) if until is not None else None,
    }
    if product.kind is Kind.USAGE_PACK:
        data["unit"] = product.unit
    if product.kind in INCLUDING_KINDS and product.included:
        data["included"] = [dict(line) for line in product.included]
    return act(db, operator, purchase_key=key, about=subject_ref, data=data)


def revoke(db: Session, operator: OperatorContext, *, entitlement_id: str) -> list[Change]:
    """End an entitlement now, whatever Stripe says of it. Raises NotFound."""
    entitlement = _entitlement(db, operator, entitlement_id)
    return _act_on(db, operator, entitlement, {"action": "revoke"}) if entitlement is not None else []


def adjust_units(db: Session, operator: OperatorContext, *, entitlement_id: str, units: int) -> list[Change]:
    """Add units to a pack, or take some that are neither used nor reserved. Raises NotFound."""
    entitlement = _entitlement(db, operator, entitlement_id)
    if entitlement is None:
        return []
    if entitlement.kind is not Kind.USAGE_PACK:
        raise InvalidRequest(fields={"units": "only a usage pack has units"})
    _check_units(units)
    if entitlement.granted_units + units < entitlement.used_units + entitlement.reserved_units:
        raise _would_take_used_units()
    _refuse_canceled(entitlement)
    return _act_on(db, operator, entitlement, {"action": "adjust", "units": units})


def adjust_included(
    db: Session, operator: OperatorContext, *, entitlement_id: str, unit: str, units: int
) -> list[Change]:
    """Add units to the present window of a unit that an entitlement includes, or take some. Raises NotFound.

    Only units that are neither used nor reserved are taken. The next window is as large as ever.
    """
    locked = _locked(db, operator, entitlement_id)
    if locked is None:
        return []
    entitlement = locked.entitlement
    _check_units(units)
    _refuse_canceled(entitlement)
    present = _present_window(locked, unit, operator.there)
    if present is None:
        raise InvalidRequest(fields={"unit": "has no window now: its first period is not paid"})
    window, taken = present
    if units < 0 and window.units + units < taken:
        raise _would_take_used_units()
    return _act_on(
        db,
        operator,
        entitlement,
        {"action": "adjust_window", "unit": unit, "starts_at": window.starts_at, "units": units},
        {
            "entitlement": entitlement.id,
            "before": {"unit": unit, "included_units": window.units},
            "after": {"unit": unit, "included_units": window.units + units},
        },
    )


def _present_window(locked: _LockedEntitlement, unit: str, now: datetime) -> tuple[Window, int] | None:
    """The window of a unit that a call at `now` would draw, and what has been taken of its own units."""
    included = next((each for each in included_of(locked.entitlement.included) if each.unit == unit), None)
    if included is None:
        return None
    row = max((each for each in locked.windows if each.unit == unit), key=_begun, default=None)
    due = due_window(included, row, now)
    if due is not None:
        return due.window, max(0, due.overdrawn_units - due.carried_units)
    if row is None:
        return None
    window = included.sized(_begun(row))
    return (window, own_spent(row)) if window is not None else None


def _begun(row: Any) -> int:
    return whole_seconds(row.starts_at)


def _check_units(units: int) -> None:
    if units == 0 or abs(units) > UNITS_MAX:
        raise InvalidRequest(fields={"units": f"must be a whole number from 1 to {UNITS_MAX}"})


def _would_take_used_units() -> InvalidRequest:
    return InvalidRequest(fields={"units": "would remove units that are already used or reserved"})


def extend(db: Session, operator: OperatorContext, *, entitlement_id: str, seconds: int) -> list[Change]:
    """Let an entitlement with an end last longer. Raises NotFound."""
    entitlement = _entitlement(db, operator, entitlement_id)
    if entitlement is None:
        return []
    if seconds < 1 or entitlement.ends_at is None:
        raise InvalidRequest(fields={"seconds": "must extend an entitlement that has an end"})
    if (
        seconds > DURATION_MAX_SECONDS
        or entitlement.ends_at + timedelta(seconds=seconds) > operator.there + _LONGEST
    ):
        raise InvalidRequest(fields={"seconds": "must not move the end more than 100 years ahead"})
    _refuse_canceled(entitlement)
    return _act_on(db, operator, entitlement, {"action": "extend", "seconds": seconds})


def lift(db: Session, operator: OperatorContext, *, entitlement_id: str) -> list[Change]:
    """Give access back although a refund or dispute took it; later ones count again. Raises NotFound."""
    entitlement = _entitlement(db, operator, entitlement_id)
    if entitlement is None:
        return []
    if entitlement.reason not in _LIFTABLE:
        raise InvalidRequest("No refund or dispute counts against this entitlement.", hint="")
    return _act_on(db, operator, entitlement, {"action": "lift"})


def _refuse_canceled(entitlement: Entitlement) -> None:
    if entitlement.state is State.CANCELED:
        raise InvalidRequest("A canceled entitlement stays canceled.", hint="Grant the product instead.")


class _LockedEntitlement(NamedTuple):
    """An entitlement whose counters stand still, with its open windows."""

    entitlement: Entitlement
    windows: Sequence[Any]


def _entitlement(db: Session, operator: OperatorContext, entitlement_id: str) -> Entitlement | None:
    locked = _locked(db, operator, entitlement_id)
    return locked.entitlement if locked is not None else None


def _locked(db: Session, operator: OperatorContext, entitlement_id: str) -> _LockedEntitlement | None:
    """The entitlement, locked behind its purchase, subject and windows as events do it.

    None when this very act has been done.
    """
    found = db.exec(_with_id(operator, entitlement_id)).first()
    if found is None:
        raise NotFound("This entitlement does not exist.")
    lock_purchase(db, operator.scope, key=found.purchase_key, now=operator.now)
    if was_done(db, operator):
        return None
    lock_customer(db, operator.scope, subject_id=found.subject_id)
    # What it includes may have changed until its purchase was held.
    db.refresh(found)
    holders = [found.id] if found.included is not None else []
    windows = OpenWindows.locked(db, operator.scope, holders)
    locked = _with_id(operator, entitlement_id).with_for_update().execution_options(populate_existing=True)
    return _LockedEntitlement(db.exec(locked).one(), windows.rows)


def was_done(db: Session, operator: OperatorContext) -> bool:
    """Whether the act of this name was done before."""
    if operator.submission_id is None:
        return False
    return (
        db.exec(
            select(Fact.id).where(
                Fact.project_id == operator.scope.project_id,
                Fact.mode == operator.scope.mode,
                Fact.source_id == _source_id(operator),
                Fact.kind == "operator",
            )
        ).first()
        is not None
    )


def _source_id(operator: OperatorContext) -> str:
    return f"once:{operator.submission_id}" if operator.submission_id is not None else new_id("fct")


def _with_id(operator: OperatorContext, entitlement_id: str) -> SelectOfScalar[Entitlement]:
    return select(Entitlement).where(
        Entitlement.project_id == operator.scope.project_id,
        Entitlement.mode == operator.scope.mode,
        Entitlement.id == entitlement_id,
        col(Entitlement.source).not_in(NO_ENTITLEMENT),
    )


def _act_on(
    db: Session,
    operator: OperatorContext,
    entitlement: Entitlement,
    data: dict[str, Any],
    changed: Change | None = None,
) -> list[Change]:
    data["item_key"] = entitlement.item_key
    return act(
        db,
        operator,
        purchase_key=entitlement.purchase_key,
        about=entitlement.id,
        data=data,
        changed=changed,
    )


def act(
    db: Session,
    operator: OperatorContext,
    *,
    purchase_key: str,
    about: str,
    data: dict[str, Any],
    changed: Change | None = None,
) -> list[Change]:
    """Record an act on a purchase as a fact, write what it changes, and note it in the audit log.

    `about` is what the fact and the log name; `changed` is what it changes besides the columns that are
    shown. Raises InvalidRequest for a note that is too long.
    """
    if len(operator.note) > MAX_NOTE:
        raise InvalidRequest(fields={"note": f"must have at most {MAX_NOTE} characters"})
    record_fact(
        db,
        operator.scope,
        source=FactSource.OPERATOR,
        source_id=_source_id(operator),
        kind="operator",
        object_id=about,
        purchase_key=purchase_key,
        occurred_at=operator.there,
        data={**data, "actor": operator.actor.user_id, "note": operator.note},
        now=operator.now,
    )
    purchase = lock_purchase(db, operator.scope, key=purchase_key, now=operator.now)
    cause = ChangeCause(Source.PORTAL, f"manual_{data['action']}", actor_user_id=operator.actor.user_id)
    changes = project_purchase(db, purchase, now=operator.now, cause=cause)
    changes += [changed] if changed is not None else []
    record(
        db,
        actor=operator.actor,
        action=f"entitlement.{data['action']}",
        about=about,
        before=changes[0]["before"] if changes else None,
        after=changes[0]["after"] if changes else None,
        now=operator.now,
        project_id=operator.scope.project_id,
        mode=operator.scope.mode,
    )
    return changes
