"""Write docs/schemas from the code: `python -m tests.support.write_schemas`."""

from __future__ import annotations

import json
from pathlib import Path

from licenzy.deliveries.models import EventType
from tests.support.event_schemas import schema_of

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "schemas"


def text_of(event_type: EventType) -> str:
    """The file of a type."""
    return json.dumps(schema_of(event_type), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for each in EventType:
        (FOLDER / f"{each.value}.json").write_text(text_of(each), encoding="utf-8")
