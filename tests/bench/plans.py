"""Subjects with a plan of three included units, one window before and two packs: `plan_0`, `plan_1`, …

They are added to what `shop` has made, by the version that sells them: `python -m tests.bench.plans`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import insert
from sqlmodel import Session, select

from licenzy.catalog.models import Kind
from licenzy.db.tables import Table
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Entitlement, State, UsageWindow
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows import Level, Stretch, UnitWindows, whole_seconds, windows_of
from licenzy.factory import make_runtime
from licenzy.projects.models import Project
from licenzy.settings import load_settings
from licenzy.subjects.models import Subject
from tests.bench.shop import PACKS, UNITS

_INCLUDED = ("images", "pages", "seconds")
_MONTH, _YEAR = timedelta(days=31), timedelta(days=365)


def main() -> None:
    runtime = make_runtime(load_settings())
    with runtime.database.write() as db:
        project_id = db.exec(select(Project.id)).one()
        _fill(db, {"project_id": project_id, "mode": "test"}, datetime.now(UTC).replace(microsecond=0))
    runtime.database.close()


def _fill(db: Session, side: dict[str, str], now: datetime) -> None:
    began = now - timedelta(days=40)
    included = [_windows(unit, began) for unit in _INCLUDED]
    subjects, entitlements, windows = [], [], []
    for n in range(PACKS):
        subject_id = f"sbj_l{n:026}"
        subjects.append({**side, "id": subject_id, "subject_ref": f"plan_{n}", "created_at": now})
        plan = {
            **side,
            "id": f"ent_l{n:026}",
            "subject_id": subject_id,
            "purchase_key": f"sub_plan_{n}",
            "item_key": "si",
            "product_code": "PLAN",
            "kind": Kind.SUBSCRIPTION,
            "features": ["export"],
            "quantity": 1,
            "source": "stripe",
            "state": State.ACTIVE,
            "starts_at": began,
            "valid_until": now + _YEAR,
            "ends_at": now + _YEAR,
            "ends_as": "renewal_unconfirmed",
            "unit": "units",
            "granted_units": 0,
            "used_units": 0,
            "reserved_units": 0,
            "included": [each.to_json() for each in included],
            "windows_due_at": now + timedelta(days=300),
            "created_at": began,
            "updated_at": began,
        }
        entitlements.append(plan)
        for number in range(2):
            pack = {
                "id": f"ent_l{number}{n:026}",
                "purchase_key": f"cs_plan_{number}_{n}",
                "item_key": "",
                "product_code": "CREDITS",
                "kind": Kind.USAGE_PACK,
                "ends_at": None,
                "ends_as": "expired",
                "valid_until": None,
                "unit": "images",
                "granted_units": UNITS,
                "included": None,
                "windows_due_at": None,
            }
            entitlements.append(plan | pack)
        for unit in _INCLUDED:
            before = _row(plan, unit, began, 0)
            windows += [before, _row(plan, unit, began + _MONTH, None)]
    for model, rows in ((Subject, subjects), (Entitlement, entitlements), (UsageWindow, windows)):
        _insert(db, model, rows)


def _windows(unit: str, began: datetime) -> UnitWindows:
    start = whole_seconds(began)
    end = whole_seconds(began + _YEAR)
    carries: TermVersions[int | None] = TermVersions(0)
    stretch = Stretch(start, end, start, "month", start, carries, [Level(start, TermVersions(UNITS))])
    found = windows_of(unit, None, [stretch], {})
    assert found is not None
    return found


def _row(plan: dict[str, object], unit: str, starts_at: datetime, spent: int | None) -> dict[str, object]:
    return {
        "project_id": plan["project_id"],
        "mode": plan["mode"],
        "entitlement_id": plan["id"],
        "unit": unit,
        "starts_at": starts_at,
        "ends_at": starts_at + _MONTH,
        "subject_id": plan["subject_id"],
        "holder_id": plan["id"],
        "granted_units": UNITS,
        "carried_units": 0,
        "used_units": 0,
        "reserved_units": 0,
        "overdrawn_units": 0,
        "opened_at": starts_at,
        "spent_at_end": spent,
    }


def _insert(db: Session, model: type[Table], rows: list[dict[str, object]]) -> None:
    db.connection().execute(insert(table_of(model)), rows)


if __name__ == "__main__":
    main()
