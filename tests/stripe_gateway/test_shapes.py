"""Every shape of an object gives the same words, and no payload gives anything but words or a refusal."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from licenzy.stripe_gateway import invoices, shapes
from licenzy.stripe_gateway.shapes import READ_EVENT_TYPES, NotAnEvent, Reading, read_event, read_object
from licenzy.stripe_gateway.values import Unreadable
from tests.support.payloads import DROPPED, answers, changed, current_events, events, paths
from tests.support.payloads.older import older_events

SOLD = ("checkout.session.", "customer.subscription.", "invoice.", "invoice_payment.", "charge.")
ENVELOPE = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "created": 1_753_900_000,
    "livemode": False,
    "api_version": "2026-10-28.endive",
    "data": {"object": {"id": "in_1"}},
}
ITEM = {"id": "si_1", "price": {"id": "price_1"}, "quantity": 3}
PERIOD = {"current_period_start": 1_700_000_000, "current_period_end": 1_702_592_000}


def outcome_of(value: Any) -> str:
    """What becomes of a payload, in one word; an exception of another kind fails the test."""
    try:
        reading = read_object(read_event(value))
    except (NotAnEvent, Unreadable) as refusal:
        return type(refusal).__name__
    if reading is None:
        return "ignored"
    _check(reading)
    return reading.kind


def _check(reading: Reading) -> None:
    """What every fact can be relied upon for."""
    assert isinstance(reading.object_id, str)
    json.dumps(reading.data)
    data = reading.data
    if reading.kind == "session":
        assert isinstance(data["mode"], str)
        assert isinstance(data["payment_status"], str)
    for name in ("subscription", "payment_intent", "customer", "invoice", "charge", "latest_invoice"):
        assert data.get(name) is None or isinstance(data[name], str)
    if reading.kind == "subscription":
        assert data["items"]
        assert all(isinstance(item["id"], str) and isinstance(item["price"], str) for item in data["items"])


def test_payloads_are_read() -> None:
    outcomes = Counter(outcome_of(value) for _, value in [*events(), *answers()])
    for name, value in events():
        outcome = outcome_of(value)
        if "id" not in value["data"]["object"]:
            assert outcome in {"Unreadable", "ignored"}, name
        elif value["type"] in READ_EVENT_TYPES:
            assert outcome == READ_EVENT_TYPES[value["type"]], name
        else:
            assert outcome == "ignored", name
    assert {outcome_of(value) for _, value in answers()} == {"NotAnEvent"}
    assert {*READ_EVENT_TYPES.values(), "ignored", "NotAnEvent", "Unreadable"} == set(outcomes)


SAID_IN_EVERY_SHAPE = {
    "session": (
        "mode",
        "status",
        "payment_status",
        "subscription",
        "payment_intent",
        "invoice",
        "customer",
        "email",
    ),
    "subscription": ("status", "customer", "items", "started_at", "cancel_at_period_end", "trial_end"),
    "invoice": ("subscription", "billing_reason", "amount_due", "amount_paid", "customer", "period_end"),
    "charge": ("charge", "amount", "amount_refunded"),
    "refund": ("charge", "amount", "created"),
    "dispute": ("charge", "amount", "status", "created"),
    "invoice_payment": ("invoice", "payment_intent", "status"),
}


def test_every_api_version_says_the_same() -> None:
    compared: Counter[str] = Counter()
    current: dict[str, Any] = {}
    for _, value in current_events():
        current.setdefault(value["type"], value)
    for name, value in older_events(current_events()):
        if value["type"] not in READ_EVENT_TYPES or "id" not in value["data"]["object"]:
            continue
        older, newer = read_object(read_event(value)), read_object(read_event(current[value["type"]]))
        assert older is not None
        assert newer is not None
        for word in SAID_IN_EVERY_SHAPE[older.kind]:
            assert older.data[word] == newer.data[word], (name, word)
        if "items" in newer.data.get("previous", {}):
            assert older.data["previous"] == newer.data["previous"], name
        compared[older.kind] += 1
    assert set(compared) == set(SAID_IN_EVERY_SHAPE)


@pytest.mark.parametrize("prefix", SOLD)
def test_any_field_may_be_missing(prefix: str) -> None:
    seen = 0
    for _, value in events():
        if value["type"].startswith(prefix):
            for path in [
                *paths(value, 1),
                *(("data", "object", *p) for p in paths(value["data"]["object"], 3)),
            ]:
                outcome_of(changed(value, path, DROPPED))
                seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    "other", [None, True, 0, -1, 2**70, 1.5, "", "x", [], [None], {}, {"id": 5}, {"data": [5]}]
)
@pytest.mark.parametrize("prefix", SOLD)
def test_any_field_may_hold_something_else(prefix: str, other: Any) -> None:
    for _, value in events():
        if value["type"].startswith(prefix):
            for path in [
                *paths(value, 2),
                *(("data", "object", *p) for p in paths(value["data"]["object"], 2)),
            ]:
                outcome_of(changed(value, path, other))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(database=None, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*ENVELOPE, "x"]), values),
    st.dictionaries(st.sampled_from(["id", "items", "lines", "parent", "status", "mode", "amount"]), values),
    st.sampled_from(sorted(READ_EVENT_TYPES)),
)
def test_any_object_is_read_or_refused(envelope: dict[str, Any], obj: dict[str, Any], kind: str) -> None:
    outcome_of(envelope)
    outcome_of({**ENVELOPE, **envelope})
    outcome_of(
        {**ENVELOPE, "type": kind, "data": {"object": {"id": "x_1", **obj}, "previous_attributes": obj}}
    )


@pytest.mark.parametrize(
    "change",
    [
        {"object": "v2.core.event"},
        {"object": None},
        {"id": ""},
        {"id": 5},
        {"id": "e" * 256},
        {"type": ""},
        {"type": None},
        {"created": "1753900000"},
        {"created": -1},
        {"created": 253_402_300_800},
        {"created": None},
        {"created": 1.5},
        {"livemode": 0},
        {"livemode": None},
        {"data": None},
        {"data": []},
        {"data": {"object": []}},
        {"data": {}},
    ],
)
def test_bad_envelopes_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(NotAnEvent):
        read_event({**ENVELOPE, **change})


def test_the_envelope_of_an_event() -> None:
    event = read_event({**ENVELOPE, "data": {"object": {"id": "in_1", "metadata": {"a": "b"}}}})
    assert (event.id, event.type, event.livemode, event.object_id) == ("evt_1", "invoice.paid", False, "in_1")
    assert (event.api_version, event.metadata, event.previous) == ("2026-10-28.endive", {"a": "b"}, {})
    assert event.created.timestamp() == 1_753_900_000


def test_an_object_without_an_id_is_unreadable() -> None:
    with pytest.raises(Unreadable):
        read_object(read_event({**ENVELOPE, "data": {"object": {"object": "invoice"}}}))


def subscription(**fields: Any) -> dict[str, Any]:
    base = {"id": "sub_1", "status": "active", "customer": "cus_1", "start_date": 1, "metadata": {}}
    return {**base, "latest_invoice": "in_1", "items": {"data": [ITEM]}, **fields}


def invoice(**fields: Any) -> dict[str, Any]:
    return {
        "id": "in_1",
        "status": "paid",
        "billing_reason": "subscription_cycle",
        "customer": "cus_1",
        **fields,
    }


def line(**fields: Any) -> dict[str, Any]:
    return {"data": [{"period": {"start": 1, "end": 5}, **fields}]}


@pytest.mark.parametrize(
    ("read", "shapes_of_one_thing"),
    [
        pytest.param(
            shapes.subscription,
            [
                subscription(items={"data": [{**ITEM, **PERIOD}]}),
                subscription(**PERIOD),
                subscription(
                    items={"data": [{**ITEM, **PERIOD}]}, current_period_end=1, current_period_start=1
                ),
            ],
            id="the period on the item, on the subscription, and on both",
        ),
        pytest.param(
            shapes.subscription,
            [
                subscription(),
                subscription(items={"data": [{**ITEM, "price": "price_1"}]}),
                subscription(items={"data": [{"id": "si_1", "plan": {"id": "price_1"}, "quantity": 3}]}),
                subscription(customer={"id": "cus_1"}, latest_invoice={"id": "in_1", "status": "paid"}),
                subscription(start_date=None, created=1),
                subscription(cancel_at_period_end=False, pause_collection=None, metadata=None),
            ],
            id="references as ids, expanded, and as a plan",
        ),
        pytest.param(
            invoices.invoice,
            [
                invoice(subscription="sub_1"),
                invoice(subscription={"id": "sub_1"}),
                invoice(parent={"subscription_details": {"subscription": "sub_1"}}),
                invoice(parent={"subscription_details": {"subscription": {"id": "sub_1"}}}),
                invoice(parent={"subscription_details": {"subscription": "sub_1"}}, subscription="sub_1"),
            ],
            id="the subscription of an invoice below parent and on top",
        ),
        pytest.param(
            invoices.invoice,
            [
                invoice(subscription="sub_1", lines=line(type="subscription")),
                invoice(lines=line(subscription="sub_1", type="subscription")),
                invoice(lines=line(parent={"subscription_item_details": {"subscription": "sub_1"}})),
            ],
            id="the subscription of an invoice on its lines alone",
        ),
        pytest.param(
            invoices.invoice,
            [
                invoice(
                    subscription="sub_1",
                    parent={"subscription_details": {"metadata": {"licenzy_attempt": "att_1"}}},
                ),
                invoice(
                    subscription="sub_1", subscription_details={"metadata": {"licenzy_attempt": "att_1"}}
                ),
            ],
            id="the metadata of an invoice's subscription",
        ),
        pytest.param(
            shapes.session,
            [
                {
                    "mode": "subscription",
                    "payment_status": "paid",
                    "subscription": sub,
                    "customer": customer,
                    "invoice": inv,
                    **email,
                }
                for sub, customer, inv, email in (
                    ("sub_1", "cus_1", "in_1", {"customer_details": {"email": "buyer@example.com"}}),
                    (
                        {"id": "sub_1"},
                        {"id": "cus_1"},
                        {"id": "in_1"},
                        {"customer_email": "buyer@example.com"},
                    ),
                )
            ],
            id="a session with ids and with expanded objects",
        ),
    ],
)
def test_every_shape_of_one_thing_gives_the_same_words(read: Any, shapes_of_one_thing: list[Any]) -> None:
    first, *others = (read(shape) for shape in shapes_of_one_thing)
    for other in others:
        assert other == first


def test_the_words_of_a_subscription() -> None:
    words = shapes.subscription(subscription(**PERIOD, metadata={"licenzy_attempt": "att_1"}))
    assert words["attempt"] == "att_1"
    assert words["items"] == [
        {
            "id": "si_1",
            "price": "price_1",
            "product": None,
            "metered": None,
            "quantity": 3,
            "period_start": 1_700_000_000,
            "period_end": 1_702_592_000,
        }
    ]


@pytest.mark.parametrize(
    "items",
    [
        None,
        [],
        {},
        {"data": []},
        {"data": [None]},
        {"data": [{"id": "si_1"}]},
        {"data": [{"price": "price_1"}]},
    ],
)
def test_a_subscription_without_a_priced_item_is_unreadable(items: Any) -> None:
    with pytest.raises(Unreadable):
        shapes.subscription(subscription(items=items))


def test_what_was_before_is_told_in_the_same_words() -> None:
    previous = {
        "status": "trialing",
        "cancel_at": None,
        "pause_collection": {"behavior": "void"},
        "latest_invoice": {"id": "in_0"},
        "items": {"data": [{**ITEM, **PERIOD}]},
        "something_new": 1,
    }
    value = {
        **ENVELOPE,
        "type": "customer.subscription.updated",
        "data": {"object": subscription(), "previous_attributes": previous},
    }
    reading = read_object(read_event(value))
    assert reading is not None
    assert reading.data["previous"] == {
        "status": "trialing",
        "cancel_at": None,
        "pause": "void",
        "latest_invoice": "in_0",
        "items": shapes.subscription(subscription(items=previous["items"]))["items"],
    }
    value["data"]["previous_attributes"] = {"items": {"data": [{"id": "si_1"}]}}  # type: ignore[index]
    partly = read_object(read_event(value))
    assert partly is not None
    assert partly.data["previous"] == {}


def test_types_we_take_no_facts_from_are_ignored() -> None:
    for kind in ("customer.created", "price.updated", "something.unheard_of"):
        assert outcome_of({**ENVELOPE, "type": kind}) == "ignored"


OLD_LINES: tuple[dict[str, Any], ...] = (
    {"type": "subscription", "subscription_item": "si_1", "price": {"id": "price_1"}, "quantity": 2},
    {"type": "subscription", "subscription_item": "si_1", "plan": {"id": "price_1"}, "quantity": 2},
)
NEW_LINE: dict[str, Any] = {
    "parent": {
        "type": "subscription_item_details",
        "subscription_item_details": {"subscription_item": "si_1"},
    },
    "pricing": {"type": "price_details", "price_details": {"price": "price_1", "product": "prod_1"}},
    "quantity": 2,
}


@pytest.mark.parametrize("shape", [*OLD_LINES, NEW_LINE])
def test_a_line_of_an_item_in_every_shape(shape: dict[str, Any]) -> None:
    read = invoices.invoice_line({**shape, "amount": 1200, "period": {"start": 1, "end": 2}})
    assert read == {
        "item": "si_1",
        "recurring": True,
        "price": "price_1",
        "quantity": 2,
        "proration": False,
        "amount": 1200,
        "start": 1,
        "end": 2,
    }


@pytest.mark.parametrize(
    ("shape", "proration"),
    [
        ({"type": "invoiceitem", "proration": True, "subscription_item": "si_1"}, True),
        ({"type": "invoiceitem", "proration": False}, False),
        ({"parent": {"invoice_item_details": {"invoice_item": "ii_1", "proration": True}}}, True),
        ({"parent": {"invoice_item_details": {"invoice_item": "ii_1", "proration": False}}}, False),
        ({}, False),
    ],
)
def test_a_line_that_bills_no_period_of_an_item(shape: dict[str, Any], proration: bool) -> None:
    read = invoices.invoice_line(shape)
    assert read["recurring"] is False
    assert read["proration"] is proration


@pytest.mark.parametrize("odd", [None, "1", 1.5, True, -1, 10**20, [], {}])
def test_a_line_that_cannot_be_read_in_part_is_read_in_the_rest(odd: Any) -> None:
    read = invoices.invoice_line({**NEW_LINE, "amount": odd, "period": {"start": odd, "end": odd}})
    assert (read["item"], read["start"], read["end"]) == ("si_1", None, None)
    assert read["amount"] is None or isinstance(read["amount"], int)


def test_a_quantity_of_zero_is_zero() -> None:
    item = {"id": "si_1", "price": {"id": "price_1", "product": "prod_1"}}
    for sent, quantity in (({"quantity": 0}, 0), ({}, 1), ({"quantity": None}, 1)):
        (read,) = shapes.subscription(subscription(items={"data": [{**item, **sent}]}))["items"]
        assert (read["quantity"], read["product"]) == (quantity, "prod_1")


@pytest.mark.parametrize(("sent", "kept"), [(0, 0), (-3, 0), (2**40, 2**31 - 1), (None, 1)])
def test_a_quantity_is_one_that_can_be_stored(sent: int | None, kept: int) -> None:
    read = shapes.subscription(subscription(items={"data": [{**ITEM, "quantity": sent}]}))
    assert read["items"][0]["quantity"] == kept
