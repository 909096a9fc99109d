"""From what Stripe lists to the rows of an import: what is said of a purchase, and who may be named."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from licenzy.entitlements import statuses
from licenzy.kit.clock import from_unix, to_micros
from licenzy.stripe_events.read import Found, session_found, subscription_found
from licenzy.stripe_gateway import invoices, shapes, values
from licenzy.stripe_gateway.shapes import Reading
from licenzy.stripe_gateway.values import Unreadable

_BEGUN = statuses.KNOWN - statuses.NOT_BEGUN
_MOST_METADATA = 50
"""Stripe's own limit."""
_log = logging.getLogger("licenzy.imports")


class ReadPurchase(NamedTuple):
    """A purchase as Stripe lists it, in the columns of `ImportRow`."""

    key: str
    status: str
    is_over: bool
    made_at: datetime
    stripe_customer_id: str | None
    email: str | None
    items: list[dict[str, Any]]
    named: dict[str, Any]
    found: dict[str, Any] | None


def read_subscription(obj: Mapping[str, Any], *, read_at: datetime) -> ReadPurchase:
    """A listed subscription with its customer and latest invoice; without items where it cannot be read."""
    try:
        return _subscription(obj, read_at)
    except Unreadable as problem:
        return _unread(obj, problem)


def _subscription(obj: Mapping[str, Any], read_at: datetime) -> ReadPurchase:
    found = subscription_found(obj)
    data = found.readings[0].data
    customer = values.mapping(obj.get("customer"))
    invoice = values.mapping(obj.get("latest_invoice"))
    started = data["started_at"] or values.seconds(obj, "created")
    stored = {
        "readings": [[each.kind, each.object_id, each.data] for each in found.readings],
        "payments": sorted(found.payments),
        "read_at": to_micros(read_at),
        "begun": [item["id"] for item in data["items"]] if data["status"] in _BEGUN else [],
        "periods": _running_periods(obj, data, invoice),
    }
    return ReadPurchase(
        key=obj["id"],
        status=data["status"],
        is_over=data["status"] in statuses.ENDED,
        made_at=from_unix(started) if started else read_at,
        stripe_customer_id=data["customer"],
        email=values.address(customer.get("email")) or values.address(invoice.get("customer_email")),
        items=[{name: item[name] for name in ("price", "product", "quantity")} for item in data["items"]],
        named={"subscription": metadata_of(obj), "customer": metadata_of(customer)},
        found=stored,
    )


def _running_periods(
    obj: Mapping[str, Any], data: Mapping[str, Any], invoice: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The periods that count as paid: those that run while it is active.

    Not that of an invoice which is open after its payment has failed.
    """
    if data["status"] != "active":
        return []
    has_failed = invoice.get("status") == "open" and bool(invoice.get("attempt_count"))
    amounts = {item.get("id"): _amount(item) for item in _listed(obj)}
    return [
        {
            "item": item["id"],
            "price": item["price"],
            "quantity": item["quantity"],
            "amount": amounts.get(item["id"]),
            "start": item["period_start"],
            "end": item["period_end"],
        }
        for item in data["items"]
        if item["period_start"] is not None
        and item["period_end"] is not None
        and not (has_failed and _bills(invoice, item))
    ]


def _listed(obj: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    listed = values.mapping(obj.get("items")).get("data")
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _amount(item: Mapping[str, Any]) -> int | None:
    """What a period of an item costs before discounts; None for tiered and custom prices."""
    unit = values.whole_or_none(values.mapping(item.get("price")).get("unit_amount"))
    quantity = values.whole_or_none(item.get("quantity"))
    return None if unit is None else unit * (1 if quantity is None else quantity)


def _bills(invoice: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Whether an invoice bills the running period of an item."""
    reading = invoices.invoice(invoice)
    lines = reading["lines"] or ()
    return any(line["item"] == item["id"] and line["start"] == item["period_start"] for line in lines)


def read_payment(
    obj: Mapping[str, Any],
    *,
    lines: Sequence[Mapping[str, Any]],
    refunds: Sequence[Mapping[str, Any]] = (),
    disputes: Sequence[Mapping[str, Any]] = (),
) -> ReadPurchase | None:
    """A completed session that sold something once; None where nothing was paid.

    `lines` are all of its line items, `refunds` and `disputes` those of its payment. Without items where any
    of it cannot be read.
    """
    try:
        reversing = [Reading("refund", each["id"], shapes.refund(each)) for each in refunds]
        reversing += [Reading("dispute", each["id"], shapes.dispute(each)) for each in disputes]
        return _payment(obj, lines, reversing)
    except Unreadable as problem:
        return _unread(obj, problem)


def _payment(
    obj: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], reversing: Sequence[Reading]
) -> ReadPurchase | None:
    found = session_found(obj, lines=lines)
    if found is None or found.purchase_key != obj["id"]:
        return None
    data = found.readings[0].data
    if data["status"] != "complete" or data["payment_status"] == "unpaid":
        return None
    return ReadPurchase(
        key=obj["id"],
        status=data["payment_status"],
        is_over=False,
        made_at=found.occurred_at or from_unix(0),
        stripe_customer_id=data["customer"],
        email=data["email"],
        items=[
            {"price": line["price"], "product": None, "quantity": line["quantity"]}
            for line in data["lines"]
            if line["price"] is not None
        ],
        named={"subscription": metadata_of(obj), "customer": {}, "reference": data["reference"]},
        found={
            "readings": [[each.kind, each.object_id, each.data] for each in found.readings],
            "payments": sorted(found.payments),
            "occurred_at": to_micros(found.occurred_at) if found.occurred_at else None,
            "reversing": [[each.kind, each.object_id, each.data] for each in reversing],
        },
    )


def _unread(obj: Mapping[str, Any], problem: Unreadable) -> ReadPurchase:
    """A purchase of which nothing is known but that it is there: a person is to see it, not only the log."""
    _log.warning("%s cannot be read for the import: %s", obj["id"], problem)
    status, created = obj.get("status"), values.instant_or_none(obj.get("created"))
    return ReadPurchase(
        key=obj["id"],
        status=status if status in statuses.KNOWN else "unknown",
        is_over=False,
        made_at=from_unix(created or 0),
        stripe_customer_id=values.id_of(obj.get("customer")),
        email=None,
        items=[],
        named={},
        found=None,
    )


def found_in(stored: Mapping[str, Any], key: str, occurred_at: datetime | None) -> Found:
    """What was read, as the pipeline takes it."""
    readings = [Reading(kind, object_id, data) for kind, object_id, data in stored["readings"]]
    return Found(key, readings, frozenset(stored["payments"]), occurred_at)


def metadata_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """An object's metadata, as far as any database keeps it."""
    found = values.mapping(obj.get("metadata"))
    kept = {name: value for name, value in found.items() if _is_kept(name) and _is_kept(value)}
    return dict(list(kept.items())[:_MOST_METADATA])


def _is_kept(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= 500 and "\x00" not in text and text.isprintable()
