"""Subscriptions made and changed over the API, rather than in Checkout."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.subscriptions import DETAILS
from licenzy.stripe_sandbox.api.table import operation
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import cycles, plans, subscriptions
from licenzy.stripe_sandbox.lifecycle.payment_methods import outcome_by, require_known
from licenzy.stripe_sandbox.lifecycle.payments import DEBIT_SECONDS
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
from licenzy.stripe_sandbox.shapes.subscriptions import subscription as subscription_shape
from licenzy.stripe_sandbox.version import Json

QUANTITY = integer(0, 999999)
BEHAVIORS = one_of("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete")
_COMMON: dict[str, Check] = {
    "cancel_at": either(integer(1), either(one_of("max_period_end", "min_period_end"), text(0, unset=True))),
    "cancel_at_period_end": boolean(),
    "collection_method": one_of("charge_automatically", "send_invoice"),
    "days_until_due": integer(0, 3650),
    "default_payment_method": text(255),
    "description": text(500, unset=True),
    "metadata": metadata(),
    "off_session": boolean(),
    "payment_behavior": BEHAVIORS,
    "proration_behavior": one_of(*plans.PRORATIONS),
    **EXPAND,
}
_EXTRA = array(fields({"price": text(255), "quantity": QUANTITY}, required=("price",)), maximum=20)
_ANCHORS = one_of("now", "unchanged")


@operation(
    "POST",
    "/v1/subscriptions",
    permission="subscription",
    params=fields(
        {
            **_COMMON,
            "add_invoice_items": _EXTRA,
            "automatic_tax": fields({"enabled": boolean()}, required=("enabled",)),
            "billing_mode": fields({"type": one_of("classic", "flexible")}, required=("type",)),
            "customer": text(255),
            "items": array(
                fields(
                    {"metadata": metadata(), "price": text(255), "quantity": QUANTITY}, required=("price",)
                ),
                maximum=20,
            ),
            "trial_end": either(one_of("now"), integer(1)),
            "trial_period_days": integer(1, 730),
            "trial_settings": fields(
                {
                    "end_behavior": fields(
                        {"missing_payment_method": one_of("cancel", "create_invoice", "pause")},
                        required=("missing_payment_method",),
                    )
                }
            ),
        },
        required=("customer", "items"),
    ),
)
def create(session: AccountStore, params: Json) -> Json:
    """The customer's card is a good one unless `default_payment_method` names another. A trial has no card
    unless one is named."""
    customer = session.get("customer", params["customer"], param="customer")
    items = [_new_line(session, item, f"items[{n}]") for n, item in enumerate(params["items"])]
    if not items:
        raise InvalidParameter("Missing required param: items.", code="parameter_missing", param="items")
    currency, method = items[0]["price"]["currency"], params.get("default_payment_method")
    for n, item in enumerate(items):
        plans.require_sellable(item["price"], currency=currency, param=f"items[{n}][price]")
    collection_method = str(params.get("collection_method", "charge_automatically"))
    _validate_common(params, collection_method)
    trial_end = _trial_end(session, params)
    end_behavior = params.get("trial_settings", {}).get("end_behavior", {})
    subscription = subscription_shape(
        session,
        customer=customer["id"],
        lines=items,
        metadata=params.get("metadata") or {},
        description=params.get("description"),
        automatic_tax=params.get("automatic_tax", {}).get("enabled", False),
        payment_method=method,
        collection_method=collection_method,
        days_until_due=params.get("days_until_due"),
        end_without_card=end_behavior.get("missing_payment_method", "create_invoice"),
        has_card=trial_end is None or method is not None,
        billing_mode=params.get("billing_mode", {}).get("type", "flexible"),
    )
    behavior = params.get("payment_behavior", "allow_incomplete")
    how = cycles.SubscriptionStart(
        items=items,
        extra=_extra(session, params, currency),
        trial_end=trial_end,
        outcome=None if behavior == "default_incomplete" else outcome_by(method),
        settles_at=session.now + DEBIT_SECONDS,
        refuse_decline=behavior == "error_if_incomplete",
    )
    cycles.start(session, subscription, how)
    _schedule_end(session, subscription, params)
    return subscription


@operation(
    "POST",
    "/v1/subscriptions/<subscription_id>",
    permission="subscription",
    params=fields(
        {
            **_COMMON,
            "add_invoice_items": _EXTRA,
            "billing_cycle_anchor": either(fields({"type": _ANCHORS}, required=("type",)), _ANCHORS),
            "cancellation_details": fields(DETAILS),
            "items": array(
                fields(
                    {
                        "deleted": boolean(),
                        "id": text(255),
                        "metadata": metadata(),
                        "price": text(255),
                        "quantity": QUANTITY,
                    }
                ),
                maximum=20,
            ),
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
        }
    ),
)
def update(session: AccountStore, params: Json, subscription_id: str) -> Json:
    """Several changes at once emit one event each."""
    subscription = session.get("subscription", subscription_id, param="id", in_address=True)
    _validate_common(params, {**subscription, **params}["collection_method"])
    anchor = params.get("billing_cycle_anchor")
    resets = (anchor["type"] if isinstance(anchor, dict) else anchor) == "now"
    options = change_options(params, reset=resets)
    _update_fields(session, subscription, params)
    cycles.add_extra(session, subscription, _extra(session, params, subscription["currency"]))
    if "items" in params or resets:
        changes = [with_quantity(subscription, change) for change in params.get("items", [])]
        plans.change_items(session, subscription, changes, options)
    _schedule_end(session, subscription, params)
    return subscription


def change_options(params: Json, *, reset: bool = False) -> plans.ChangeOptions:
    """What a change of items does besides, as the call asks for it."""
    _refuse_pending(params)
    if params.get("payment_behavior") == "default_incomplete":
        raise InvalidParameter(
            "The sandbox takes `default_incomplete` only when a subscription is created.",
            param="payment_behavior",
        )
    return plans.ChangeOptions(
        proration=params.get("proration_behavior", "create_prorations"),
        reset=reset,
        refuse_decline=params.get("payment_behavior") == "error_if_incomplete",
    )


def with_quantity(subscription: Json, change: Json) -> Json:
    """The change of an item. As at Stripe, another price sets the quantity to 1 unless it is named too."""
    item = next((each for each in subscription["items"]["data"] if each["id"] == change.get("id")), None)
    changes_price = item is not None and change.get("price", item["price"]["id"]) != item["price"]["id"]
    return {"quantity": 1, **change} if changes_price and item and "quantity" in item else change


def _new_line(session: AccountStore, item: Json, name: str) -> Json:
    price = session.get("price", item["price"], param=f"{name}[price]")
    return {"price": price, "quantity": item.get("quantity", 1), "metadata": item.get("metadata")}


def _extra(session: AccountStore, params: Json, currency: str) -> list[Json]:
    """One-time prices that the next invoice takes along, such as a setup fee."""
    found = []
    for number, item in enumerate(params.get("add_invoice_items", [])):
        name = f"add_invoice_items[{number}][price]"
        price = session.get("price", item["price"], param=name)
        if price["recurring"] or price["currency"] != currency:
            raise RequestRefused(
                "An invoice item needs a one-time price in the subscription's currency.", param=name
            )
        found.append({"price": price, "quantity": item.get("quantity", 1)})
    return found


def _trial_end(session: AccountStore, params: Json) -> int | None:
    if "trial_end" in params and "trial_period_days" in params:
        raise InvalidParameter(
            "You may only specify one of these parameters: trial_end, trial_period_days.", param="trial_end"
        )
    if "trial_period_days" in params:
        return session.now + int(params["trial_period_days"]) * 86400
    end = params.get("trial_end", "now")
    if end == "now":
        return None
    if end <= session.now:
        raise RequestRefused("`trial_end` must be in the future.", param="trial_end")
    return int(end)


def _refuse_pending(params: Json) -> None:
    if params.get("payment_behavior") == "pending_if_incomplete":
        raise InvalidParameter(
            "The sandbox does not support `pending_if_incomplete`.", param="payment_behavior"
        )


def _validate_common(params: Json, collection_method: str) -> None:
    _refuse_pending(params)
    if "days_until_due" in params and collection_method != "send_invoice":
        raise InvalidParameter(
            "`days_until_due` goes with `collection_method=send_invoice` only.", param="days_until_due"
        )
    if params.get("collection_method") == "send_invoice" and "days_until_due" not in params:
        raise InvalidParameter(
            "You must pass `days_until_due` with `collection_method=send_invoice`.",
            code="parameter_missing",
            param="days_until_due",
        )
    if "default_payment_method" in params:
        require_known(params["default_payment_method"], param="default_payment_method")


def _update_fields(session: AccountStore, subscription: Json, params: Json) -> None:
    names = (
        *("collection_method", "days_until_due", "default_payment_method", "description"),
        "pause_collection",
    )
    changes: Json = {k: params[k] for k in names if k in params}
    if changes.get("pause_collection"):
        changes["pause_collection"] = {"resumes_at": None, **changes["pause_collection"]}
    if changes.get("collection_method") == "charge_automatically":
        changes["days_until_due"] = None
    if "metadata" in params:
        changes["metadata"] = merged_metadata(subscription["metadata"], params["metadata"])
    if "default_payment_method" in params:
        session.change(subscription, _card_fails=False, _has_card=True)
    if changes:
        subscriptions.update(session, subscription, **changes)


def _schedule_end(session: AccountStore, subscription: Json, params: Json) -> None:
    details, at = params.get("cancellation_details"), params.get("cancel_at")
    if params.get("cancel_at_period_end") is True:
        subscriptions.schedule_cancel(
            session, subscription, at=None, set_period_end_flag=True, details=details
        )
    elif at is not None:
        ends = [item["current_period_end"] for item in subscription["items"]["data"]]
        named = {"min_period_end": min(ends), "max_period_end": max(ends)}
        at = named[at] if at in named else int(at)
        if at <= session.now:
            raise RequestRefused("`cancel_at` must be in the future.", param="cancel_at")
        subscriptions.schedule_cancel(
            session, subscription, at=at, set_period_end_flag=False, details=details
        )
    elif "cancel_at" in params or "cancel_at_period_end" in params:
        subscriptions.undo_cancel(session, subscription)
