"""What pages show of windows: what was lost of those that are over, and which ones. Figures by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.entitlements.models import Entitlement, State, UsageWindow
from licenzy.entitlements.projection import project
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows_of_grants import windows_of_grant
from licenzy.kit.clock import from_unix
from licenzy.usage.grants import WindowGrant, window_grants
from licenzy.usage.window_history import (
    MOST_SHOWN,
    WindowShown,
    strip,
    units_shown,
    windows_around,
)
from tests.entitlements.test_projection import Fact
from tests.support.included_units import (
    ANCHOR,
    DAY,
    FEBRUARY,
    HOUR,
    MARCH,
    billed,
    line,
    of_year,
    paid,
    sold,
    state,
)


def entitlement(included: list[dict[str, Any]] | None, **columns: Any) -> Entitlement:
    values: dict[str, Any] = {
        "project_id": "prj_1",
        "mode": Mode.TEST,
        "id": "ent_1",
        "subject_id": "sbj_1",
        "product_code": "PRO",
        "kind": Kind.SUBSCRIPTION,
        "state": State.ACTIVE,
        "source": "stripe",
        "starts_at": from_unix(ANCHOR),
        "windows_due_at": from_unix(ANCHOR),
        "included": included,
    }
    return Entitlement(**{**values, **columns})


def of_facts(facts: Sequence[Fact]) -> Entitlement:
    (projected,) = project(facts)
    return entitlement(projected.included)


def row(start: int, end: int, *, used: int = 0, **columns: Any) -> UsageWindow:
    values: dict[str, Any] = {
        "project_id": "prj_1",
        "mode": Mode.TEST,
        "entitlement_id": "ent_1",
        "unit": "images",
        "starts_at": from_unix(start),
        "ends_at": from_unix(end),
        "subject_id": "sbj_1",
        "holder_id": "ent_1",
        "granted_units": 1000,
        "carried_units": 0,
        "used_units": used,
        "reserved_units": 0,
        "overdrawn_units": 0,
    }
    return UsageWindow(**{**values, **columns})


def grants_of(owned: Entitlement, now: int, *rows: UsageWindow) -> list[WindowGrant]:
    return window_grants([owned], {owned.id: rows}, from_unix(now))


def test_time_that_was_given_back_loses_no_units() -> None:
    terms, middle = sold(line()), ANCHOR + (FEBRUARY - ANCHOR) // 2
    span = middle, middle + 28 * DAY
    owned = of_facts(
        [
            *of_year()[:1],
            paid("in_1", ANCHOR + 5, billed((ANCHOR, FEBRUARY)), reason="subscription_create"),
            state(middle, terms, span=span, anchor=middle, invoice="in_2"),
            paid(
                "in_2",
                middle,
                billed((middle, FEBRUARY), -1000, proration=True),
                billed(span),
                reason="subscription_update",
            ),
        ]
    )
    january = row(ANCHOR, FEBRUARY, used=100)
    now = middle + HOUR
    (shown,) = units_shown(owned, grants_of(owned, now, january), [january], from_unix(now))
    # Half of January was paid for: of its 500 units 400 were left.
    assert [each.forfeited for each in shown.windows] == [400, None]
    assert shown.present is not None
    assert (shown.present.granted, shown.is_between, shown.beyond) == (1000, False, 0)


def test_a_year_shows_the_months_before_and_those_ahead() -> None:
    owned = of_facts(of_year(rollover={"at_most": 500}))
    now = MARCH + DAY
    january = row(ANCHOR, FEBRUARY, used=900)
    found = windows_around(owned, grants_of(owned, now, january), [january], from_unix(now))
    assert len(found) == MOST_SHOWN
    assert [(each.granted, each.used) for each in found[:4]] == [
        (1000, 900),
        (1100, 0),
        # Of February, which nobody used, 500 are carried over. What March leaves is not known yet.
        (1500, 0),
        (1000, 0),
    ]
    assert [each.starts_at > from_unix(now) for each in found] == [False] * 3 + [True] * 9


def test_windows_without_an_end_are_shown_around_now() -> None:
    included = windows_of_grant(TermVersions([line(every="day")]), from_unix(ANCHOR), {})
    owned = entitlement([each.to_json() for each in included], source="portal")
    now = ANCHOR + 1000 * DAY + HOUR
    found = windows_around(owned, grants_of(owned, now), [], from_unix(now))
    assert [each.starts_at for each in found] == [
        from_unix(ANCHOR + (1000 + number) * DAY) for number in range(-5, 7)
    ]


def test_the_parts_of_a_window_fill_its_width() -> None:
    shown = WindowShown(
        "images",
        from_unix(ANCHOR),
        from_unix(FEBRUARY),
        1000,
        carried=500,
        overdrawn=100,
        used=150,
        reserved=50,
    )
    assert (shown.granted, shown.remaining) == (1400, 1200)
    assert [(each.name, each.units) for each in shown.parts] == [
        ("used", 150),
        ("reserved", 50),
        ("carried", 200),
        ("left", 1000),
    ]
    assert abs(sum(each.width for each in shown.parts) - 100) < 0.1
    assert shown.parts[-1].left == round(400 / 1400 * 100, 2)
    nothing = WindowShown("images", from_unix(ANCHOR), from_unix(FEBRUARY), 0)
    assert nothing.parts == ()
    columns = strip([nothing, shown], 40)
    assert [(each.height, each.used_height) for each in columns] == [(2.0, 0.0), (40.0, 4.3)]


def test_what_an_entitlement_ends_with_is_named() -> None:
    end = from_unix(FEBRUARY) - timedelta(hours=1)
    owned = of_facts(of_year())
    for columns, ends_with in (
        ({"cancel_at": end}, end),
        ({"cancel_at": from_unix(MARCH)}, None),
        ({"ends_at": end}, None),
        ({"ends_at": end, "source": "portal"}, end),
    ):
        changed = entitlement(owned.included, **columns)
        now = ANCHOR + DAY
        (shown,) = units_shown(changed, grants_of(changed, now), [], from_unix(now))
        assert shown.ends_with == ends_with
