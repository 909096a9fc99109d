"""Checkout sessions."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.expand import line_items
from licenzy.stripe_sandbox.api.line_items import line_items_for
from licenzy.stripe_sandbox.api.table import list_endpoint, list_response, operation, page_of
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import checkout
from licenzy.stripe_sandbox.params import (
    EXPAND,
    PAGE_IN_MEMORY,
    Check,
    address,
    array,
    boolean,
    email,
    fields,
    integer,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.shapes import checkout as shapes
from licenzy.stripe_sandbox.version import Json

SHORTEST_SECONDS, LONGEST_SECONDS = 30 * 60, 24 * 3600
_LINE: dict[str, Check] = {
    "price": text(255),
    "quantity": integer(0, 999999),
    "adjustable_quantity": fields(
        {"enabled": boolean(), "minimum": integer(0, 999999), "maximum": integer(1, 999999)},
        required=("enabled",),
    ),
}
_NEW: dict[str, Check] = {
    "allow_promotion_codes": boolean(),
    "automatic_tax": fields({"enabled": boolean()}, required=("enabled",)),
    "billing_address_collection": one_of("auto", "required"),
    "cancel_url": address(),
    "client_reference_id": text(200),
    "customer": text(255),
    "customer_creation": one_of("always", "if_required"),
    "customer_email": email(),
    "customer_update": fields(dict.fromkeys(("address", "name", "shipping"), one_of("auto", "never"))),
    "expires_at": integer(),
    "line_items": array(fields(_LINE)),
    "locale": text(10),
    "metadata": metadata(),
    "mode": one_of("payment", "setup", "subscription"),
    "payment_intent_data": fields(
        {
            "description": text(1000),
            "metadata": metadata(),
            "receipt_email": text(800),
            "setup_future_usage": one_of("off_session", "on_session"),
            "statement_descriptor": text(22),
        }
    ),
    "payment_method_collection": one_of("always", "if_required"),
    "payment_method_types": array(text(40)),
    "submit_type": one_of("auto", "book", "donate", "pay", "subscribe"),
    "subscription_data": fields(
        {
            "billing_mode": fields({"type": one_of("classic", "flexible")}, required=("type",)),
            "description": text(500),
            "metadata": metadata(),
            "trial_end": integer(),
            "trial_period_days": integer(1, 730),
            "trial_settings": fields(
                {
                    "end_behavior": fields(
                        {"missing_payment_method": one_of("cancel", "create_invoice", "pause")},
                        required=("missing_payment_method",),
                    )
                }
            ),
        }
    ),
    "success_url": address(),
    "ui_mode": one_of("hosted_page"),
    **EXPAND,
}


@operation(
    "POST", "/v1/checkout/sessions", permission="checkout_session", params=fields(_NEW, required=("mode",))
)
def create(account_store: AccountStore, params: Json) -> Json:
    _validate_session(params)
    customer = (
        account_store.get("customer", params["customer"], param="customer") if "customer" in params else None
    )
    _require_taxable_address(params, customer)
    lines = line_items_for(account_store, params)
    expires_at = _expiry(account_store, params.get("expires_at"))
    return account_store.insert(
        shapes.session(account_store, params, lines=lines, customer=customer, expires_at=expires_at)
    )


@operation("GET", "/v1/checkout/sessions/<session_id>", permission="checkout_session", params=fields(EXPAND))
def retrieve(account_store: AccountStore, params: Json, session_id: str) -> Json:
    del params
    return account_store.get("checkout.session", session_id, param="session", in_address=True)


@operation(
    "POST",
    "/v1/checkout/sessions/<session_id>",
    permission="checkout_session",
    params=fields({"metadata": metadata(), **EXPAND}),
)
def update(account_store: AccountStore, params: Json, session_id: str) -> Json:
    session = account_store.get("checkout.session", session_id, param="session", in_address=True)
    if "metadata" in params:
        account_store.change(session, metadata=merged_metadata(session["metadata"], params["metadata"]))
    return session


@operation(
    "POST", "/v1/checkout/sessions/<session_id>/expire", permission="checkout_session", params=fields(EXPAND)
)
def expire(account_store: AccountStore, params: Json, session_id: str) -> Json:
    del params
    session = account_store.get("checkout.session", session_id, param="session", in_address=True)
    checkout.expire(account_store, session)
    return session


@operation(
    "GET",
    "/v1/checkout/sessions/<session_id>/line_items",
    permission="checkout_session",
    params=fields(PAGE_IN_MEMORY),
)
def list_line_items(account_store: AccountStore, params: Json, session_id: str) -> Json:
    session = account_store.get("checkout.session", session_id, param="session", in_address=True)
    page = page_of(line_items(account_store, session), params)
    return list_response(page, f"/v1/checkout/sessions/{session_id}/line_items")


list_endpoint(
    "/v1/checkout/sessions",
    "checkout.session",
    permission="checkout_session",
    filters={
        "customer": text(255),
        "customer_details": fields({"email": text(512)}, required=("email",)),
        "payment_intent": text(255),
        "status": one_of("complete", "expired", "open"),
        "subscription": text(255),
    },
)


def _validate_session(params: Json) -> None:
    for name in ("success_url", "line_items"):
        if name not in params:
            raise InvalidParameter(f"Missing required param: {name}.", code="parameter_missing", param=name)
    mode = params["mode"]
    if mode == "setup":
        raise InvalidParameter("The sandbox does not support `setup` mode.", param="mode")
    foreign = {"payment": "subscription_data", "subscription": "payment_intent_data"}[mode]
    if foreign in params:
        raise InvalidParameter(f"You can not pass `{foreign}` in `{mode}` mode.", param=foreign)
    if mode == "subscription" and "customer_creation" in params:
        raise InvalidParameter(
            "`customer_creation` can only be used in `payment` mode.", param="customer_creation"
        )
    for other in ("customer_email", "customer_creation"):
        if "customer" in params and other in params:
            raise InvalidParameter(
                f"You may only specify one of these parameters: customer, {other}.", param=other
            )
    if "customer_update" in params and "customer" not in params:
        raise InvalidParameter("`customer_update` can only be used with `customer`.", param="customer_update")


def _require_taxable_address(params: Json, customer: Json | None) -> None:
    taxed = (
        params.get("automatic_tax", {}).get("enabled") and customer is not None and not customer["address"]
    )
    if taxed and "auto" not in {params.get("customer_update", {}).get(n) for n in ("address", "shipping")}:
        raise RequestRefused(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid "
            "address to the "
            "Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to "
            "'auto' to save "
            "the address entered in Checkout to the Customer.",
            code="customer_tax_location_invalid",
        )


def _expiry(account_store: AccountStore, expires_at: int | None) -> int:
    if expires_at is None:
        return account_store.now + LONGEST_SECONDS
    if expires_at < account_store.now + SHORTEST_SECONDS - 60:
        raise RequestRefused(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.",
            param="expires_at",
        )
    if expires_at > account_store.now + LONGEST_SECONDS + 60:
        raise RequestRefused(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    return expires_at
