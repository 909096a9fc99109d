"""Before and after in the lab, what is awaited, and the strip of access over time."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.entitlements.models import Entitlement, State
from licenzy.lab.access_timeline import access_timeline
from licenzy.lab.models import LabStep
from licenzy.lab.rules import (
    PATIENCE,
    Arrival,
    EventFate,
    Holdings,
    StepShown,
    differences,
    history,
    holdings,
    out_of_step,
)
from licenzy.lab.scenarios import ADVANCES, GROUPS, SCENARIOS
from licenzy.usage.window_history import WindowShown
from tests.support.clock import START

DAY = timedelta(days=1)
WANTED = ("invoice.paid", "customer.subscription.updated")


def entitlement_row(**columns: Any) -> Entitlement:
    values: dict[str, Any] = {
        "id": "ent_1",
        "product_code": "PRO",
        "kind": Kind.SUBSCRIPTION,
        "state": State.ACTIVE,
        "starts_at": START,
        "valid_until": START + 30 * DAY,
        "ends_at": START + 30 * DAY,
        "granted_units": 0,
        "used_units": 0,
        "reserved_units": 0,
    }
    return Entitlement(**{**values, **columns})


def step(
    number: int = 1, *, action: str = "renew_in_time", before: Holdings | None = None, **columns: Any
) -> LabStep:
    values: dict[str, Any] = {"delivery": "in_order", "events": [], "performed_at": START}
    return LabStep(
        id=f"stp_{number}",
        project_id="prj_1",
        mode=Mode.TEST,
        attempt_id="att_1",
        action=action,
        before=(before or holdings([], START)).as_json(),
        **{**values, **columns},
    )


def event(type_: str = "invoice.paid", *, sent: int = 1, seen: int = 0) -> dict[str, Any]:
    return {"id": f"evt_{type_}", "type": type_, "sent": sent, "seen": seen}


def shown(
    *steps: LabStep, now: datetime = START, current: Holdings | None = None, **arrived: Arrival
) -> list[StepShown]:
    arrivals = {f"evt_{type_.replace('__', '.')}": arrival for type_, arrival in arrived.items()}
    return history(steps, arrivals, current or holdings([], START), wanted=WANTED, now=now)


def arrived(times: int = 1) -> Arrival:
    return Arrival(times, "applied", changed=True)


def test_holdings_survive_the_database() -> None:
    pack = entitlement_row(
        id="ent_2", kind=Kind.USAGE_PACK, granted_units=10, used_units=4, valid_until=None, ends_at=None
    )
    then = holdings([pack, entitlement_row(cancel_at=START + DAY)], START + timedelta(microseconds=7))
    assert Holdings.from_json(json.loads(json.dumps(then.as_json()))) == then
    assert [each.units for each in then.owned] == [None, 6]


def window(start: int, **columns: Any) -> WindowShown:
    """A window of 30 days of 100 images."""
    begins = START + start * 30 * DAY
    return WindowShown("images", begins, begins + 30 * DAY, 100, **columns)


def including(now: datetime, *windows: WindowShown, **columns: Any) -> Holdings:
    row = entitlement_row(ends_at=None, valid_until=None, **columns)
    return holdings([row], now, {row.id: windows})


def test_windows_survive_the_database_and_steps_without_them_are_read() -> None:
    then = including(START, window(0, carried=20, used=30, forfeited=4), window(1))
    stored = json.loads(json.dumps(then.as_json()))
    assert Holdings.from_json(stored) == then
    assert then.owned[0].strips() == {"images": list(then.owned[0].windows)}
    del stored["owned"][0]["windows"]
    assert Holdings.from_json(stored).owned[0].windows == ()


def test_a_step_names_what_is_left_of_the_window_after_it() -> None:
    before = including(START + DAY, window(0, used=30), window(1))
    after = including(START + 31 * DAY, window(0, used=30), window(1, carried=20))
    assert [(d.what, d.about, d.before, d.after) for d in differences(before, after)] == [
        ("included", "PRO, images", (70, 100), (120, 120))
    ]
    canceled = including(
        START + DAY, window(0, used=30), window(1), state=State.CANCELED, canceled_at=START + DAY
    )
    assert differences(before, canceled)[-1].after is None
    # What lies ahead will not come.
    assert len(canceled.owned[0].windows) == 1


def test_holdings_say_what_the_check_says() -> None:
    assert (holdings([], START).allowed, holdings([], START).reason) == (False, "no_entitlement")
    assert holdings([entitlement_row()], START).allowed is True
    late = holdings([entitlement_row(ends_as="expired")], START + 31 * DAY)
    assert (late.allowed, late.reason, late.status) == (False, "expired", "expired")


def test_differences_name_what_changed() -> None:
    before = holdings([entitlement_row()], START)
    refunded = holdings([entitlement_row(state=State.SUSPENDED, reason="refunded")], START)
    assert [(d.what, d.before, d.after) for d in differences(before, refunded)] == [
        ("check", (True, None), (False, "refunded")),
        ("status", "active", "past_due"),
    ]
    renewed = holdings([entitlement_row(valid_until=START + 60 * DAY, ends_at=START + 60 * DAY)], START)
    assert [d.what for d in differences(before, renewed)] == ["valid_until"]
    leaving = holdings([entitlement_row(cancel_at=START + 30 * DAY)], START)
    assert [d.what for d in differences(before, leaving)] == ["cancels_at"]
    moved = holdings([entitlement_row(product_code="PRO_YEARLY")], START)
    assert [(d.before, d.after) for d in differences(before, moved)] == [("PRO", "PRO_YEARLY")]
    assert differences(before, before) == []


def test_what_is_new_was_nothing_before() -> None:
    pack = entitlement_row(kind=Kind.USAGE_PACK, granted_units=1000, valid_until=None, ends_at=None)
    found = differences(holdings([], START), holdings([pack], START))
    assert [(d.what, d.before, d.after) for d in found[1:]] == [
        ("status", None, "active"),
        ("units", None, 1000),
    ]


def test_a_step_leaves_behind_what_the_next_one_found() -> None:
    nothing, one = holdings([], START), holdings([entitlement_row()], START + DAY)
    gone = holdings([entitlement_row(state=State.CANCELED)], START + 2 * DAY)
    newest, oldest = shown(step(1, before=nothing), step(2, before=one), current=gone)
    assert (oldest.number, oldest.after) == (1, one)
    assert (newest.number, newest.before, newest.after) == (2, one, gone)


@pytest.mark.parametrize(
    ("sent", "seen", "arrival", "later", "expected"),
    [
        (1, 0, None, timedelta(0), EventFate.AWAITED),
        (1, 0, None, PATIENCE, EventFate.MISSING),
        (1, 0, arrived(), timedelta(0), EventFate.ARRIVED),
        (2, 0, arrived(1), timedelta(0), EventFate.AWAITED),
        (2, 0, arrived(2), timedelta(0), EventFate.ARRIVED),
        (2, 1, arrived(2), timedelta(0), EventFate.AWAITED),
        (2, 1, arrived(3), timedelta(0), EventFate.ARRIVED),
        (0, 0, None, timedelta(0), EventFate.MISSING),
    ],
)
def test_an_event_is_awaited_until_it_came_as_often_as_it_was_sent(
    sent: int, seen: int, arrival: Arrival | None, later: timedelta, expected: EventFate
) -> None:
    one = step(events=[event(sent=sent, seen=seen)])
    arrived: dict[str, Any] = {"invoice__paid": arrival} if arrival else {}
    (found,) = shown(one, now=START + later, **arrived)
    assert [each.fate for each in found.events] == [expected]
    assert found.waiting is (expected is EventFate.AWAITED)
    assert found.missing is (expected is EventFate.MISSING)


def test_lost_events_are_waited_for_by_nobody() -> None:
    lost = step(delivery="never", events=[event(sent=0)])
    (found,) = shown(lost)
    assert ([each.fate for each in found.events], found.waiting, found.repeatable) == (
        [EventFate.LOST],
        False,
        False,
    )
    (found,) = shown(lost, invoice__paid=arrived())
    assert [each.fate for each in found.events] == [EventFate.FOUND]


def test_events_that_nobody_asked_for_are_named_apart() -> None:
    (found,) = shown(step(events=[event(), event("charge.succeeded", sent=0)]), invoice__paid=arrived())
    assert [each.type for each in found.events] == ["invoice.paid"]
    assert found.unneeded == ("charge.succeeded",)


def test_out_of_step_lasts_until_one_reconciles() -> None:
    lost, asked, fine = step(delivery="never"), step(action="reconcile"), step()
    assert [out_of_step(s) for s in ([], [fine], [lost], [lost, fine], [lost, asked], [asked, lost])] == [
        *(False, False, True, True, False, True)
    ]


def test_the_strip_shows_what_was_and_what_is_paid() -> None:
    nothing, now = holdings([], START), holdings([entitlement_row()], START + 10 * DAY)
    steps = shown(step(1, action="pay_session", before=nothing), current=now)
    found = access_timeline(steps, now)
    assert [(s.tone, s.ahead) for s in found.segments] == [("good", False), ("good", True)]
    past, ahead = found.segments
    assert (past.left, past.left + past.width) == (0, ahead.left)
    assert found.now_left == ahead.left
    assert ahead.left + ahead.width < 100
    assert found.paid_until == START + 30 * DAY


def test_the_strip_turns_where_access_ended() -> None:
    """A month passes, and the pass ran out after a day."""
    day_pass = entitlement_row(
        kind=Kind.TIME_PASS, valid_until=START + DAY, ends_at=START + DAY, ends_as="expired"
    )
    before, after = holdings([day_pass], START), holdings([day_pass], START + 31 * DAY)
    found = access_timeline(shown(step(action="advance_month", before=before), current=after), after)
    assert [segment.tone for segment in found.segments] == ["good", "none"]
    assert found.segments[0].width < 5


def test_a_strip_of_nothing_is_empty() -> None:
    nothing = holdings([], START)
    found = access_timeline([], nothing)
    assert (found.segments, found.marks, found.now_left) == ((), (), 0)


def test_dots_that_fall_on_each_other_are_one() -> None:
    now = holdings([entitlement_row()], START + 10 * DAY)
    befores = [holdings([], START), holdings([entitlement_row()], START), now]
    found = access_timeline(shown(*(step(n, before=b) for n, b in enumerate(befores)), current=now), now)
    assert [mark.number for mark in found.marks] == [2, 3]


def test_every_button_has_its_words() -> None:
    names = [scenario.name for group in GROUPS for scenario in group.scenarios]
    assert len(names) == len(set(names))
    assert set(ADVANCES) <= set(names)
    for scenario in SCENARIOS.values():
        assert scenario.description.endswith("."), scenario
        assert scenario.done != scenario.label or scenario.name in ADVANCES, scenario
