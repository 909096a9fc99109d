"""Invoices and the payments made on them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.api.table import list_endpoint, operation
from licenzy.stripe_sandbox.params import EXPAND, fields, one_of, text
from licenzy.stripe_sandbox.version import Json


@operation("GET", "/v1/invoices/<invoice_id>", permission="invoice", params=fields(EXPAND))
def retrieve(session: AccountSession, params: Json, invoice_id: str) -> Json:
    del params
    return session.get("invoice", invoice_id, param="invoice", in_address=True)


list_endpoint(
    "/v1/invoices",
    "invoice",
    permission="invoice",
    filters={
        "collection_method": one_of("charge_automatically", "send_invoice"),
        "customer": text(255),
        "status": one_of("draft", "open", "paid", "uncollectible", "void"),
        "subscription": text(255),
    },
    compared_with={"subscription": "parent.subscription_details.subscription"},
)


@operation("GET", "/v1/invoice_payments/<payment_id>", permission="invoice", params=fields(EXPAND))
def retrieve_payment(session: AccountSession, params: Json, payment_id: str) -> Json:
    del params
    return session.get("invoice_payment", payment_id, param="invoice_payment", in_address=True)


# By payment is the only way from a charge or an intent to its invoice, because those objects do not name it.
list_endpoint(
    "/v1/invoice_payments",
    "invoice_payment",
    permission="invoice",
    filters={
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
    },
)
