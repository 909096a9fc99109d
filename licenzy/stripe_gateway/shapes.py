"""Every shape in which Stripe sends an object, read into our words.

Stripe moved fields over the years and an event has the shape of its endpoint's API version, so each
reader looks at the newer place first and at the older one then. What comes out is plain data that can
be stored as a fact; nothing right of this room knows where Stripe keeps things.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.kit.clock import from_unix
from licenzy.kit.frozen import frozen

_LAST_SECOND = 253402300799  # of the year 9999
LAST_INSTANT = 250_000_000_000  # Leaves room for what is added to an instant: slack, grace, a pass.


class NotAnEvent(ValueError):
    """The signed object is not a v1 snapshot event."""


class Unreadable(ValueError):
    """An object of Stripe's, in an event or an answer, lacks what it cannot do without."""


@dataclass(frozen=True, slots=True)
class Event:
    """The envelope of a Stripe event."""

    id: str
    type: str
    created: datetime
    livemode: bool
    api_version: str | None
    object: Mapping[str, Any]
    previous: Mapping[str, Any]

    @property
    def object_id(self) -> str | None:
        value = self.object.get("id")
        return value if is_name(value) else None

    @property
    def metadata(self) -> Mapping[str, Any]:
        value = self.object.get("metadata")
        return value if isinstance(value, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Reading:
    """What Stripe says about one object: a fact before it is stored. It is never changed, nor is its data."""

    kind: str
    object_id: str
    data: Mapping[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", frozen(self.data))

    def with_data(self, **more: Any) -> Reading:
        """A reading of the same object that says this as well, or instead."""
        return Reading(self.kind, self.object_id, {**self.data, **more})


def read_event(value: Mapping[str, Any]) -> Event:
    """The envelope. Raises NotAnEvent for thin events and anything else that is no snapshot event."""
    data = value.get("data")
    obj = data.get("object") if isinstance(data, Mapping) else None
    created = value.get("created")
    if (
        value.get("object") != "event"
        or not isinstance(obj, Mapping)
        or not is_name(value.get("id"))
        or not is_name(value.get("type"))
        or not isinstance(created, int)
        or isinstance(created, bool)
        or not 0 <= created <= _LAST_SECOND
        or not isinstance(value.get("livemode"), bool)
    ):
        raise NotAnEvent
    assert isinstance(data, Mapping)
    previous = data.get("previous_attributes")
    version = value.get("api_version")
    return Event(
        id=value["id"],
        type=value["type"],
        created=from_unix(created),
        livemode=value["livemode"],
        api_version=version if is_name(version) else None,
        object=obj,
        previous=previous if isinstance(previous, Mapping) else {},
    )


def is_name(value: Any) -> bool:
    """Whether it can be one of Stripe's ids or words: printable ASCII, which any database keeps."""
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isascii() and value.isprintable()


def read_object(event: Event) -> Reading | None:
    """What the event says in our words; None for types we take no facts from. Raises Unreadable."""
    reader = _READERS.get(event.type)
    if reader is None:
        return None
    kind, read = reader
    if event.object_id is None:
        raise Unreadable(f"{event.type} without an object id")
    data = read(event.object)
    data["event"] = event.type
    if kind == "session" and data["status"] is None:
        data["status"] = _STATUS_OF_EVENT[event.type]
    if kind == "subscription":
        data["previous"] = _previous_subscription(event.previous)
    return Reading(kind, event.object_id, data)


def session_event(obj: Mapping[str, Any]) -> str | None:
    """The event that a session's present state amounts to; none while it is open."""
    if obj.get("status") == "complete":
        return "checkout.session.completed"
    return "checkout.session.expired" if obj.get("status") == "expired" else None


def session(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A Checkout Session."""
    details = _mapping(obj.get("customer_details"))
    metadata = _mapping(obj.get("metadata"))
    return {
        "mode": _word(obj, "mode"),
        "status": obj.get("status"),
        "payment_status": _word(obj, "payment_status"),
        "subscription": _id(obj.get("subscription")),
        "payment_intent": _id(obj.get("payment_intent")),
        "invoice": _id(obj.get("invoice")),
        "customer": _id(obj.get("customer")),
        "email": _address(details.get("email")) or _address(obj.get("customer_email")),
        "amount_total": _whole(obj, "amount_total"),
        "currency": obj.get("currency"),
        "reference": _reference(obj.get("client_reference_id")),
        "project": metadata.get("licenzy_project"),
        "attempt": metadata.get("licenzy_attempt"),
    }


def subscription(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription. Periods stand on the items since API 2025-03-31 and on the subscription before."""
    metadata = _mapping(obj.get("metadata"))
    pause = _mapping(obj.get("pause_collection"))
    return {
        "status": _word(obj, "status"),
        "customer": _id(obj.get("customer")),
        "items": _items(obj),
        "cancel_at": _seconds(obj, "cancel_at"),
        "cancel_at_period_end": bool(obj.get("cancel_at_period_end")),
        "canceled_at": _seconds(obj, "canceled_at"),
        "ended_at": _seconds(obj, "ended_at"),
        "trial_end": _seconds(obj, "trial_end"),
        "started_at": _seconds(obj, "start_date") or _seconds(obj, "created"),
        "pause": pause.get("behavior"),
        "latest_invoice": _id(obj.get("latest_invoice")),
        "attempt": metadata.get("licenzy_attempt"),
    }


def invoice(obj: Mapping[str, Any]) -> dict[str, Any]:
    """An invoice. Its subscription moved below `parent` with API 2025-03-31."""
    details = _mapping(_mapping(obj.get("parent")).get("subscription_details"))
    legacy = _mapping(obj.get("subscription_details"))
    metadata = _mapping(details.get("metadata")) or _mapping(legacy.get("metadata"))
    subscription_id = _id(details.get("subscription")) or _id(obj.get("subscription"))
    return {
        "subscription": subscription_id or _subscription_of_lines(obj),
        "status": obj.get("status"),
        "billing_reason": obj.get("billing_reason"),
        "amount_due": _whole(obj, "amount_due"),
        "amount_paid": _whole(obj, "amount_paid"),
        "currency": obj.get("currency"),
        "customer": _id(obj.get("customer")),
        "payment_intent": _id(obj.get("payment_intent")),
        "charge": _id(obj.get("charge")),
        "period_end": _period_end_of_lines(obj),
        "attempt": metadata.get("licenzy_attempt"),
    }


def charge(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A charge, as `charge.refunded` sends it: how much of it has been given back by then."""
    return {
        "charge": _id(obj),
        "payment_intent": _id(obj.get("payment_intent")),
        "invoice": _id(obj.get("invoice")),
        "amount": _amount(obj, "amount"),
        "amount_refunded": _amount(obj, "amount_refunded"),
    }


def refund(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A refund. Before 2019 it had no status: then it had succeeded."""
    status = obj.get("status")
    return {
        "charge": _id(obj.get("charge")),
        "payment_intent": _id(obj.get("payment_intent")),
        "amount": _amount(obj, "amount"),
        "status": status if isinstance(status, str) else "succeeded",
        "created": obj.get("created"),
    }


def dispute(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A dispute, or an inquiry before one, whose statuses begin with `warning_`."""
    return {
        "charge": _id(obj.get("charge")),
        "payment_intent": _id(obj.get("payment_intent")),
        "amount": obj.get("amount"),
        "status": _word(obj, "status"),
        "created": obj.get("created"),
    }


def invoice_payment(obj: Mapping[str, Any]) -> dict[str, Any]:
    """Which payment paid which invoice: since API 2025-03-31 neither names the other itself."""
    payment = _mapping(obj.get("payment"))
    return {
        "invoice": _id(obj.get("invoice")),
        "charge": _id(payment.get("charge")),
        "payment_intent": _id(payment.get("payment_intent")),
        "status": obj.get("status"),
    }


def _items(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = _mapping(obj.get("items")).get("data")
    items = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    found = [
        {
            "id": item.get("id"),
            # `plan` alone is what API versions before 2019 sent; its id is the price's id.
            "price": _id(item.get("price")) or _id(item.get("plan")),
            "quantity": _whole(item, "quantity") or 1,
            "period_start": _seconds(item, "current_period_start") or _seconds(obj, "current_period_start"),
            "period_end": _seconds(item, "current_period_end") or _seconds(obj, "current_period_end"),
        }
        for item in items
    ]
    if any(not isinstance(item["id"], str) or not isinstance(item["price"], str) for item in found):
        raise Unreadable("a subscription item without id or price")
    if not found:
        raise Unreadable("a subscription without items")
    return found


def _previous_subscription(previous: Mapping[str, Any]) -> dict[str, Any]:
    """What `previous_attributes` tells of the state before, in the words of `subscription`."""
    changed: dict[str, Any] = {
        name: previous[name] for name in ("status", "cancel_at", "cancel_at_period_end") if name in previous
    }
    if "pause_collection" in previous:
        changed["pause"] = _mapping(previous["pause_collection"]).get("behavior")
    if "latest_invoice" in previous:
        changed["latest_invoice"] = _id(previous["latest_invoice"])
    if "items" in previous:
        # Where only part of an item is told, the other fields have to order the events.
        with suppress(Unreadable):
            changed["items"] = _items(previous)
    return changed


def _subscription_of_lines(obj: Mapping[str, Any]) -> str | None:
    for line in _lines(obj):
        parent = _mapping(_mapping(line.get("parent")).get("subscription_item_details"))
        found = _id(parent.get("subscription")) or _id(line.get("subscription"))
        if found:
            return found
    return None


def _period_end_of_lines(obj: Mapping[str, Any]) -> int | None:
    ends = [_mapping(line.get("period")).get("end") for line in _lines(obj)]
    known = (end for end in ends if isinstance(end, int) and 0 < end <= LAST_INSTANT)
    return max(known, default=None)


def _lines(obj: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = _mapping(obj.get("lines")).get("data")
    return [line for line in listed if isinstance(line, Mapping)] if isinstance(listed, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _id(value: Any) -> str | None:
    """The id of a reference, which is a string, or the whole object where it was expanded."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def _address(value: Any) -> str | None:
    """An e-mail address that any database keeps; what is none is left out, not worth losing a purchase."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 320 else None


def _reference(value: Any) -> str | None:
    """What the merchant's own code calls the buyer, where any database keeps it."""
    return value if isinstance(value, str) and value.isprintable() and 1 <= len(value) <= 200 else None


def _amount(obj: Mapping[str, Any], name: str) -> int:
    value = _whole(obj, name)
    if value is None:
        raise Unreadable(f"{name} is missing")
    return value


def _whole(obj: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or none. A fact must not hold what the projection cannot reckon with."""
    value = obj.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Unreadable(f"{name} is no whole number")


def _seconds(obj: Mapping[str, Any], name: str) -> int | None:
    """An instant in Unix seconds that a date can be made of, or none."""
    value = _whole(obj, name)
    if value is not None and not 0 <= value <= LAST_INSTANT:
        raise Unreadable(f"{name} is no instant")
    return value


def _word(obj: Mapping[str, Any], name: str) -> str:
    value = obj.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is missing")
    return value


_STATUS_OF_EVENT = {
    "checkout.session.completed": "complete",
    "checkout.session.async_payment_succeeded": "complete",
    "checkout.session.async_payment_failed": "complete",
    "checkout.session.expired": "expired",
}
"""The status of a session by the event about it: sessions have one of their own since 2022 only."""

_READERS = {
    "checkout.session.completed": ("session", session),
    "checkout.session.async_payment_succeeded": ("session", session),
    "checkout.session.async_payment_failed": ("session", session),
    "checkout.session.expired": ("session", session),
    "customer.subscription.created": ("subscription", subscription),
    "customer.subscription.updated": ("subscription", subscription),
    "customer.subscription.paused": ("subscription", subscription),
    "customer.subscription.resumed": ("subscription", subscription),
    "customer.subscription.deleted": ("subscription", subscription),
    "invoice.paid": ("invoice", invoice),
    "invoice.payment_succeeded": ("invoice", invoice),
    "invoice.payment_failed": ("invoice", invoice),
    "invoice_payment.paid": ("invoice_payment", invoice_payment),
    "charge.refunded": ("charge", charge),
    "charge.refund.updated": ("refund", refund),
    "refund.created": ("refund", refund),
    "refund.updated": ("refund", refund),
    "refund.failed": ("refund", refund),
    "charge.dispute.created": ("dispute", dispute),
    "charge.dispute.updated": ("dispute", dispute),
    "charge.dispute.closed": ("dispute", dispute),
}

READ_EVENT_TYPES: Mapping[str, str] = {event_type: kind for event_type, (kind, _) in _READERS.items()}
"""The types of the events that `read_object` reads, each with the kind of its reading."""
