"""`project`, `latest` and `chain_passes`: pure, whatever the order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from licenzy.entitlements.models import FactSource, State
from licenzy.entitlements.one_time import Pass, chain_passes
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.projected import Projected
from licenzy.entitlements.projection import project
from licenzy.entitlements.subscriptions import RENEWAL_SLACK
from tests.support.clock import START

DAY = timedelta(days=1)
PERIOD_END = START + 30 * DAY
SOLD = {
    "kind": "subscription",
    "product_code": "PRO",
    "features": ["export"],
    "grace_days": 3,
    "stripe_price_id": "price_pro",
}


@dataclass
class Fact:
    kind: str
    data: dict[str, Any]
    occurred_at: datetime = START
    source_id: str = "evt_1"
    object_id: str = "sub_1"
    source: FactSource = FactSource.EVENT

    @property
    def recorded_at(self) -> datetime:
        return self.occurred_at


@dataclass
class Numbers:
    last: int = 0
    given: list[int] = field(default_factory=list)

    def next(self) -> str:
        self.last += 1
        return f"evt_{self.last:04}"


numbers = Numbers()


def sub(status: str = "active", at: datetime = START, **changes: Any) -> Fact:
    item = {
        "id": "si_1",
        "price": "price_pro",
        "quantity": 1,
        "period_start": int(START.timestamp()),
        "period_end": int(PERIOD_END.timestamp()),
        "sold": SOLD,
    }
    data = {
        "event": "customer.subscription.updated",
        "status": status,
        "items": [item],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "ended_at": None,
        "started_at": int(START.timestamp()),
        "pause": None,
        "previous": {},
        **changes,
    }
    return Fact("subscription", data, at, numbers.next())


def invoice(paid: bool = True, at: datetime = START, invoice_id: str = "in_1") -> Fact:
    event = "invoice.paid" if paid else "invoice.payment_failed"
    status = "paid" if paid else "open"
    data = {
        "event": event,
        "status": status,
        "period_end": int(PERIOD_END.timestamp()),
        "billing_reason": "subscription_create",
        "amount_paid": 1200,
        "payment_intent": None,
        "charge": None,
    }
    return Fact("invoice", data, at, numbers.next(), invoice_id)


def session(payment_status: str = "paid", at: datetime = START, **changes: Any) -> Fact:
    data = {
        "event": "checkout.session.completed",
        "mode": "subscription",
        "payment_status": payment_status,
        "amount_total": 1200,
        **changes,
    }
    return Fact("session", data, at, numbers.next(), "cs_1")


def one(facts: list[Fact]) -> Projected:
    projected = project(facts)
    assert len(projected) == 1
    return projected[0]


def test_an_active_subscription_with_its_first_invoice_paid() -> None:
    held = one([sub(), invoice()])
    assert (held.state, held.product_code, held.features) == (State.ACTIVE, "PRO", ["export"])
    assert (held.valid_until, held.ends_at) == (PERIOD_END, PERIOD_END + RENEWAL_SLACK)
    assert held.ends_as == "renewal_unconfirmed"


@pytest.mark.parametrize(
    ("facts", "granted"),
    [
        ([sub()], False),
        ([sub(), invoice(paid=False)], False),
        ([sub(), session("unpaid")], False),
        ([sub(), session()], True),
        ([sub(), session("no_payment_required")], True),
        ([sub("trialing")], True),
        ([sub("incomplete"), invoice()], False),
        ([sub("incomplete_expired")], False),
        ([sub("past_due")], True),
        ([sub("canceled"), invoice()], True),
        ([sub("canceled")], False),
        ([invoice(), session()], False),
    ],
)
def test_when_a_subscription_is_granted(facts: list[Fact], granted: bool) -> None:
    assert bool(project(facts)) is granted


SCHEDULES: list[tuple[dict[str, Any], datetime, str]] = [
    ({}, PERIOD_END + RENEWAL_SLACK, "renewal_unconfirmed"),
    ({"cancel_at_period_end": True}, PERIOD_END, "canceled"),
    ({"cancel_at": int((START + 9 * DAY).timestamp())}, START + 9 * DAY, "canceled"),
    (
        {"cancel_at": int((START + 9 * DAY).timestamp()), "cancel_at_period_end": True},
        START + 9 * DAY,
        "canceled",
    ),
]


@pytest.mark.parametrize(("changes", "end", "ends_as"), SCHEDULES)
def test_both_forms_of_a_scheduled_cancel(changes: dict[str, Any], end: datetime, ends_as: str) -> None:
    held = one([sub(**changes), invoice()])
    assert (held.ends_at, held.ends_as) == (end, ends_as)
    assert (held.cancel_at is not None) is bool(changes)


def test_past_due_has_grace_from_the_first_failure() -> None:
    renewal = START + 30 * DAY
    facts = [
        sub(),
        invoice(),
        sub("past_due", renewal + DAY),
        invoice(False, renewal, "in_2"),
        invoice(False, renewal + 2 * DAY, "in_2"),
    ]
    held = one(facts)
    assert held.state is State.PAST_DUE
    assert held.ends_at == renewal + 3 * DAY


@pytest.mark.parametrize(
    ("status", "pause", "state", "reason"),
    [
        ("unpaid", None, State.SUSPENDED, "past_due"),
        ("paused", None, State.PAUSED, None),
        ("active", "void", State.PAUSED, None),
        ("active", "keep_as_draft", State.ACTIVE, None),
        ("active", "mark_uncollectible", State.ACTIVE, None),
        ("trialing", None, State.TRIALING, None),
    ],
)
def test_statuses(status: str, pause: str | None, state: State, reason: str | None) -> None:
    held = one([sub(), invoice(), sub(status, START + DAY, pause=pause)])
    assert (held.state, held.reason) == (state, reason)


def test_an_unknown_status_leaves_the_last_known_state() -> None:
    assert one([sub(), invoice(), sub("hibernating", START + DAY)]).state is State.ACTIVE


def test_deleted_is_final() -> None:
    ended = int((START + DAY).timestamp())
    gone = sub("canceled", START + DAY, ended_at=ended, canceled_at=ended)
    late = sub("active", START)
    for facts in itertools.permutations([late, gone, invoice()]):
        held = one(list(facts))
        assert (held.state, held.ends_at) == (State.CANCELED, START + DAY)


def test_a_plan_change_follows_the_price() -> None:
    later = sub(at=START + DAY)
    later.data["items"][0] |= {"price": "price_max", "sold": {**SOLD, "product_code": "MAX"}}
    assert one([sub(), later, invoice()]).product_code == "MAX"


def test_a_removed_item_is_canceled_and_others_stay() -> None:
    two = sub()
    two.data["items"].append({**two.data["items"][0], "id": "si_2", "sold": {**SOLD, "product_code": "ADD"}})
    without = sub(at=START + DAY)
    held = {each.item_key: each for each in project([two, without, invoice()])}
    assert held["si_1"].state is State.ACTIVE
    assert (held["si_2"].state, held["si_2"].canceled_at) == (State.CANCELED, START + DAY)


def test_an_unmapped_item_grants_nothing() -> None:
    bare = sub()
    bare.data["items"][0]["sold"] = None
    assert project([bare, invoice()]) == []


ONE_TIME: dict[str, Any] = {"mode": "payment", "quantity": 2}
PACK = {
    "kind": "usage_pack",
    "product_code": "CREDITS",
    "stripe_price_id": "price_credits",
    "features": [],
    "units": 500,
    "duration_seconds": None,
}
PASS: dict[str, Any] = {
    "kind": "time_pass",
    "product_code": "DAY",
    "stripe_price_id": "price_day",
    "features": [],
    "units": None,
    "duration_seconds": 86_400,
}


def test_a_paid_pack_grants_units_times_quantity_once() -> None:
    paid = session(sold=PACK, **ONE_TIME)
    again = session(at=START + DAY, sold=PACK, **ONE_TIME)
    again.data["event"] = "checkout.session.async_payment_succeeded"
    held = one([again, paid])
    assert (held.granted_units, held.ends_at, held.paid_at) == (1000, None, START)


@pytest.mark.parametrize(("named", "unit"), [({"unit": "images"}, "images"), ({}, "units")])
def test_a_pack_consists_of_the_unit_that_was_sold(named: dict[str, str], unit: str) -> None:
    assert one([session(sold=PACK | named, **ONE_TIME)]).unit == unit
    granted = {
        "action": "grant",
        "product_code": "CREDITS",
        "kind": "usage_pack",
        "features": [],
        "units": 5,
        "until": None,
    }
    fact = Fact("operator", granted | named, source=FactSource.OPERATOR, object_id="user_123")
    assert one([fact]).unit == unit


def test_a_pack_may_expire() -> None:
    keeps = {**PACK, "duration_seconds": 86_400}
    assert one([session(sold=keeps, **ONE_TIME)]).ends_at == START + DAY


def test_quantity_n_of_a_pass_lasts_n_durations() -> None:
    held = one([session(sold=PASS, **ONE_TIME)])
    assert (held.starts_at, held.ends_at) == (START, START + 2 * DAY)


@pytest.mark.parametrize("status", ["unpaid"])
def test_an_unpaid_session_grants_nothing(status: str) -> None:
    assert project([session(status, sold=PACK, **ONE_TIME)]) == []


def test_without_what_was_sold_nothing_is_granted() -> None:
    assert project([session(**ONE_TIME)]) == []


def test_passes_follow_each_other() -> None:
    spans = chain_passes([Pass("b", START + timedelta(hours=1), DAY), Pass("a", START, DAY)])
    assert spans == {"a": (START, START + DAY), "b": (START + DAY, START + 2 * DAY)}


def test_a_canceled_pass_lets_those_not_started_move_up() -> None:
    cut = START + timedelta(hours=6)
    spans = chain_passes([Pass("a", START, DAY, canceled_at=cut), Pass("b", START, DAY)])
    assert spans["b"] == (cut, cut + DAY)


def test_canceling_an_ended_pass_moves_nothing() -> None:
    spans = chain_passes([Pass("a", START, DAY, canceled_at=START + 3 * DAY), Pass("b", START, DAY)])
    assert spans["b"] == (START + DAY, START + 2 * DAY)


def test_a_pass_canceled_before_it_started_takes_no_time() -> None:
    passes = [
        Pass("a", START, DAY),
        Pass("b", START, DAY, canceled_at=START + timedelta(hours=1)),
        Pass("c", START, DAY),
    ]
    assert chain_passes(passes)["c"] == (START + DAY, START + 2 * DAY)


def test_the_chain_of_previous_attributes_orders_one_second() -> None:
    created = sub("incomplete")
    created.data |= {"event": "customer.subscription.created"}
    active = sub("active", previous={"status": "incomplete"})
    scheduled = sub("active", cancel_at_period_end=True, previous={"cancel_at_period_end": False})
    for facts in itertools.permutations([created, active, scheduled]):
        assert latest(facts) is scheduled


def test_a_terminal_state_is_last_in_its_second() -> None:
    gone, late = sub("canceled"), sub("active", previous={"status": "incomplete"})
    assert latest([gone, late]) is gone
    assert latest([late, gone]) is gone


def test_a_snapshot_wins_over_events() -> None:
    read = sub("active")
    read.source, read.data["snapshot"] = FactSource.SNAPSHOT, 1
    older, newer = sub("paused"), sub("paused", START + DAY)
    assert latest([older, read]) is read
    assert latest([newer, read]) is newer
    again = sub("active", START + DAY)
    again.source, again.data["snapshot"] = FactSource.SNAPSHOT, 2
    assert latest([newer, read, again]) is again


@given(st.data())
def test_any_order_and_duplicates_give_the_same(data: st.DataObject) -> None:
    history = [
        session(),
        sub("incomplete"),
        sub("active", START + DAY),
        invoice(),
        sub("past_due", START + 30 * DAY),
        invoice(False, START + 30 * DAY, "in_2"),
    ]
    length = data.draw(st.integers(1, len(history)))
    told = history[:length]
    shuffled = data.draw(st.permutations(told + data.draw(st.lists(st.sampled_from(told), max_size=5))))
    assert project(shuffled) == project(told)
