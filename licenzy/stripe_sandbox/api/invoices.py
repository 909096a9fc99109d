"""Invoices and the payments made on them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession, where
from licenzy.stripe_sandbox.api.table import list_of, operation
from licenzy.stripe_sandbox.params import EXPAND, PAGE, fields, one_of, text
from licenzy.stripe_sandbox.version import Json


@operation("GET", "/v1/invoices/<invoice_id>", permission="invoice", params=fields(EXPAND))
def retrieve(session: AccountSession, params: Json, invoice_id: str) -> Json:
    del params
    return session.get("invoice", invoice_id, param="invoice", in_address=True)


@operation(
    "GET",
    "/v1/invoices",
    permission="invoice",
    params=fields(
        {
            **PAGE,
            "collection_method": one_of("charge_automatically", "send_invoice"),
            "customer": text(255),
            "status": one_of("draft", "open", "paid", "uncollectible", "void"),
            "subscription": text(255),
        }
    ),
)
def list_(session: AccountSession, params: Json) -> Json:
    places = {"subscription": "parent.subscription_details.subscription"}
    names = ("collection_method", "customer", "status", "subscription")
    wanted = [where(places.get(name, name), params[name]) for name in names if name in params]
    return list_of(session.page("invoice", params, *wanted), "/v1/invoices")


@operation("GET", "/v1/invoice_payments/<payment_id>", permission="invoice", params=fields(EXPAND))
def retrieve_payment(session: AccountSession, params: Json, payment_id: str) -> Json:
    del params
    return session.get("invoice_payment", payment_id, param="invoice_payment", in_address=True)


@operation(
    "GET",
    "/v1/invoice_payments",
    permission="invoice",
    params=fields(
        {
            **PAGE,
            "invoice": text(255),
            "payment": fields(
                {
                    "type": one_of("charge", "payment_intent", "payment_record"),
                    "payment_intent": text(255),
                    "charge": text(255),
                },
                required=("type",),
            ),
            "status": one_of("canceled", "open", "paid"),
        }
    ),
)
def list_payments(session: AccountSession, params: Json) -> Json:
    """By payment is the only way from a charge or an intent to its invoice since the objects stopped naming
    it."""
    wanted = [where(name, params[name]) for name in ("invoice", "status") if name in params]
    wanted += [where(f"payment.{name}", value) for name, value in params.get("payment", {}).items()]
    return list_of(session.page("invoice_payment", params, *wanted), "/v1/invoice_payments")
