"""Checkout sessions and what they sell."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.shapes.customers import ADDRESS
from licenzy.stripe_sandbox.version import Json


def session(
    account_store: AccountStore,
    params: Json,
    *,
    lines: list[Json],
    customer: Json | None,
    expires_at: int,
) -> Json:
    session_id = new_id(f"cs_{account_store.account.mode}_a1", 58)
    subscribing = params["mode"] == "subscription"
    tax = params.get("automatic_tax", {}).get("enabled", False)
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": params.get("allow_promotion_codes"),
        **totals(lines),
        "automatic_tax": {
            "enabled": tax,
            "liability": {"type": "self"} if tax else None,
            "provider": "stripe" if tax else None,
            "status": "requires_location_inputs" if tax else None,
        },
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": account_store.now,
        "currency": lines[0]["currency"],
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict.fromkeys(
            ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
        ),
        "customer": customer["id"] if customer else None,
        "customer_account": None,
        "customer_creation": _customer_creation(params, subscribing, customer),
        "customer_details": details(
            customer["email"] if customer else params.get("customer_email"), customer
        ),
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": expires_at,
        "integration_identifier": None,
        "invoice": None,
        "invoice_creation": None if subscribing else _no_invoice(),
        "livemode": account_store.account.livemode,
        "locale": params.get("locale"),
        "managed_payments": None,
        "metadata": params.get("metadata") or {},
        "mode": params["mode"],
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": params.get(
            "payment_method_collection", "always" if subscribing else "if_required"
        ),
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": params.get("payment_method_types") or ["card", "sepa_debit"],
        "payment_status": "unpaid",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "subscription": None,
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{account_store.public_url}/pay/{session_id}",
        "wallet_options": None,
        "_lines": lines,
        "_payment_intent_data": params.get("payment_intent_data", {}),
        "_subscription_data": params.get("subscription_data", {}),
    }


def line_item(price: Json, product: Json, *, quantity: int, adjustable: Json | None, free: bool) -> Json:
    amount = 0 if free and price["recurring"] else amount_of(price, quantity)
    return {
        "id": new_id("li_1"),
        "object": "item",
        "adjustable_quantity": _adjustable(adjustable),
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": {},
        "price": {k: v for k, v in price.items() if not k.startswith("_")},
        "quantity": quantity,
    }


def with_quantity(line: Json, quantity: int) -> Json:
    """The line as the buyer changed it on the page; a trial's line stays free."""
    amount = 0 if line["amount_total"] == 0 else amount_of(line["price"], quantity)
    return {**line, "quantity": quantity, "amount_subtotal": amount, "amount_total": amount}


def totals(lines: list[Json]) -> Json:
    total = sum(line["amount_total"] for line in lines)
    return {"amount_subtotal": total, "amount_total": total}


def details(email: str | None, customer: Json | None) -> Json | None:
    """What the session knows of the buyer; null while it knows nothing."""
    if email is None and customer is None:
        return None
    address = customer["address"] if customer and customer["address"] else None
    return {
        "address": address or dict.fromkeys(ADDRESS),
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": customer["name"] if customer else None,
        "phone": customer["phone"] if customer else None,
        "tax_exempt": "none",
        "tax_ids": [],
    }


def _customer_creation(params: Json, subscribing: bool, customer: Json | None) -> str | None:
    if customer is not None:
        return None
    return "always" if subscribing else params.get("customer_creation", "if_required")


def _adjustable(params: Json | None) -> Json | None:
    if not params or not params["enabled"]:
        return None
    return {"enabled": True, "maximum": params.get("maximum", 99), "minimum": params.get("minimum", 0)}


def _no_invoice() -> Json:
    return {
        "enabled": False,
        "invoice_data": {
            "account_tax_ids": None,
            "custom_fields": None,
            "description": None,
            "footer": None,
            "issuer": None,
            "metadata": {},
            "rendering_options": None,
        },
    }
