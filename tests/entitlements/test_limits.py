"""Limits: one number out of all that a subject has, and what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.catalog.rules import LIMIT_VALUE_MAX
from licenzy.entitlements.decision import DefaultProduct, decide, in_force
from licenzy.entitlements.limits import Limits, TotalLimit, limit_of, limits_of
from licenzy.entitlements.models import OVERRIDE, State
from tests.entitlements.test_decision import NOW, Row, pack

Named = dict[str, int | None]
FREE = DefaultProduct("FREE", False, ("read",), {"projects": 3, "seats": 1})
OPEN = FREE._replace(grants_access=True)


@dataclass
class Source:
    limits: Limits = field(default_factory=dict)
    adds: bool = False
    quantity: int = 1


def adding(limits: Named, quantity: int = 1) -> Source:
    return Source(limits, adds=True, quantity=quantity)


TOTALS: list[tuple[str, list[Source], TotalLimit | None]] = [
    ("nothing", [], None),
    ("another code", [Source({"seats": 5})], None),
    ("one", [Source({"projects": 5})], TotalLimit(5)),
    ("none allowed", [Source({"projects": 0})], TotalLimit(0)),
    ("the largest base", [Source({"projects": 5}), Source({"projects": 9})], TotalLimit(9)),
    ("bases do not multiply", [Source({"projects": 5}, quantity=4)], TotalLimit(5)),
    ("unlimited", [Source({"projects": 5}), Source({"projects": None})], TotalLimit(None)),
    ("on top", [Source({"projects": 5}), adding({"projects": 2})], TotalLimit(7)),
    ("on top of the largest only",
     [Source({"projects": 5}), adding({"projects": 2}), Source({"projects": 6})],
     TotalLimit(8)),
    ("times the quantity", [Source({"projects": 5}), adding({"projects": 2}, 3)], TotalLimit(11)),
    ("several add", [adding({"projects": 2}, 3), adding({"projects": 1})], TotalLimit(7)),
    ("added without a base", [adding({"projects": 2}, 2)], TotalLimit(4)),
    ("added without end", [Source({"projects": 5}), adding({"projects": None})], TotalLimit(None)),
    ("more than an answer carries",
     [Source({"projects": 5}), adding({"projects": LIMIT_VALUE_MAX}, 999_999)],
     TotalLimit(LIMIT_VALUE_MAX)),
    ("adds to another code", [Source({"projects": 5}), adding({"seats": 2})], TotalLimit(5)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sources", "expected"), [each[1:] for each in TOTALS], ids=[each[0] for each in TOTALS]
)
def test_limit_of(sources: list[Source], expected: TotalLimit | None) -> None:
    assert limit_of("projects", sources) == expected
    assert limit_of("projects", sources[::-1]) == expected


def test_an_override_decides_alone_what_it_names() -> None:
    sources = [Source({"projects": 5, "seats": 2}), adding({"projects": 2})]
    assert limits_of(sources, [Source({"projects": 4})]) == {"projects": 4, "seats": 2}
    assert limits_of([], [Source({"projects": None})]) == {"projects": None}


@pytest.mark.parametrize(
    ("limit", "present", "allowed"),
    [(3, 0, True), (3, 2, True), (3, 3, False), (0, 0, False), (None, 9, True)],
)
def test_allowed_while_below(limit: int | None, present: int, allowed: bool) -> None:
    assert TotalLimit(limit).allows(present) is allowed


def override(**changes: Any) -> Row:
    given = {"product_code": "", "kind": Kind.FREE, "source": OVERRIDE, "ends_at": None, **changes}
    return Row(**given)


PRO: dict[str, Any] = {"limits": {"projects": 10}}
PAUSED = Row(state=State.PAUSED, **PRO)
Asked = dict[str, Any]
Case = tuple[str, list[Row], Asked, DefaultProduct | None, tuple[bool, str | None]]
PROJECTS: Asked = {"limit": "projects", "value": 7}

DECISIONS: list[Case] = [
    ("below", [Row(**PRO)], PROJECTS, None, (True, None)),
    ("reached", [Row(**PRO)], PROJECTS | {"value": 10}, None, (False, "limit_reached")),
    ("over", [Row(**PRO)], PROJECTS | {"value": 11}, None, (False, "limit_reached")),
    ("not held", [Row()], PROJECTS, None, (False, "limit_not_held")),
    ("nothing at all", [], PROJECTS, None, (False, "no_entitlement")),
    ("only what is available", [PAUSED, Row(limits={"projects": 5})], PROJECTS, None,
     (False, "limit_reached")),
    ("why it is not available", [PAUSED], PROJECTS, None, (False, "paused")),
    ("a pack that is used up", [pack(used_units=10, **PRO)], PROJECTS, None, (False, "exhausted")),
    ("the product", [Row(**PRO)], PROJECTS | {"product_code": "PRO"}, None, (True, None)),
    ("another product", [Row(**PRO)], PROJECTS | {"product_code": "MAX"}, None, (False, "product_not_held")),
    ("the product without it", [Row()], PROJECTS | {"product_code": "PRO"}, None, (False, "limit_not_held")),
    ("default", [], {"limit": "projects", "value": 2}, FREE, (True, None)),
    ("default reached", [], {"limit": "projects", "value": 3}, FREE, (False, "limit_reached")),
    ("default without it", [], {"limit": "users", "value": 0}, FREE, (False, "limit_not_held")),
    ("default is hidden", [Row()], {"limit": "projects", "value": 0}, FREE, (False, "limit_not_held")),
    ("default after the end", [Row(ends_at=NOW)], {"limit": "projects", "value": 2}, FREE, (True, None)),
    ("packs stand with the default", [pack(adds=True, limits={"projects": 5})], PROJECTS, FREE, (True, None)),
    ("a granted pack too", [pack(source="portal", limits={})], {"feature": "read"}, FREE, (True, None)),
    ("a grant hides", [Row(source="portal")], {"feature": "read"}, FREE, (False, "feature_not_held")),
    ("a pass hides", [Row(kind=Kind.TIME_PASS)], {"feature": "read"}, FREE, (False, "feature_not_held")),
    ("default's feature", [], {"feature": "read"}, FREE, (True, None)),
    ("not its feature", [], {"feature": "write"}, FREE, (False, "feature_not_held")),
    ("default's product code", [], {"product_code": "FREE", "feature": "read"}, FREE, (True, None)),
    ("not its product code", [], {"product_code": "PRO", "feature": "read"}, FREE,
     (False, "product_not_held")),
    ("plain", [], {}, FREE, (False, "no_entitlement")),
    ("plain, giving access", [], {}, OPEN, (True, None)),
    ("plain, ended, giving access", [Row(state=State.CANCELED)], {}, OPEN, (True, None)),
    ("plain, ended", [Row(state=State.CANCELED)], {}, FREE, (False, "canceled")),
    ("its code", [], {"product_code": "FREE"}, FREE, (False, "product_not_held")),
    ("its code, giving access", [], {"product_code": "FREE"}, OPEN, (True, None)),
    ("another code, giving access", [], {"product_code": "PRO"}, OPEN, (False, "product_not_held")),
    ("override of a feature", [override(features=("export",))], {"feature": "export"}, None, (True, None)),
    ("override gives no access", [override(features=("export",))], {}, None, (False, "no_entitlement")),
    ("override is no product's", [override(features=("export",))],
     {"product_code": "PRO", "feature": "export"}, None, (False, "no_entitlement")),
    ("override hides nothing", [override(features=("x",))], {"feature": "read"}, FREE, (True, None)),
    ("override that is over", [override(features=("x",), ends_at=NOW)], {"feature": "x"}, None,
     (False, "no_entitlement")),
    ("override raises", [Row(**PRO), override(limits={"projects": 20})], PROJECTS | {"value": 19}, None,
     (True, None)),
    ("override lowers", [Row(**PRO), override(limits={"projects": 5})], PROJECTS, None,
     (False, "limit_reached")),
    ("override of the default", [override(limits={"projects": 9})], PROJECTS, FREE, (True, None)),
    ("override alone", [override(limits={"projects": None})], PROJECTS, None, (True, None)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "asked", "default", "expected"),
    [each[1:] for each in DECISIONS],
    ids=[each[0] for each in DECISIONS],
)
def test_decide(
    given: list[Row], asked: Asked, default: DefaultProduct | None, expected: tuple[bool, str | None]
) -> None:
    decision = decide(given, NOW, default=default, **asked)
    assert (decision.allowed, decision.reason) == expected


def test_the_decision_names_what_decided() -> None:
    small, large, extra = Row(limits={"n": 2}), Row(limits={"n": 5}), Row(limits={"n": 9}, adds=True)
    by_largest = decide([extra, small, large], NOW, limit="n", value=1)
    assert (by_largest.deciding, by_largest.limit, by_largest.default) == (large, TotalLimit(14), None)
    assert decide([extra], NOW, limit="n").deciding is extra
    more_free = FREE._replace(limits={"n": 7})
    by_default = decide([pack(limits={"n": 5})], NOW, limit="n", value=1, default=more_free)
    assert (by_default.deciding, by_default.default, by_default.limit) == (None, more_free, TotalLimit(7))
    by_hand = override(limits={"n": 4})
    assert decide([large, by_hand], NOW, limit="n", value=4)[1:3] == ("limit_reached", by_hand)
    assert decide([], NOW, feature="read", default=FREE).default is FREE


def test_what_counts_together() -> None:
    rows = [
        Row(features=("export", "api"), limits={"projects": 10}),
        Row(kind=Kind.TIME_PASS, features=("print",), starts_at=NOW + timedelta(days=1)),
        pack(limits={"projects": 5}, adds=True, quantity=2),
        override(features=("beta",)),
        override(limits={"seats": None}),
        override(features=("gone",), ends_at=NOW),
    ]
    counting = in_force(rows, NOW, FREE)
    assert counting.features == ["api", "beta", "export"]
    assert counting.limits == {"projects": 20, "seats": None}
    assert counting.default is None
    alone = in_force(rows[1:3], NOW, FREE)
    assert (alone.features, alone.limits) == (["read"], {"projects": 13, "seats": 1})
    assert alone.default is FREE
