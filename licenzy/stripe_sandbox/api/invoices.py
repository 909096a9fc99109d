"""Invoices, their lines and the payments made on them."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.table import deleted, list_endpoint, list_response, operation, page_of
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import collection, invoices, manual_invoices
from licenzy.stripe_sandbox.lifecycle.payment_methods import require_known
from licenzy.stripe_sandbox.params import (
    EXPAND,
    PAGE_IN_MEMORY,
    Check,
    boolean,
    currency,
    fields,
    integer,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.shapes.invoice_lines import all_lines
from licenzy.stripe_sandbox.version import Json

_METHODS = one_of("charge_automatically", "send_invoice")
_INVOICE: dict[str, Check] = {
    "auto_advance": boolean(),
    "collection_method": _METHODS,
    "days_until_due": integer(0, 3650),
    "description": text(1500, unset=True),
    "due_date": integer(1),
    "metadata": metadata(),
    **EXPAND,
}


@operation(
    "POST",
    "/v1/invoices",
    permission="invoice",
    params=fields(
        {
            **_INVOICE,
            "currency": currency(),
            "customer": text(255),
            "pending_invoice_items_behavior": one_of("exclude", "include"),
            "subscription": text(255),
        }
    ),
)
def create(session: AccountStore, params: Json) -> Json:
    _validate_due(params)
    return manual_invoices.create(session, params)


@operation("GET", "/v1/invoices/<invoice_id>", permission="invoice", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, invoice_id: str) -> Json:
    del params
    return _get(session, invoice_id)


@operation("POST", "/v1/invoices/<invoice_id>", permission="invoice", params=fields(_INVOICE))
def update(session: AccountStore, params: Json, invoice_id: str) -> Json:
    invoice = _get(session, invoice_id)
    _validate_due(params)
    changes: Json = {k: params[k] for k in ("auto_advance", "description") if k in params}
    if "auto_advance" in params and invoice["status"] == "draft":
        changes |= manual_invoices.advance_by_itself(session, params["auto_advance"])
    if "metadata" in params:
        changes["metadata"] = merged_metadata(invoice["metadata"], params["metadata"])
    terms: Json = {k: params[k] for k in ("collection_method", "due_date") if k in params}
    if "days_until_due" in params:
        terms["_days_until_due"] = params["days_until_due"]
    if terms and invoice["status"] != "draft":
        raise RequestRefused("Finalized invoices can't be updated in this way.", code="invoice_not_editable")
    previous = session.change(invoice, **changes, **terms)
    if previous:
        session.emit("invoice.updated", invoice, previous)
    return invoice


@operation("DELETE", "/v1/invoices/<invoice_id>", permission="invoice", params=fields({}))
def delete(session: AccountStore, params: Json, invoice_id: str) -> Json:
    del params
    invoice = _get(session, invoice_id)
    manual_invoices.delete(session, invoice)
    return deleted(invoice)


@operation("GET", "/v1/invoices/<invoice_id>/lines", permission="invoice", params=fields(PAGE_IN_MEMORY))
def list_lines(session: AccountStore, params: Json, invoice_id: str) -> Json:
    invoice = _get(session, invoice_id)
    return list_response(page_of(all_lines(invoice), params), f"/v1/invoices/{invoice_id}/lines")


@operation(
    "POST",
    "/v1/invoices/<invoice_id>/finalize",
    permission="invoice",
    params=fields({"auto_advance": boolean(), **EXPAND}),
)
def finalize(session: AccountStore, params: Json, invoice_id: str) -> Json:
    """With `auto_advance` Stripe would charge it within the hour; here it is charged at once."""
    invoice = _get(session, invoice_id)
    invoices.finalize(session, invoice)
    if "auto_advance" in params:
        session.change(invoice, auto_advance=params["auto_advance"])
    if invoice["auto_advance"] or invoice["amount_due"] == 0:
        collection.advance(session, invoice)
    return invoice


@operation(
    "POST",
    "/v1/invoices/<invoice_id>/pay",
    permission="invoice",
    params=fields(
        {
            "off_session": boolean(),
            "paid_out_of_band": boolean(),
            "payment_method": text(255),
            **EXPAND,
        }
    ),
)
def pay(session: AccountStore, params: Json, invoice_id: str) -> Json:
    invoice, method = _get(session, invoice_id), params.get("payment_method")
    if method is not None:
        require_known(method, param="payment_method")
    collection.pay(session, invoice, method=method, elsewhere=params.get("paid_out_of_band", False))
    return invoice


@operation("POST", "/v1/invoices/<invoice_id>/send", permission="invoice", params=fields(EXPAND))
def send(session: AccountStore, params: Json, invoice_id: str) -> Json:
    """A draft is finalized by it. No mail is sent."""
    del params
    invoice = _get(session, invoice_id)
    manual_invoices.send(session, invoice)
    return invoice


@operation("POST", "/v1/invoices/<invoice_id>/void", permission="invoice", params=fields(EXPAND))
def void(session: AccountStore, params: Json, invoice_id: str) -> Json:
    del params
    invoice = _get(session, invoice_id)
    _require(invoice, "open", "uncollectible", verb="void")
    invoices.void(session, invoice)
    return invoice


@operation(
    "POST", "/v1/invoices/<invoice_id>/mark_uncollectible", permission="invoice", params=fields(EXPAND)
)
def mark_uncollectible(session: AccountStore, params: Json, invoice_id: str) -> Json:
    del params
    invoice = _get(session, invoice_id)
    _require(invoice, "open", verb="mark as uncollectible")
    invoices.mark_uncollectible(session, invoice)
    return invoice


list_endpoint(
    "/v1/invoices",
    "invoice",
    permission="invoice",
    filters={
        "collection_method": _METHODS,
        "customer": text(255),
        "status": one_of("draft", "open", "paid", "uncollectible", "void"),
        "subscription": text(255),
    },
    compared_with={"subscription": "parent.subscription_details.subscription"},
)


@operation("GET", "/v1/invoice_payments/<payment_id>", permission="invoice", params=fields(EXPAND))
def retrieve_payment(session: AccountStore, params: Json, payment_id: str) -> Json:
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


def _get(session: AccountStore, invoice_id: str) -> Json:
    return session.get("invoice", invoice_id, param="invoice", in_address=True)


def _validate_due(params: Json) -> None:
    if params.get("collection_method") == "charge_automatically" and (
        "days_until_due" in params or "due_date" in params
    ):
        raise InvalidParameter(
            "`days_until_due` and `due_date` go with `collection_method=send_invoice` only.",
            param="days_until_due",
        )


def _require(invoice: Json, *statuses: str, verb: str) -> None:
    if invoice["status"] not in statuses:
        raise RequestRefused(
            f"You can only {verb} an invoice that is {' or '.join(statuses)}. This one is "
            f"{invoice['status']}.",
            param="status",
        )
