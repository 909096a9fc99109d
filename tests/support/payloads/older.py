"""The shapes that older API versions, expanded references and worn data give to the saved events.

An endpoint receives events in the version it was created with, for ever; so a merchant of ten years sends
payloads in which things stand where Stripe kept them then. Each function undoes the changes of
https://docs.stripe.com/changelog that concern objects we read.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Reshape = Callable[[Json], Json]

BASIL = "2025-03-31.basil"


def older_events(current: list[tuple[str, Json]]) -> list[tuple[str, Json]]:
    """The first saved event of each type in every other shape that its object had, with their names."""
    first: dict[str, Json] = {}
    for _name, value in current:
        first.setdefault(value["type"], value)
    return [
        (f"{event_type}--{shape}", _reshaped(value, version, reshape))
        for event_type, value in sorted(first.items())
        for shape, version, reshapes in _SHAPES
        if (reshape := reshapes.get(value["data"]["object"]["object"])) is not None
        if reshape(value["data"]["object"]) != value["data"]["object"]
    ]


def _reshaped(value: Json, version: str | None, reshape: Reshape) -> Json:
    event = copy.deepcopy(value)
    event["api_version"] = version
    event["data"]["object"] = reshape(event["data"]["object"])
    previous = event["data"].get("previous_attributes")
    if previous and "items" in previous and version is not None and version < BASIL:
        previous |= _period_on_top(previous)
    if version is not None and version < "2017-05-25":
        event["request"] = "req_00000000000001"
    return event


def _subscription_2020(obj: Json) -> Json:
    """Until 2025-03-31 the period stood on the subscription, and `plan` beside `price` of a single item."""
    item = obj["items"]["data"][0]
    return {**_period_on_top(obj), "plan": item["plan"], "quantity": item.get("quantity")}


def _period_on_top(obj: Json) -> Json:
    items, period = [], {}
    for item in obj["items"]["data"]:
        period = {name: item[name] for name in ("current_period_start", "current_period_end")}
        items.append({name: value for name, value in item.items() if name not in period})
    return {**obj, **period, "items": {**obj["items"], "data": items}}


def _subscription_2017(obj: Json) -> Json:
    """Prices came in 2020: before, items had a plan alone. `start_date` and `latest_invoice` came in 2018."""
    older = _subscription_2020(obj)
    items = [_without(item, "price", "tax_rates", "discounts") for item in older["items"]["data"]]
    older = _without(older, "start_date", "latest_invoice", "pause_collection", "cancel_at")
    return {
        **older,
        "start": obj["start_date"],
        "billing": "charge_automatically",
        "items": {**older["items"], "data": items},
    }


def _subscription_in_both_places(obj: Json) -> Json:
    """Some libraries fill the older fields in, so that code written for them goes on working."""
    items = obj["items"]
    return {**_period_on_top(obj), "items": items}


def _invoice_2020(obj: Json) -> Json:
    """Until 2025-03-31 an invoice named its subscription, payment and charge itself, and had no `parent`."""
    lines = [_line_2020(line) for line in obj["lines"]["data"]]
    older = _without(obj, "parent", "total_taxes", "amount_overpaid")
    return {
        **older,
        "subscription": _subscription_of(obj),
        "payment_intent": "pi_00000000000017",
        "charge": "ch_00000000000021",
        "paid": obj["status"] == "paid",
        "lines": {**obj["lines"], "data": lines},
    }


def _line_2020(line: Json) -> Json:
    """A line named its item and price itself, and said whether it is a proration."""
    details = line["parent"]["subscription_item_details"]
    price = line["pricing"]["price_details"]
    return {
        **_without(line, "parent", "pricing", "taxes"),
        "type": "subscription",
        "subscription": details["subscription"],
        "subscription_item": details["subscription_item"],
        "proration": details["proration"],
        "price": {"id": price["price"], "object": "price", "product": price["product"]},
    }


def _invoice_2017(obj: Json) -> Json:
    """Until 2018-11-08 `closed` and `forgiven` stood for the status; payment intents came in 2019."""
    older = _without(_invoice_2020(obj), "status", "payment_intent", "status_transitions", "amount_remaining")
    return {**older, "closed": True, "forgiven": False, "date": obj["created"]}


def _invoice_in_both_places(obj: Json) -> Json:
    """Some libraries fill the older field in, so that code written for it goes on working."""
    return {**obj, "subscription": _subscription_of(obj)}


def _invoice_of_lines_alone(obj: Json) -> Json:
    """Where the merchant's own code made the invoice of a subscription's items."""
    return {**obj, "parent": None}


def _charge_2020(obj: Json) -> Json:
    """Until 2022-11-15 a charge held the list of its refunds, until 2025-03-31 its invoice."""
    refunds = [{"id": "re_00000000000088", "object": "refund", "amount": obj["amount_refunded"]}]
    card = {"id": "card_00000000000007", "object": "card", "brand": "Visa", "last4": "4242"}
    return {
        **obj,
        "invoice": None,
        "source": card,
        "refunds": {"object": "list", "data": refunds, "has_more": False, "total_count": len(refunds)},
    }


def _charge_2017(obj: Json) -> Json:
    return _without(_charge_2020(obj), "payment_intent", "payment_method", "payment_method_details")


def _refund_2017(obj: Json) -> Json:
    return _without(obj, "payment_intent", "status", "destination_details")


def _dispute_2013(obj: Json) -> Json:
    """Until 2015 a dispute was a part of its charge, without an id of its own."""
    return {
        **_without(obj, "id", "payment_intent", "metadata", "payment_method_details", "evidence_details"),
        "evidence": None,
    }


def _dispute_2017(obj: Json) -> Json:
    return _without(obj, "payment_intent", "payment_method_details")


def _session_2020(obj: Json) -> Json:
    """Sessions have a status since 2021-09; before, the event alone said that one was complete."""
    email = (obj["customer_details"] or {}).get("email") or obj["customer_email"]
    return {**_without(obj, "status", "customer_details", "payment_link"), "customer_email": email}


def _session_expanded(obj: Json) -> Json:
    return {
        **obj,
        **_expanded(obj, customer="customer", subscription="subscription", invoice="invoice"),
        **_expanded(obj, payment_intent="payment_intent"),
    }


def _subscription_expanded(obj: Json) -> Json:
    return {**obj, **_expanded(obj, customer="customer", latest_invoice="invoice")}


def _invoice_expanded(obj: Json) -> Json:
    older = _invoice_2020(obj)
    return {
        **older,
        **_expanded(older, customer="customer", subscription="subscription", charge="charge"),
        **_expanded(older, payment_intent="payment_intent"),
    }


def _payment_expanded(obj: Json) -> Json:
    return {**obj, **_expanded(obj, charge="charge", payment_intent="payment_intent", customer="customer")}


def _invoice_payment_expanded(obj: Json) -> Json:
    payment = obj["payment"]
    payment = {**payment, **_expanded(payment, payment_intent="payment_intent")}
    return {**obj, **_expanded(obj, invoice="invoice"), "payment": payment}


def _upcoming_without_id(obj: Json) -> Json:
    """A preview of an invoice had no id before 2024."""
    return _without(obj, "id") if obj["id"].startswith("upcoming_") else obj


def _from_the_future(obj: Json) -> Json:
    """Stripe adds fields and new values of words at any time, which its contract allows."""
    more = {"not_yet_known": {"id": "nyk_1", "object": "not_yet_known", "list": [1, None]}}
    return {**obj, **more, "metadata": {"licenzy": "é", "order": ""}, "reason": "not_yet_known"}


def _expanded(obj: Json, **kinds: str) -> Json:
    """The references of the named fields as the objects they refer to."""
    return {
        field: {"id": obj[field], "object": kind, "livemode": False, "metadata": {}}
        for field, kind in kinds.items()
        if isinstance(obj.get(field), str)
    }


def _subscription_of(invoice: Json) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    found: str | None = details.get("subscription")
    return found


def _without(obj: Json, *names: str) -> Json:
    return {name: value for name, value in obj.items() if name not in names}


_SHAPES: tuple[tuple[str, str | None, dict[str, Reshape]], ...] = (
    ("2013", "2013-08-13", {"dispute": _dispute_2013}),
    (
        "2017",
        "2017-12-14",
        {
            "subscription": _subscription_2017,
            "invoice": _invoice_2017,
            "charge": _charge_2017,
            "refund": _refund_2017,
            "dispute": _dispute_2017,
        },
    ),
    (
        "2020",
        "2020-08-27",
        {
            "subscription": _subscription_2020,
            "invoice": _invoice_2020,
            "charge": _charge_2020,
            "checkout.session": _session_2020,
        },
    ),
    (
        "in-both-places",
        None,
        {"subscription": _subscription_in_both_places, "invoice": _invoice_in_both_places},
    ),
    ("of-lines-alone", BASIL, {"invoice": _invoice_of_lines_alone}),
    (
        "expanded",
        BASIL,
        {
            "checkout.session": _session_expanded,
            "subscription": _subscription_expanded,
            "invoice": _invoice_expanded,
            "charge": _payment_expanded,
            "refund": _payment_expanded,
            "dispute": _payment_expanded,
            "invoice_payment": _invoice_payment_expanded,
        },
    ),
    ("without-id", "2020-08-27", {"invoice": _upcoming_without_id}),
    (
        "from-the-future",
        "2031-01-01.later",
        dict.fromkeys(
            ("checkout.session", "subscription", "invoice", "charge", "refund", "dispute", "invoice_payment"),
            _from_the_future,
        ),
    ),
)
