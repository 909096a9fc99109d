"""Subscriptions as they are. `subscription_changes` makes and changes them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, Condition, where
from licenzy.stripe_sandbox.api.table import list_endpoint, operation
from licenzy.stripe_sandbox.errors import ResourceMissing
from licenzy.stripe_sandbox.lifecycle import cycles, subscriptions
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    boolean,
    fields,
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
DETAILS: dict[str, Check] = {
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
def retrieve(session: AccountStore, params: Json, subscription_id: str) -> Json:
    del params
    return _get(session, subscription_id)


def _conditions(params: Json) -> list[Condition]:
    """Without a status, all that are not canceled."""
    conditions = _status_conditions(params.get("status"))
    if "price" in params:
        of_price = (
            "SELECT 1 FROM subscription_prices AS p WHERE p.scope = objects.scope AND p.seq = objects.seq"
        )
        conditions.append((f"EXISTS ({of_price} AND p.price = ?)", [params["price"]]))
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
    "DELETE",
    "/v1/subscriptions/<subscription_id>",
    permission="subscription",
    params=fields(
        {"cancellation_details": fields(DETAILS), "invoice_now": boolean(), "prorate": boolean(), **EXPAND}
    ),
)
def cancel(session: AccountStore, params: Json, subscription_id: str) -> Json:
    """Unused time is credited when asked for, at once with `invoice_now`."""
    subscription = _get(session, subscription_id)
    if subscription["status"] in subscriptions.ENDED:
        raise ResourceMissing(f"No such subscription: '{subscription_id}'", param="id", in_address=True)
    if params.get("prorate"):
        cycles.credit_unused(session, subscription)
    if params.get("invoice_now"):
        cycles.invoice_pending(session, subscription)
    subscriptions.cancel(session, subscription, details=params.get("cancellation_details"))
    return subscription


@operation(
    "POST",
    "/v1/subscriptions/<subscription_id>/pause",
    permission="subscription",
    params=fields({"type": one_of("subscription"), **EXPAND}),
)
def pause(session: AccountStore, params: Json, subscription_id: str) -> Json:
    del params
    subscription = _get(session, subscription_id)
    subscriptions.pause(session, subscription)
    return subscription


@operation(
    "POST", "/v1/subscriptions/<subscription_id>/resume", permission="subscription", params=fields(EXPAND)
)
def resume(session: AccountStore, params: Json, subscription_id: str) -> Json:
    del params
    subscription = _get(session, subscription_id)
    cycles.resume(session, subscription)
    return subscription


def _get(session: AccountStore, subscription_id: str) -> Json:
    return session.get("subscription", subscription_id, param="id", in_address=True)
