"""Items of subscriptions, added, changed and removed one by one."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.subscription_changes import (
    BEHAVIORS,
    QUANTITY,
    change_options,
    with_quantity,
)
from licenzy.stripe_sandbox.api.table import deleted, list_response, operation, page_of
from licenzy.stripe_sandbox.errors import InvalidParameter, ResourceMissing
from licenzy.stripe_sandbox.lifecycle import plans
from licenzy.stripe_sandbox.params import (
    EXPAND,
    PAGE_IN_MEMORY,
    Check,
    fields,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.version import Json

_BILLING: dict[str, Check] = {
    "payment_behavior": BEHAVIORS,
    "proration_behavior": one_of(*plans.PRORATIONS),
}
_ITEM: dict[str, Check] = {
    "metadata": metadata(),
    "price": text(255),
    "quantity": QUANTITY,
    **_BILLING,
    **EXPAND,
}


@operation(
    "POST",
    "/v1/subscription_items",
    permission="subscription",
    params=fields({"subscription": text(255), **_ITEM}, required=("subscription",)),
)
def create(session: AccountStore, params: Json) -> Json:
    subscription = session.get("subscription", params["subscription"], param="subscription")
    if "price" not in params:
        raise InvalidParameter("Missing required param: price.", code="parameter_missing", param="price")
    before = {item["id"] for item in subscription["items"]["data"]}
    _change(session, subscription, {}, params)
    added: Json
    (added,) = (item for item in subscription["items"]["data"] if item["id"] not in before)
    return added


@operation("GET", "/v1/subscription_items/<item_id>", permission="subscription", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, item_id: str) -> Json:
    del params
    return _item(_subscription_of(session, item_id), item_id)


@operation("POST", "/v1/subscription_items/<item_id>", permission="subscription", params=fields(_ITEM))
def update(session: AccountStore, params: Json, item_id: str) -> Json:
    subscription = _subscription_of(session, item_id)
    _change(session, subscription, {"id": item_id}, params)
    return _item(subscription, item_id)


@operation("DELETE", "/v1/subscription_items/<item_id>", permission="subscription", params=fields(_BILLING))
def delete(session: AccountStore, params: Json, item_id: str) -> Json:
    subscription = _subscription_of(session, item_id)
    item = _item(subscription, item_id)
    _change(session, subscription, {"id": item_id, "deleted": True}, params)
    return deleted(item)


@operation(
    "GET",
    "/v1/subscription_items",
    permission="subscription",
    params=fields({"subscription": text(255), **PAGE_IN_MEMORY}, required=("subscription",)),
)
def list_items(session: AccountStore, params: Json) -> Json:
    subscription = session.get("subscription", params["subscription"], param="subscription")
    return list_response(page_of(subscription["items"]["data"], params), "/v1/subscription_items")


def _change(session: AccountStore, subscription: Json, change: Json, params: Json) -> None:
    named: Json = {name: params[name] for name in ("metadata", "price", "quantity") if name in params}
    changed = with_quantity(subscription, {**change, **named})
    plans.change_items(session, subscription, [changed], change_options(params))


def _subscription_of(session: AccountStore, item_id: str) -> Json:
    """The subscription that has the item."""
    of_item = "EXISTS (SELECT 1 FROM json_each(body, '$.items.data') WHERE json_extract(value, '$.id') = ?)"
    found = session.select("subscription", (of_item, [item_id]), limit=1)
    if not found:
        raise ResourceMissing(f"No such subscription_item: '{item_id}'", param="item", in_address=True)
    return found[0]


def _item(subscription: Json, item_id: str) -> Json:
    item: Json = next(item for item in subscription["items"]["data"] if item["id"] == item_id)
    return item
