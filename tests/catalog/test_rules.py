from __future__ import annotations

from dataclasses import replace

import pytest

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog import rules
from licenzy.catalog.models import Kind
from licenzy.catalog.rules import Draft

PACK = Draft("CREDITS", Kind.USAGE_PACK, "price_1", units=1000)
PASS = Draft("DAY_PASS", Kind.TIME_PASS, "price_1", duration_seconds=86_400)
SUB = Draft("PRO", Kind.SUBSCRIPTION, "price_1")


@pytest.mark.parametrize(
    "code", ["A", "PRO_MONTHLY", "pro.v2", "a-b", "in_app", "sub_monthly", "re_port", "x" * 64]
)
def test_good_codes(code: str) -> None:
    assert rules.valid_product_code(code)


@pytest.mark.parametrize(
    "code",
    [
        "",
        "x" * 65,
        "a b",
        "a/b",
        "é",
        "a\n",
        "A\x00",
        "price_1",
        "prod_x",
        "plan_gold",
        "sk_test_x",
        "whsec_x",
        "pk_live_x",
        "lz_test_x",
        "cs_test_1",
        "sub_1AbcDefGhiJklMn",
        "cus_AbcDefGhiJklMn",
    ],
)
def test_bad_codes(code: str) -> None:
    assert not rules.valid_product_code(code)


@pytest.mark.parametrize(
    ("kind", "recurring", "metered", "fits"),
    [
        (Kind.SUBSCRIPTION, True, False, True),
        (Kind.SUBSCRIPTION, False, False, False),
        (Kind.SUBSCRIPTION, True, True, False),
        (Kind.TIME_PASS, False, False, True),
        (Kind.TIME_PASS, True, False, False),
        (Kind.USAGE_PACK, False, False, True),
        (Kind.USAGE_PACK, True, False, False),
    ],
)
def test_which_price_fits_which_kind(kind: Kind, recurring: bool, metered: bool, fits: bool) -> None:
    assert (shape_problem(kind, recurring=recurring, metered=metered) is None) is fits


def test_the_kind_is_proposed_from_the_shape() -> None:
    assert rules.proposed_kind(recurring=True) is Kind.SUBSCRIPTION
    assert rules.proposed_kind(recurring=False) is Kind.TIME_PASS


@pytest.mark.parametrize(
    ("draft", "fields"),
    [
        (SUB, set()),
        (PASS, set()),
        (PACK, set()),
        (replace(PACK, units=1_000_000_000), set()),
        (replace(PACK, units=None), {"units"}),
        (replace(PACK, units=0), {"units"}),
        (replace(PACK, units=1_000_000_001), {"units"}),
        (replace(PASS, duration_seconds=None), {"duration"}),
        (replace(PASS, duration_seconds=59), {"duration"}),
        (replace(PASS, duration_seconds=10**12), {"duration"}),
        (replace(PACK, duration_seconds=86_400), set()),
        (replace(SUB, product_code="price_1"), {"product_code"}),
        (replace(SUB, price_id=""), {"price_id"}),
        (replace(SUB, price_id="gold21323"), set()),
        (replace(SUB, price_id="x" * 256), {"price_id"}),
        (replace(SUB, price_id="a\x00"), {"price_id"}),
        (replace(SUB, price_label="year-2_b"), set()),
        (replace(SUB, price_label=""), {"price_label"}),
        (replace(SUB, price_label="Year"), {"price_label"}),
        (replace(SUB, price_label="x" * 33), {"price_label"}),
        (replace(SUB, price_label="year\n"), {"price_label"}),
        (replace(SUB, grace_days=61), {"grace_days"}),
        (replace(SUB, grace_days=-1), {"grace_days"}),
        (replace(SUB, trial_days=0), {"trial_days"}),
        (replace(SUB, trial_days=731), {"trial_days"}),
        (replace(SUB, features=("export", "a b")), {"features"}),
        (replace(SUB, features=tuple(f"f{n}" for n in range(51))), {"features"}),
        (replace(PACK, units=None, product_code=""), {"units", "product_code"}),
    ],
)
def test_what_is_wrong_with_a_description(draft: Draft, fields: set[str]) -> None:
    assert set(rules.draft_problems(draft)) == fields


@pytest.mark.parametrize(
    ("mode", "facts", "says"),
    [
        (Mode.TEST, {}, None),
        (Mode.LIVE, {}, "test"),
        (Mode.TEST, {"livemode": True}, "live"),
        (Mode.TEST, {"active": False}, "archived"),
        (Mode.TEST, {"recurring": False}, "recurring"),
        (Mode.TEST, {"metered": True}, "metered"),
    ],
)
def test_which_price_can_be_mapped(mode: Mode, facts: dict[str, bool], says: str | None) -> None:
    usual = {"livemode": False, "active": True, "recurring": True, "metered": False}
    problem = rules.price_problem(Kind.SUBSCRIPTION, mode, **{**usual, **facts})
    assert (problem is None) if says is None else (problem is not None and says in problem)


def test_a_draft_keeps_what_its_kind_has_use_for() -> None:
    full = Draft("X", Kind.SUBSCRIPTION, "price_1", 5, 60, (), 3, 7, True, True, True)
    assert rules.trimmed_to_kind(full) == replace(full, units=None, duration_seconds=None)
    packed = rules.trimmed_to_kind(replace(full, kind=Kind.USAGE_PACK))
    assert (packed.units, packed.duration_seconds) == (5, 60)
    assert (packed.grace_days, packed.trial_days, packed.adjustable_quantity) == (0, None, False)
    assert rules.trimmed_to_kind(replace(full, kind=Kind.TIME_PASS)).units is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (60, (1, "minutes")),
        (3_600, (1, "hours")),
        (172_800, (2, "days")),
        (604_800, (1, "weeks")),
        (30 * 86_400, (1, "months")),
        (365 * 86_400, (1, "years")),
        (5_400, (90, "minutes")),
    ],
)
def test_a_duration_is_told_in_its_largest_whole_unit(seconds: int, said: tuple[int, str]) -> None:
    assert rules.split_duration(seconds) == said
    assert said[0] * rules.DURATION_UNITS[said[1]] == seconds


@pytest.mark.parametrize(
    ("name", "taken", "code"),
    [
        ("Pro, monthly", set(), "PRO_MONTHLY"),
        ("Pro, monthly", {"PRO_MONTHLY"}, "PRO_MONTHLY_2"),
        ("Pro, monthly", {"PRO_MONTHLY", "PRO_MONTHLY_2"}, "PRO_MONTHLY_3"),
        ("  Très  élégant! ", set(), "TRES_ELEGANT"),
        ("日本語", set(), "PRODUCT"),
        ("日本語", {"PRODUCT"}, "PRODUCT_2"),
        ("a" * 100, {"A" * 64}, "A" * 62 + "_2"),
        ("price_1QZr2eLkdIwHu7ixKqzPq0aB", set(), "PRICE_1QZR2ELKDIWHU7IXKQZPQ0AB"),
    ],
)
def test_a_code_is_proposed_from_a_name_at_stripe(name: str, taken: set[str], code: str) -> None:
    proposed = rules.proposed_code(name, taken)
    assert proposed == code
    assert rules.valid_product_code(proposed)


def test_a_missing_code_is_named_as_missing() -> None:
    draft = Draft(product_code="", kind=Kind.SUBSCRIPTION, price_id="price_1")
    assert rules.draft_problems(draft)["product_code"] == "Enter a product code."
