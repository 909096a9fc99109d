"""`decide` and `standing`: tables of cases, one row for each sentence of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.entitlements.decision import best_status, decide, remaining, standing
from licenzy.entitlements.models import State
from tests.support.clock import START

DAY = timedelta(days=1)
NOW = START


@dataclass
class Row:
    product_code: str = "PRO"
    features: tuple[str, ...] = ()
    kind: Kind = Kind.SUBSCRIPTION
    state: State = State.ACTIVE
    reason: str | None = None
    starts_at: datetime = NOW - DAY
    ends_at: datetime | None = NOW + DAY
    ends_as: str | None = "renewal_unconfirmed"
    granted_units: int = 0
    used_units: int = 0
    reserved_units: int = 0
    voided_at: datetime | None = None
    source: str = "stripe"
    limits: Mapping[str, int | None] = field(default_factory=dict)
    adds: bool = False
    quantity: int = 1


def pack(**changes: Any) -> Row:
    return Row(
        **{"kind": Kind.USAGE_PACK, "ends_at": None, "ends_as": "expired", "granted_units": 10, **changes}
    )


STANDINGS: list[tuple[str, Row, tuple[str, bool, str | None]]] = [
    ("active", Row(), ("active", True, None)),
    ("trialing", Row(state=State.TRIALING), ("trialing", True, None)),
    ("ends now", Row(ends_at=NOW), ("expired", False, "renewal_unconfirmed")),
    ("ends in a microsecond", Row(ends_at=NOW + timedelta(microseconds=1)), ("active", True, None)),
    ("scheduled cancel passed", Row(ends_at=NOW, ends_as="canceled"), ("canceled", False, "canceled")),
    ("never ends", Row(ends_at=None), ("active", True, None)),
    ("past due within grace", Row(state=State.PAST_DUE, ends_as="past_due"), ("past_due", True, None)),
    ("past due, grace over", Row(state=State.PAST_DUE, ends_at=NOW, ends_as="past_due"),
     ("past_due", False, "past_due")),
    ("unpaid", Row(state=State.SUSPENDED, reason="past_due"), ("suspended", False, "past_due")),
    ("refunded subscription", Row(state=State.SUSPENDED, reason="refunded"),
     ("past_due", False, "refunded")),
    ("disputed subscription", Row(state=State.SUSPENDED, reason="disputed"),
     ("past_due", False, "disputed")),
    ("disputed pack", pack(state=State.SUSPENDED, reason="disputed"), ("suspended", False, "disputed")),
    ("paused", Row(state=State.PAUSED), ("paused", False, "paused")),
    ("canceled", Row(state=State.CANCELED), ("canceled", False, "canceled")),
    ("canceled by refund", Row(state=State.CANCELED, reason="refunded"), ("canceled", False, "refunded")),
    ("not started", Row(kind=Kind.TIME_PASS, starts_at=NOW + DAY, ends_at=NOW + 2 * DAY),
     ("active", False, "not_started")),
    ("starts now", Row(kind=Kind.TIME_PASS, starts_at=NOW), ("active", True, None)),
    ("pass over", Row(kind=Kind.TIME_PASS, ends_at=NOW, ends_as="expired"), ("expired", False, "expired")),
    ("pack", pack(), ("active", True, None)),
    ("pack spent", pack(used_units=10), ("exhausted", False, "exhausted")),
    ("pack reserved", pack(used_units=4, reserved_units=6), ("exhausted", False, "exhausted")),
    ("pack voided", pack(voided_at=NOW), ("canceled", False, "canceled")),
    ("pack expired", pack(ends_at=NOW), ("expired", False, "expired")),
]  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), [r[1:] for r in STANDINGS], ids=[r[0] for r in STANDINGS])
def test_standing(given: Row, expected: tuple[str, bool, str | None]) -> None:
    assert standing(given, NOW) == expected


DECISIONS: list[tuple[str, list[Row], dict[str, str], tuple[bool, str | None]]] = [
    ("nothing", [], {}, (False, "no_entitlement")),
    ("one", [Row()], {}, (True, None)),
    ("any of several", [Row(state=State.CANCELED), Row()], {}, (True, None)),
    ("the nearest miss", [Row(state=State.CANCELED), Row(state=State.PAUSED)], {}, (False, "paused")),
    ("the product", [Row()], {"product_code": "PRO"}, (True, None)),
    ("another product", [Row()], {"product_code": "MAX"}, (False, "product_not_held")),
    ("codes have a case", [Row()], {"product_code": "pro"}, (False, "product_not_held")),
    ("the feature", [Row(features=("export",))], {"feature": "export"}, (True, None)),
    ("another feature", [Row()], {"feature": "export"}, (False, "feature_not_held")),
    ("nothing, narrowed", [], {"feature": "export"}, (False, "no_entitlement")),
    ("another's availability does not help", [Row(state=State.PAUSED), Row("MAX")],
     {"product_code": "PRO"}, (False, "paused")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "wanted", "expected"), [r[1:] for r in DECISIONS], ids=[r[0] for r in DECISIONS]
)
def test_decide(given: list[Row], wanted: dict[str, Any], expected: tuple[bool, str | None]) -> None:
    decision = decide(given, NOW, **wanted)
    assert (decision.allowed, decision.reason) == expected


def test_the_decision_names_what_decided() -> None:
    ended, good = Row(state=State.CANCELED), Row()
    assert decide([ended, good], NOW).deciding is good
    assert decide([ended], NOW).deciding is ended
    assert decide([good], NOW, product_code="MAX").deciding is None


@pytest.mark.parametrize(
    ("states", "best"),
    [
        ([], "none"),
        ([State.CANCELED], "canceled"),
        ([State.CANCELED, State.PAUSED], "paused"),
        ([State.PAUSED, State.TRIALING, State.PAST_DUE], "trialing"),
        ([State.TRIALING, State.ACTIVE], "active"),
    ],
)
def test_best_status(states: list[State], best: str) -> None:
    assert best_status([Row(state=state) for state in states], NOW) == best


def test_remaining_of_a_voided_pack_is_nothing() -> None:
    assert remaining(pack(used_units=3, reserved_units=2)) == 5
    assert remaining(pack(voided_at=NOW)) == 0
