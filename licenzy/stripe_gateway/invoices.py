"""Invoices in every shape in which Stripe sends them: their lines, and which payment paid them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licenzy.stripe_gateway import values


def invoice(obj: Mapping[str, Any]) -> dict[str, Any]:
    """An invoice. Its subscription moved below `parent` with API 2025-03-31."""
    details = values.mapping(values.mapping(obj.get("parent")).get("subscription_details"))
    legacy = values.mapping(obj.get("subscription_details"))
    metadata = values.mapping(details.get("metadata")) or values.mapping(legacy.get("metadata"))
    subscription_id = values.id_of(details.get("subscription")) or values.id_of(obj.get("subscription"))
    return {
        "subscription": subscription_id or _subscription_of_lines(obj),
        "status": obj.get("status"),
        "billing_reason": obj.get("billing_reason"),
        "amount_due": values.whole(obj, "amount_due"),
        "amount_paid": values.whole(obj, "amount_paid"),
        "currency": obj.get("currency"),
        "customer": values.id_of(obj.get("customer")),
        "payment_intent": values.id_of(obj.get("payment_intent")),
        "charge": values.id_of(obj.get("charge")),
        "period_end": _period_end_of_lines(obj),
        # An invoice that came without its lines says nothing of them, which is not that it has none.
        "lines": [invoice_line(line) for line in _lines(obj)] if obj.get("lines") else None,
        "more_lines": _has_more(obj),
        "created": values.seconds(obj, "created"),
        "due_date": values.seconds(obj, "due_date"),
        "attempt": metadata.get("licenzy_attempt"),
    }


def paid_at(obj: Mapping[str, Any]) -> int | None:
    """When an invoice was paid, in Unix seconds, where it says so."""
    return values.instant_or_none(values.mapping(obj.get("status_transitions")).get("paid_at"))


def invoice_email(obj: Any) -> str | None:
    """The address that an invoice is sent to, where the whole invoice is there and names one."""
    return values.address(values.mapping(obj).get("customer_email"))


def invoice_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of an invoice: `item` lines bill a period of a subscription item, all others something else.

    Since API 2025-03-31 what it is of stands under `parent`, before that on the line itself. A line that
    cannot be read in a part bills nothing that is known: the part is none, and the invoice is still read.
    """
    parent = values.mapping(line.get("parent"))
    of_item = values.mapping(parent.get("subscription_item_details"))
    details = of_item or values.mapping(parent.get("invoice_item_details"))
    pricing = values.mapping(values.mapping(line.get("pricing")).get("price_details"))
    recurring = bool(of_item) or line.get("type") == "subscription"
    period = values.mapping(line.get("period"))
    return {
        "item": values.id_of(of_item.get("subscription_item")) or values.id_of(line.get("subscription_item")),
        "recurring": recurring,
        "price": values.id_of(pricing.get("price"))
        or values.id_of(line.get("price"))
        or values.id_of(line.get("plan")),
        "quantity": values.whole_or_none(line.get("quantity")),
        "proration": bool(details.get("proration") or line.get("proration")),
        "amount": values.whole_or_none(line.get("amount")),
        "start": values.instant_or_none(period.get("start")),
        "end": values.instant_or_none(period.get("end")),
    }


def invoice_payment(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Which payment paid which invoice: since API 2025-03-31 neither names the other itself."""
    payment = values.mapping(obj.get("payment"))
    return {
        "invoice": values.id_of(obj.get("invoice")),
        "charge": values.id_of(payment.get("charge")),
        "payment_intent": values.id_of(payment.get("payment_intent")),
        "status": obj.get("status"),
    }


def _subscription_of_lines(obj: Mapping[str, Any]) -> str | None:
    for line in _lines(obj):
        parent = values.mapping(values.mapping(line.get("parent")).get("subscription_item_details"))
        found = values.id_of(parent.get("subscription")) or values.id_of(line.get("subscription"))
        if found:
            return found
    return None


def _period_end_of_lines(obj: Mapping[str, Any]) -> int | None:
    ends = (values.instant_or_none(values.mapping(line.get("period")).get("end")) for line in _lines(obj))
    return max((end for end in ends if end), default=None)


def _has_more(obj: Mapping[str, Any]) -> bool:
    """Whether it has lines that are not here; also where what stands for them is no list of lines."""
    listed = obj.get("lines")
    if not listed:
        return False
    entries = values.mapping(listed).get("data")
    if not isinstance(entries, list) or not all(isinstance(line, Mapping) for line in entries):
        return True
    return bool(values.mapping(listed).get("has_more"))


def _lines(obj: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = values.mapping(obj.get("lines")).get("data")
    return [line for line in listed if isinstance(line, Mapping)] if isinstance(listed, list) else []
