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
from licenzy.stripe_gateway import invoices, values
from licenzy.stripe_gateway.values import Unreadable

_LAST_SECOND = 253402300799  # of the year 9999


class NotAnEvent(ValueError):
    """The signed object is not a v1 snapshot event."""


class ThinEvent(NotAnEvent):
    """It is an event of Stripe's v2 API, which names an object without saying anything about it."""


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
    account: str | None = None
    """The connected account that it happened in, on a platform of Stripe Connect."""

    @property
    def object_id(self) -> str | None:
        value = self.object.get("id")
        return value if is_id(value) else None

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
    """The envelope. Raises ThinEvent, and NotAnEvent for anything else that is no snapshot event."""
    if value.get("object") == "v2.core.event":
        raise ThinEvent
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
        account=_account(value.get("account")),
    )


def _account(value: Any) -> str | None:
    """Raises NotAnEvent for an account that is no id: whose event it is cannot be left open."""
    if value is not None and not is_name(value):
        raise NotAnEvent
    return str(value) if value is not None else None


def is_name(value: Any) -> bool:
    """Whether it can be one of Stripe's ids or words: printable ASCII, which any database keeps."""
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isascii() and value.isprintable()


def is_id(value: Any) -> bool:
    """Whether it can be an id: of old plans, and of what merchants name themselves, in any script."""
    return isinstance(value, str) and 1 <= len(value) <= 255 and value.isprintable()


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
    details = values.mapping(obj.get("customer_details"))
    metadata = values.mapping(obj.get("metadata"))
    return {
        "mode": values.word(obj, "mode"),
        "status": obj.get("status"),
        "payment_status": values.word(obj, "payment_status"),
        "subscription": values.id_of(obj.get("subscription")),
        "payment_intent": values.id_of(obj.get("payment_intent")),
        "invoice": values.id_of(obj.get("invoice")),
        "customer": values.id_of(obj.get("customer")),
        "email": values.address(details.get("email")) or values.address(obj.get("customer_email")),
        "amount_total": values.whole(obj, "amount_total"),
        "amount_subtotal": values.whole_or_none(obj.get("amount_subtotal")),
        "offered_more": bool(obj.get("optional_items")),
        "currency": obj.get("currency"),
        "reference": values.reference(obj.get("client_reference_id")),
        "recovered_from": values.id_of(obj.get("recovered_from")),
        "discount": values.whole_or_none(values.mapping(obj.get("total_details")).get("amount_discount")),
        "project": metadata.get("licenzy_project"),
        "attempt": metadata.get("licenzy_attempt"),
    }


def session_line(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line item of a Checkout Session: what was bought, and how many of it."""
    price = values.mapping(line.get("price"))
    quantity = values.whole_or_none(line.get("quantity"))
    return {
        "price": values.id_of(line.get("price")),
        "quantity": 1 if quantity is None else quantity,
        "recurring": bool(price.get("recurring")),
    }


MOST_OF_AN_ITEM = 2**31 - 1
"""The largest quantity that is kept: more would be refused by the database, with every event that has it."""


def subscription(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A subscription. Periods stand on the items since API 2025-03-31 and on the subscription before."""
    metadata = values.mapping(obj.get("metadata"))
    pause = values.mapping(obj.get("pause_collection"))
    return {
        "status": values.word(obj, "status"),
        "customer": values.id_of(obj.get("customer")),
        "items": _items(obj),
        "cancel_at": values.seconds(obj, "cancel_at"),
        "cancel_at_period_end": bool(obj.get("cancel_at_period_end")),
        "canceled_at": values.seconds(obj, "canceled_at"),
        "ended_at": values.seconds(obj, "ended_at"),
        "trial_end": values.seconds(obj, "trial_end"),
        "started_at": values.seconds(obj, "start_date") or values.seconds(obj, "created"),
        "pause": pause.get("behavior"),
        "latest_invoice": values.id_of(obj.get("latest_invoice")),
        "anchor": values.seconds(obj, "billing_cycle_anchor"),
        "collection_method": obj.get("collection_method"),
        "project": metadata.get("licenzy_project"),
        "attempt": metadata.get("licenzy_attempt"),
    }


def charge(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A charge, as `charge.refunded` sends it: how much of it has been given back by then."""
    return {
        "charge": values.id_of(obj),
        "payment_intent": values.id_of(obj.get("payment_intent")),
        "invoice": values.id_of(obj.get("invoice")),
        "amount": values.amount(obj, "amount"),
        "amount_refunded": values.amount(obj, "amount_refunded"),
    }


def refund(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A refund. Before 2019 it had no status: then it had succeeded."""
    status = obj.get("status")
    return {
        "charge": values.id_of(obj.get("charge")),
        "payment_intent": values.id_of(obj.get("payment_intent")),
        "amount": values.amount(obj, "amount"),
        "status": status if isinstance(status, str) else "succeeded",
        "created": obj.get("created"),
    }


def dispute(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A dispute, or an inquiry before one, whose statuses begin with `warning_`."""
    return {
        "charge": values.id_of(obj.get("charge")),
        "payment_intent": values.id_of(obj.get("payment_intent")),
        "amount": obj.get("amount"),
        "status": values.word(obj, "status"),
        "created": obj.get("created"),
    }


def _items(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = values.mapping(obj.get("items")).get("data")
    items = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    found = [
        {
            "id": item.get("id"),
            # `plan` alone is what API versions before 2019 sent; its id is the price's id.
            "price": values.id_of(item.get("price")) or values.id_of(item.get("plan")),
            "product": values.id_of(values.mapping(item.get("price") or item.get("plan")).get("product")),
            "metered": _is_metered(item),
            "quantity": _quantity(item),
            "period_start": values.seconds(item, "current_period_start")
            or values.seconds(obj, "current_period_start"),
            "period_end": values.seconds(item, "current_period_end")
            or values.seconds(obj, "current_period_end"),
        }
        for item in items
    ]
    if any(not isinstance(item["id"], str) or not isinstance(item["price"], str) for item in found):
        raise Unreadable("a subscription item without id or price")
    if not found:
        raise Unreadable("a subscription without items")
    return found


def _is_metered(item: Mapping[str, Any]) -> bool | None:
    """Whether Stripe bills the item by reported use; None where its price is only named."""
    price = values.mapping(item.get("price") or item.get("plan"))
    usage = values.mapping(price.get("recurring")).get("usage_type") or price.get("usage_type")
    return usage == "metered" if isinstance(usage, str) else None


def _quantity(item: Mapping[str, Any]) -> int:
    """How many of its price an item has; 0 is none, and only where none is sent it is one."""
    quantity = values.whole(item, "quantity")
    return 1 if quantity is None else min(max(0, quantity), MOST_OF_AN_ITEM)


def _previous_subscription(previous: Mapping[str, Any]) -> dict[str, Any]:
    """What `previous_attributes` tells of the state before, in the words of `subscription`."""
    changed: dict[str, Any] = {
        name: previous[name] for name in ("status", "cancel_at", "cancel_at_period_end") if name in previous
    }
    if "pause_collection" in previous:
        changed["pause"] = values.mapping(previous["pause_collection"]).get("behavior")
    if "latest_invoice" in previous:
        changed["latest_invoice"] = values.id_of(previous["latest_invoice"])
    if "metadata" in previous:
        # A key that was added is told as none, or not at all.
        changed["project"] = values.mapping(previous["metadata"]).get("licenzy_project")
    if "items" in previous:
        # Where only part of an item is told, the other fields have to order the events.
        with suppress(Unreadable):
            changed["items"] = _items(previous)
    return changed


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
    "customer.subscription.trial_will_end": ("subscription", subscription),
    "invoice.paid": ("invoice", invoices.invoice),
    "invoice.payment_succeeded": ("invoice", invoices.invoice),
    "invoice.payment_failed": ("invoice", invoices.invoice),
    "invoice.overdue": ("invoice", invoices.invoice),
    "invoice.voided": ("invoice", invoices.invoice),
    "invoice.marked_uncollectible": ("invoice", invoices.invoice),
    "invoice_payment.paid": ("invoice_payment", invoices.invoice_payment),
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
