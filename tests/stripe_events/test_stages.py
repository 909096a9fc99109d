"""An event's way is one line: each stage takes what the one before it made, and none goes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from licenzy.stripe_events.read import CatalogChange, Nothing, read, session_found, subscription_found
from licenzy.stripe_gateway.shapes import Reading, read_event
from tests.house.test_imports import PACKAGE, imports
from tests.support.purchases import event

LINE = ("read", "lookup", "place", "record", "pipeline", "receive")
"""The stages in their order, `lookup` being what `place` reads; then who has them follow each other."""

PURE = (
    PACKAGE / "stripe_events" / "read.py",
    *(
        PACKAGE / "entitlements" / f"{name}.py"
        for name in (
            "projection",
            "projected",
            "subscriptions",
            "one_time",
            "operators",
            "ordering",
            "reversals",
            "fact_events",
        )
    ),
)
OUTSIDE = {"sqlalchemy", "sqlmodel", "requests", "httpx", "stripe", "time", "random"}
DOES_MORE = {"actions", "queries", "links", "settling", "untracked", "outbox", "upsert", "unit_of_work"}

SUBSCRIPTION = {
    "id": "sub_1",
    "object": "subscription",
    "status": "active",
    "items": {"data": [{"id": "si_1", "price": {"id": "price_1"}}]},
    "latest_invoice": {"id": "in_1", "object": "invoice", "status": "paid"},
}


@pytest.mark.parametrize("stage", LINE)
def test_a_stage_knows_only_those_before_it(stage: str) -> None:
    known = {name.removeprefix("licenzy.stripe_events.") for name in imports(_file(stage))}
    assert not known & set(LINE[LINE.index(stage) :])


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_reading_and_projecting_are_pure(path: Path) -> None:
    names = {name for name in imports(path) if name.startswith("licenzy.")}
    assert not {name.split(".")[0] for name in imports(path)} & OUTSIDE
    assert not {name.split(".")[-1] for name in names} & DOES_MORE


def test_a_reading_is_never_changed() -> None:
    reading = read(read_event(event("customer.subscription.updated", SUBSCRIPTION)))
    assert isinstance(reading, Reading)
    data: Any = reading.data
    changes: tuple[Callable[[], object], ...] = (
        lambda: data.update(sold=None),
        lambda: data.__setitem__("sold", None),
        lambda: data["items"].append({}),
        lambda: data["items"][0].pop("price"),
    )
    for change in changes:
        with pytest.raises(TypeError):
            change()
    with pytest.raises(AttributeError):
        reading.data = {}  # type: ignore[misc]
    more = reading.with_data(snapshot=1)
    assert (more.data["snapshot"], "snapshot" in reading.data) == (1, False)


def test_what_was_found_is_numbered_without_being_changed() -> None:
    found = subscription_found(SUBSCRIPTION)
    numbered = found.numbered(3)
    assert [each.data["snapshot"] for each in numbered.readings] == [3, 3]
    assert [each.data["event"] for each in numbered.readings] == ["snapshot", "snapshot"]
    assert not any("snapshot" in each.data for each in found.readings)
    assert found.readings[1].data["subscription"] == "sub_1"


def test_what_is_of_no_use_says_why() -> None:
    saved = {"id": "cs_1", "mode": "setup", "status": "complete", "payment_status": "no_payment_required"}
    told = read(read_event(event("checkout.session.completed", saved)))
    assert told == Nothing("A session that only saves a payment method grants nothing.")
    assert session_found(saved) is None
    assert read(read_event(event("payout.paid", {"id": "po_1"}))) == Nothing(
        "Access does not depend on payout.paid."
    )
    changed = read(read_event(event("price.updated", {"id": "price_1"})))
    assert changed == CatalogChange("price.updated", "price_1")


def _file(stage: str) -> Path:
    return PACKAGE / "stripe_events" / f"{stage}.py"
