"""A feature or a limit that an operator sets for one subject, whatever it has bought.

Its facts are those of a purchase of the subject's own, `override:<subject id>`, with one row for each feature
and each limit. Such a row gives no access and hides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session

from licenzy.catalog.rules import DURATION_MAX_SECONDS, LIMIT_VALUE_MAX, valid_feature_code
from licenzy.entitlements.actions import give_purchase, lock_purchase
from licenzy.entitlements.decision import standing
from licenzy.entitlements.events import Change
from licenzy.entitlements.grants import OperatorContext, act, was_done
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import overrides_of, recorded_facts
from licenzy.errors import InvalidRequest, NotFound
from licenzy.kit.clock import to_micros
from licenzy.projects.scope import Scope
from licenzy.subjects.models import Subject

OVERRIDES_MAX = 100
"""How many a subject has at the most; each is read by every check of the subject."""
_LONGEST = timedelta(seconds=DURATION_MAX_SECONDS)


@dataclass(frozen=True, slots=True)
class Override:
    """What is set: a feature, or a limit with its value."""

    feature: str | None = None
    limit: str | None = None
    value: int | None = None
    """Of the limit; None is unlimited."""

    @property
    def item_key(self) -> str:
        """What the row is called among those of its subject: a feature and a limit may share a code."""
        return f"feature:{self.feature}" if self.limit is None else f"limit:{self.limit}"


def purchase_key(subject_id: str) -> str:
    """The purchase whose facts are the overrides of a subject."""
    return f"override:{subject_id}"


def set_override(
    db: Session,
    operator: OperatorContext,
    *,
    subject: Subject,
    override: Override,
    until: datetime | None = None,
) -> list[Change]:
    """Set a feature or a limit for a subject, until an instant or for good, in place of an earlier one.

    Raises InvalidRequest with `fields`.
    """
    code = override.feature if override.limit is None else override.limit
    if code is None or not valid_feature_code(code):
        raise InvalidRequest(fields={"code": "must be 1 to 64 letters, digits, `_`, `.` or `-`"})
    if override.value is not None and not 0 <= override.value <= LIMIT_VALUE_MAX:
        raise InvalidRequest(fields={"value": f"must be a whole number from 0 to {LIMIT_VALUE_MAX}"})
    if until is not None and not operator.there < until <= operator.there + _LONGEST:
        raise InvalidRequest(fields={"until": "must be in the future, and within 100 years"})
    key = purchase_key(subject.id)
    purchase = lock_purchase(db, operator.scope, key=key, now=operator.now)
    if was_done(db, operator):
        return []
    there = overrides_of(db, operator.scope, subject_id=subject.id)
    if len(there) >= OVERRIDES_MAX and all(each.item_key != override.item_key for each in there):
        raise InvalidRequest(fields={"code": f"at most {OVERRIDES_MAX} can be set for one customer"})
    if purchase.subject_id is None:
        give_purchase(db, purchase, subject_id=subject.id)
    data: dict[str, Any] = {
        "action": "override",
        "item_key": override.item_key,
        "feature": override.feature,
        "limit": override.limit,
        "value": override.value,
        "until": to_micros(until) if until is not None else None,
    }
    return _act(db, operator, subject, data)


def remove_override(
    db: Session, operator: OperatorContext, *, subject: Subject, override_id: str
) -> list[Change]:
    """Take away what was set, from now on. Raises NotFound."""
    key = purchase_key(subject.id)
    lock_purchase(db, operator.scope, key=key, now=operator.now)
    if was_done(db, operator):
        return []
    found = _in_force(overrides_of(db, operator.scope, subject_id=subject.id), operator.there)
    row = next((each for each in found if each.id == override_id), None)
    if row is None:
        raise NotFound("This override does not exist, or is over.")
    return _act(db, operator, subject, {"action": "remove_override", "item_key": row.item_key})


def overrides_in_force(db: Session, scope: Scope, *, subject_id: str, now: datetime) -> list[Entitlement]:
    """What is set for the subject at `now`, in the order of its codes."""
    found = _in_force(overrides_of(db, scope, subject_id=subject_id), now)
    return sorted(found, key=lambda each: each.item_key)


def _act(db: Session, operator: OperatorContext, subject: Subject, data: dict[str, Any]) -> list[Change]:
    """Record an act under the lock of the purchase, numbered: clocks do not tell which was the later one."""
    key = purchase_key(subject.id)
    number = len(recorded_facts(db, operator.scope, purchase_key=key)) + 1
    return act(db, operator, purchase_key=key, about=subject.subject_ref, data={**data, "number": number})


def _in_force(rows: list[Entitlement], now: datetime) -> list[Entitlement]:
    return [each for each in rows if standing(each, now).available]
