"""The JSON Schema of each event type, as published: docs/schemas holds what this makes."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from licenzy.deliveries.models import EventType, Source
from licenzy.deliveries.rules import Data

DATA_FIELDS = tuple(field.name for field in fields(Data))

_INSTANT = {"type": "string", "format": "date-time", "pattern": "Z$"}
_TEXT = {"type": "string"}
_WHOLE = {"type": "integer"}
_FIELDS: dict[str, dict[str, Any]] = {
    "entitlement_id": {
        "type": "string",
        "pattern": "^ent_",
        "description": "The entitlement that this event is about.",
    },
    "product_code": {**_TEXT, "description": "Your product code."},
    "kind": {"enum": ["subscription", "time_pass", "usage_pack", "free"]},
    "status": {
        "enum": ["active", "trialing", "past_due", "paused", "suspended", "canceled", "expired", "exhausted"]
    },
    "available": {"type": "boolean", "description": "Whether the entitlement gives access now."},
    "usage_remaining": {"type": "integer", "minimum": 0, "description": "Units left."},
    "unit": {**_TEXT, "description": "What the units are, such as images. Only for usage packs."},
    "units": {
        **_WHOLE,
        "description": "Units granted. In usage.consumed: units consumed.",
    },
    "valid_until": {**_INSTANT, "description": "When it ends, as the portal shows it."},
    "canceled_at": _INSTANT,
    "attempt_id": {
        "type": "string",
        "pattern": "^att_",
        "description": "The checkout attempt: the call that created the checkout.",
    },
    "amount_total": {**_WHOLE, "description": "In the currency's smallest unit."},
    "currency": {"type": "string", "pattern": "^[a-z]{3}$"},
    "stripe_checkout_session_id": _TEXT,
    "stripe_subscription_id": _TEXT,
    "stripe_event_id": {**_TEXT, "description": "The Stripe event that caused it."},
    "actor_user_id": {
        "type": "string",
        "pattern": "^usr_",
        "description": "The person who did it in the portal.",
    },
}
_MEANS = {
    EventType.PURCHASE_FINALIZED: "A purchase is available for the first time. Sent once for each purchase.",
    EventType.ENTITLEMENT_UPDATED: "An entitlement was granted or has changed.",
    EventType.USAGE_CONSUMED: "Units were consumed.",
    EventType.USAGE_LOW: "The units left of a product have fallen to the product's low-usage threshold.",
    EventType.USAGE_GRANTED: "The first call in a window of included units opened it.",
    EventType.SUBSCRIPTION_UPDATED: "A subscription changed in Stripe, and its entitlements changed with it.",
    EventType.SUBSCRIPTION_DELETED: "A subscription ended in Stripe. Sent once for each subscription.",
    EventType.SUBSCRIPTION_TRIAL_ENDING: (
        "A trial ends within three days. Sent once for each subscription and end of its trial."
    ),
    EventType.INVOICE_PAYMENT_SUCCEEDED: "An invoice of a subscription was paid. Sent once for each invoice.",
    EventType.INVOICE_PAYMENT_FAILED: "The payment of an invoice failed. Sent once for each invoice.",
}


def schema_of(event_type: EventType) -> dict[str, Any]:
    """The schema of the whole body. Later versions may add fields, and never take one away."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": event_type.value,
        "description": _MEANS[event_type],
        "type": "object",
        "required": [
            "id", "type", "created_at", "mode", "project_id", "source", "reason", "subject_ref", "data",
        ],
        "properties": {
            "id": {
                "type": "string",
                "pattern": "^evt_",
                "description": "The same as the header webhook-id, for all endpoints and attempts.",
            },
            "type": {"const": event_type.value},
            "created_at": _INSTANT,
            "mode": {"enum": ["test", "live"]},
            "project_id": {"type": "string", "pattern": "^prj_"},
            "source": {"enum": [each.value for each in Source]},
            "reason": {"type": "string", "description": "The cause, such as checkout_finalized."},
            "subject_ref": _or_null({**_TEXT, "maxLength": 200, "description": "Your ID of the customer."}),
            "data": {
                "type": "object",
                "description": "Null where a field does not apply.",
                "required": list(DATA_FIELDS),
                "properties": {name: _or_null(_FIELDS[name]) for name in DATA_FIELDS},
            },
        },
    }  # fmt: skip


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    described = {"description": schema["description"]} if "description" in schema else {}
    bare = {name: value for name, value in schema.items() if name != "description"}
    if "type" in bare:
        return {**bare, "type": [bare["type"], "null"], **described}
    return {"enum": [*bare["enum"], None], **described}
