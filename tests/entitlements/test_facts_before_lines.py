"""Facts recorded before the lines of invoices were kept give the entitlements that they gave then.

`facts_before_lines.json` holds purchases as an earlier version stored and projected them.
"""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from licenzy.entitlements.models import FactSource
from licenzy.entitlements.projected import RecordedFact
from licenzy.entitlements.projection import project

STORED = json.loads((Path(__file__).parent / "facts_before_lines.json").read_text(encoding="utf-8"))


def fact(stored: dict[str, Any]) -> RecordedFact:
    at = datetime.fromisoformat(stored["occurred_at"])
    return RecordedFact(
        kind=stored["kind"],
        source=FactSource(stored["source"]),
        source_id=stored["source_id"],
        object_id=stored["object_id"],
        occurred_at=at,
        data=stored["data"],
        recorded_at=at,
    )


def shown(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def item_key(entitlement: dict[str, Any]) -> str:
    return str(entitlement["item_key"])


@pytest.mark.parametrize("purchase", STORED, ids=range(len(STORED)))
def test_a_stored_purchase_keeps_its_meaning(purchase: dict[str, Any]) -> None:
    facts = [fact(stored) for stored in purchase["facts"]]
    random.Random(0).shuffle(facts)
    columns = {name for each in purchase["entitlements"] for name in each}
    got = [
        {name: shown(value) for name, value in asdict(each).items() if name in columns}
        for each in project(facts)
    ]
    assert sorted(got, key=item_key) == sorted(purchase["entitlements"], key=item_key)
