"""Subscriptions. They come into being in Checkout only."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession, Condition, where
from licenzy.stripe_sandbox.api.table import list_endpoint, operation
from licenzy.stripe_sandbox.errors import RequestRefused, ResourceMissing
from licenzy.stripe_sandbox.lifecycle import cycles, plans, subscriptions
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    array,
    boolean,
    either,
    fields,
    integer,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.version import Json

_STATUSES = (
    "active",
    "canceled",
    "incomplete",
    "incomplete_expired",
    "past_due",
    "paused",
    "trialing",
    "unpaid",
)
_DETAILS: dict[str, Check] = {
    "comment": text(unset=True),
    "feedback": one_of(
        "customer_service",
        "low_quality",
        "missing_features",
        "other",
        "switched_service",
        "too_complex",
        "too_expensive",
        "unused",
        unset=True,
    ),
}


@operation("GET", "/v1/subscriptions/<subscription_id>", permission="subscription", params=fields(EXPAND))
def retrieve(session: AccountSession, params: Json, subscription_id: str) -> Json:
    del params
    return _get(session, subscription_id)


def _conditions(params: Json) -> list[Condition]:
    """Without a status, all that are not canceled."""
    conditions = _status_conditions(params.get("status"))
    if "price" in params:
        items = "SELECT 1 FROM json_each(body, '$.items.data') WHERE json_extract(value, '$.price.id') = ?"
        conditions.append((f"EXISTS ({items})", [params["price"]]))
    return conditions


def _status_conditions(status: str | None) -> list[Condition]:
    if status == "all":
        return []
    if status is None:
        return [("json_extract(body, '$.status') <> 'canceled'", [])]
    if status == "ended":
        return [("json_extract(body, '$.status') IN ('canceled', 'incomplete_expired')", [])]
    return [where("status", status)]


list_endpoint(
    "/v1/subscriptions",
    "subscription",
    permission="subscription",
    filters={
        "collection_method": one_of("charge_automatically", "send_invoice"),
        "customer": text(255),
    },
    other_filters={"price": text(255), "status": one_of(*_STATUSES, "all", "ended")},
    other_conditions=_conditions,
)


@operation(
    "POST",
    "/v1/subscriptions/<subscription_id>",
    permission="subscription",
    params=fields(
        {
            "cancel_at": either(integer(1), text(0, unset=True)),
            "cancel_at_period_end": boolean(),
            "cancellation_details": fields(_DETAILS),
            "description": text(500, unset=True),
            "items": array(
                fields(
                    {"id": text(255), "price": text(255), "quantity": integer(1, 999999)}, required=("id",)
                )
            ),
            "metadata": metadata(),
            "pause_collection": either(
                fields(
                    {
                        "behavior": one_of("keep_as_draft", "mark_uncollectible", "void"),
                        "resumes_at": integer(),
                    },
                    required=("behavior",),
                ),
                text(0, unset=True),
            ),
            "proration_behavior": one_of("always_invoice", "create_prorations", "none"),
            **EXPAND,
        }
    ),
)
def update(session: AccountSession, params: Json, subscription_id: str) -> Json:
    """Several changes at once emit one event each."""
    subscription = _get(session, subscription_id)
    _update_fields(session, subscription, params)
    if "items" in params:
        plans.change_items(session, subscription, params["items"])
    details = params.get("cancellation_details")
    if params.get("cancel_at_period_end") is True:
        subscriptions.schedule_cancel(
            session, subscription, at=None, set_period_end_flag=True, details=details
        )
    elif params.get("cancel_at") is not None:
        if params["cancel_at"] <= session.now:
            raise RequestRefused("`cancel_at` must be in the future.", param="cancel_at")
        subscriptions.schedule_cancel(
            session, subscription, at=params["cancel_at"], set_period_end_flag=False, details=details
        )
    elif "cancel_at_period_end" in params or "cancel_at" in params:
        subscriptions.undo_cancel(session, subscription)
    return subscription


@operation(
    "DELETE",
    "/v1/subscriptions/<subscription_id>",
    permission="subscription",
    params=fields(
        {"cancellation_details": fields(_DETAILS), "invoice_now": boolean(), "prorate": boolean(), **EXPAND}
    ),
)
def cancel(session: AccountSession, params: Json, subscription_id: str) -> Json:
    subscription = _get(session, subscription_id)
    if subscription["status"] in subscriptions.ENDED:
        raise ResourceMissing(f"No such subscription: '{subscription_id}'", param="id", in_address=True)
    subscriptions.cancel(session, subscription, details=params.get("cancellation_details"))
    return subscription


@operation(
    "POST", "/v1/subscriptions/<subscription_id>/resume", permission="subscription", params=fields(EXPAND)
)
def resume(session: AccountSession, params: Json, subscription_id: str) -> Json:
    del params
    subscription = _get(session, subscription_id)
    cycles.resume(session, subscription)
    return subscription


def _get(session: AccountSession, subscription_id: str) -> Json:
    return session.get("subscription", subscription_id, param="id", in_address=True)


def _update_fields(session: AccountSession, subscription: Json, params: Json) -> None:
    changes: Json = {k: params[k] for k in ("description", "pause_collection") if k in params}
    if changes.get("pause_collection"):
        changes["pause_collection"] = {"resumes_at": None, **changes["pause_collection"]}
    if "metadata" in params:
        changes["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if changes:
        subscriptions.update(session, subscription, **changes)
