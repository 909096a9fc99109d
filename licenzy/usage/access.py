"""The one answer to "may this subject proceed, right now?", with its reason and the evidence for it.

It stands here and not among the entitlements because reservations are part of it: units that a reservation
holds are not free, and are free again once its time is up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import time_of
from licenzy.entitlements.decision import decide
from licenzy.entitlements.models import Entitlement
from licenzy.usage.queries import held_by_refs


@dataclass(frozen=True, slots=True)
class Access:
    """Whether a subject may proceed, and why."""

    allowed: bool
    reason: str | None
    """A reason of SPEC 6; none when allowed."""
    deciding: Entitlement | None
    """The entitlement that allows it, or the nearest miss; none where nothing that was asked for is held."""
    held: Sequence[Entitlement]
    """Everything that the subject holds or held in this mode, newest first."""


def access_of(
    db: Session,
    *,
    project_id: str,
    mode: Mode,
    subject_refs: Sequence[str],
    now: datetime,
    asked_at: datetime,
    product_code: str | None = None,
    feature: str | None = None,
) -> dict[str, Access]:
    """The answer for each of these subjects, known or not, in a read of each mode at the most.

    `now` is the time of this mode, and `asked_at` the installation's own, from which the other mode's is
    told. Where nothing that was asked for is held here, but the same ref would be allowed in the project's
    other mode, the reason is `held_in_other_mode`: a test key asking for what was bought in live, or the
    reverse. Nothing else is told of the other mode.
    """
    scope: dict[str, Any] = {"project_id": project_id, "mode": mode}
    wanted: dict[str, Any] = {"product_code": product_code, "feature": feature}
    held = held_by_refs(db, **scope, subject_refs=subject_refs, now=now)
    answers: dict[str, Access] = {}
    for ref in subject_refs:
        here = held.get(ref, [])
        answers[ref] = Access(*decide(here, now, **wanted), held=here)
    elsewhere = [ref for ref, answer in answers.items() if answer.deciding is None]
    if not elsewhere:
        return answers
    scope["mode"] = mode.other
    there = time_of(connection_of(db, **scope), asked_at)
    for ref, rows in held_by_refs(db, **scope, subject_refs=elsewhere, now=there).items():
        if decide(rows, there, **wanted).allowed:
            answers[ref] = replace(answers[ref], reason="held_in_other_mode")
    return answers
