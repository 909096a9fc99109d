"""Customers, and the billing portal that they manage their subscriptions in."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.api.table import deleted, list_endpoint, operation
from licenzy.stripe_sandbox.errors import ResourceMissing
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.lifecycle import subscriptions
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    address,
    array,
    either,
    email,
    fields,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.shapes import customers as shapes
from licenzy.stripe_sandbox.shapes.endpoints import portal_session
from licenzy.stripe_sandbox.version import Json

_ADDRESS = either(fields({name: text(unset=True) for name in shapes.ADDRESS}), text(0, unset=True))
_CUSTOMER: dict[str, Check] = {
    "address": _ADDRESS,
    "description": text(unset=True),
    "email": email(),
    "metadata": metadata(),
    "name": text(256, unset=True),
    "phone": text(20, unset=True),
    "preferred_locales": array(text(20)),
    "tax_exempt": one_of("exempt", "none", "reverse", unset=True),
    **EXPAND,
}


@operation("POST", "/v1/customers", permission="customer", params=fields(_CUSTOMER))
def create(session: AccountStore, params: Json) -> Json:
    customer = session.insert(shapes.customer(session, params))
    session.emit("customer.created", customer)
    return customer


@operation("GET", "/v1/customers/<customer_id>", permission="customer", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, customer_id: str) -> Json:
    """Stripe still answers for a deleted customer, with `deleted`."""
    del params
    if session.is_deleted("customer", customer_id):
        return {"id": customer_id, "object": "customer", "deleted": True}
    return session.get("customer", customer_id, param="id", in_address=True)


@operation("POST", "/v1/customers/<customer_id>", permission="customer", params=fields(_CUSTOMER))
def update(session: AccountStore, params: Json, customer_id: str) -> Json:
    customer = session.get("customer", customer_id, param="id", in_address=True)
    changes = dict(params)
    if "metadata" in changes:
        changes["metadata"] = merged_metadata(customer["metadata"], changes["metadata"])
    if "address" in changes:
        changes["address"] = shapes.postal(changes["address"])
    previous = session.change(customer, **changes)
    if previous:
        session.emit("customer.updated", customer, previous)
    return customer


@operation("DELETE", "/v1/customers/<customer_id>", permission="customer", params=fields({}))
def delete(session: AccountStore, params: Json, customer_id: str) -> Json:
    """Their subscriptions end with them."""
    del params
    customer = session.get("customer", customer_id, param="id", in_address=True)
    for subscription in session.select("subscription", where("customer", customer_id)):
        if subscription["status"] not in subscriptions.ENDED:
            subscriptions.cancel(session, subscription)
    session.remove(customer)
    session.emit("customer.deleted", customer)
    return deleted(customer)


list_endpoint("/v1/customers", "customer", permission="customer", filters={"email": text(512)})


@operation(
    "POST",
    "/v1/billing_portal/sessions",
    permission="customer_portal",
    params=fields(
        {
            "customer": text(255),
            "return_url": address(),
            "locale": text(10),
            "configuration": text(255),
            **EXPAND,
        },
        required=("customer",),
    ),
)
def open_portal(session: AccountStore, params: Json) -> Json:
    customer = session.get("customer", params["customer"], param="customer")
    if "configuration" in params:
        raise ResourceMissing(
            f"No such configuration: '{params['configuration']}'", param="configuration", in_address=False
        )
    return session.insert(
        portal_session(
            session,
            customer=customer["id"],
            return_url=params.get("return_url"),
            locale=params.get("locale"),
            configuration=new_id("bpc_1"),
        )
    )
