"""Many subjects for the bench: the even ones are allowed, the odd ones hold nothing or something ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import insert

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db import migrate
from licenzy.entitlements.models import Entitlement, State
from licenzy.kit.ids import new_id
from licenzy.runtime import Runtime
from licenzy.subjects.models import Subject
from tests.support.cast import make_key, make_project, make_workspace

_BATCH = 5000


def fill(runtime: Runtime, *, subjects: int) -> str:
    """Write that many subjects into one project; gives an API key of it."""
    migrate.upgrade(runtime.database.engine)
    now = runtime.clock()
    with runtime.database.write() as db:
        project_id = make_project(db, workspace_id=make_workspace(db, now=now), now=now)
        _key, token = make_key(db, project_id=project_id, now=now)
    for first in range(0, subjects, _BATCH):
        people = [_subject(project_id, number, now) for number in range(first, min(first + _BATCH, subjects))]
        held = [_held(person, number, now) for number, person in enumerate(people, first) if number % 4 != 3]
        with runtime.database.write() as db:
            db.execute(insert(Subject), people)
            db.execute(insert(Entitlement), held)
    return token


def _subject(project_id: str, number: int, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("sbj"),
        "project_id": project_id,
        "mode": Mode.TEST,
        "subject_ref": f"user_{number}",
        "created_at": now,
    }


def _held(person: dict[str, Any], number: int, now: datetime) -> dict[str, Any]:
    """A subscription in force for even numbers, one that was canceled for odd ones."""
    allowed = number % 2 == 0
    return {
        "id": new_id("ent"),
        "project_id": person["project_id"],
        "mode": Mode.TEST,
        "subject_id": person["id"],
        "purchase_key": f"sub_{number}",
        "item_key": "",
        "product_code": "PRO_MONTHLY",
        "kind": Kind.SUBSCRIPTION,
        "features": ["export"],
        "quantity": 1,
        "source": "stripe",
        "state": State.ACTIVE if allowed else State.CANCELED,
        "starts_at": now - timedelta(days=3),
        "valid_until": now + timedelta(days=27),
        "ends_at": now + timedelta(days=30),
        "ends_as": "renewal_unconfirmed",
        "granted_units": 0,
        "used_units": 0,
        "reserved_units": 0,
        "created_at": now,
        "updated_at": now,
    }
