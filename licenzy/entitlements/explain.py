"""Why a subject may or may not proceed: the decision, the entitlement behind it, and its facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.entitlements.decision import decide
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.queries import facts_of


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `?explain=true` and the customer's page show."""

    allowed: bool
    reason: str | None
    deciding: Entitlement | None
    fact_ids: list[str] = field(default_factory=list)


def explain(
    db: Session,
    *,
    project_id: str,
    mode: Mode,
    held_in: Callable[[Mode], list[Entitlement]],
    now: datetime,
    product_code: str | None = None,
    feature: str | None = None,
) -> Explanation:
    """The decision for one subject, with the ids of the facts behind what decided it.

    `held_in` gives what the subject holds in a mode, as of `now`.
    When nothing is held here but the same ref would be allowed in the other mode of the same project,
    the reason is `held_in_other_mode`: a test key asking for what was bought in live, or the reverse.
    """
    narrowed: dict[str, Any] = {"product_code": product_code, "feature": feature}
    held = held_in(mode)
    decision = decide(held, now, **narrowed)
    if decision.allowed or decision.deciding is not None:
        facts: list[str] = []
        if decision.deciding is not None:
            key = decision.deciding.purchase_key
            facts = [f.id for f in facts_of(db, project_id=project_id, mode=mode, purchase_key=key)]
        return Explanation(decision.allowed, decision.reason, decision.deciding, facts)
    elsewhere = decide(held_in(mode.other), now, **narrowed)
    return Explanation(False, "held_in_other_mode" if elsewhere.allowed else decision.reason, None)
