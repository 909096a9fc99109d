"""Invoice items: amounts that the next invoice takes along, or that are put on a draft."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, Condition
from licenzy.stripe_sandbox.api.table import deleted, list_endpoint, operation
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import invoice_items, manual_invoices
from licenzy.stripe_sandbox.params import EXPAND, boolean, currency, fields, integer, metadata, text
from licenzy.stripe_sandbox.shapes.catalog import amount_of
from licenzy.stripe_sandbox.shapes.invoice_lines import InvoiceEntry
from licenzy.stripe_sandbox.version import Json

_LARGEST_AMOUNT = 99999999


@operation(
    "POST",
    "/v1/invoiceitems",
    permission="invoice",
    params=fields(
        {
            "amount": integer(-_LARGEST_AMOUNT, _LARGEST_AMOUNT),
            "currency": currency(),
            "customer": text(255),
            "description": text(),
            "invoice": text(255),
            "metadata": metadata(),
            "period": fields({"start": integer(), "end": integer()}, required=("start", "end")),
            "pricing": fields({"price": text(255)}),
            "quantity": integer(0, 999999),
            "subscription": text(255),
            **EXPAND,
        },
        required=("customer",),
    ),
)
def create(session: AccountStore, params: Json) -> Json:
    customer = session.get("customer", params["customer"], param="customer")
    if "subscription" in params:
        subscription = session.get("subscription", params["subscription"], param="subscription")
        if subscription["customer"] != customer["id"]:
            raise RequestRefused("The subscription belongs to another customer.", param="subscription")
    price, quantity = _price(session, params), params.get("quantity", 1)
    period = params.get("period", {"start": session.now, "end": session.now})
    if period["end"] < period["start"]:
        raise InvalidParameter("period[end] must not lie before period[start].", param="period[end]")
    entry = InvoiceEntry(
        price=price,
        quantity=quantity,
        amount=amount_of(price, quantity) if price else params["amount"],
        description=params.get("description") or (price or {}).get("nickname"),
        **period,
    )
    kept_in = price["currency"] if price else params.get("currency", "usd")
    return manual_invoices.add_item(session, entry, params, customer=customer["id"], currency=kept_in)


@operation("GET", "/v1/invoiceitems/<item_id>", permission="invoice", params=fields(EXPAND))
def retrieve(session: AccountStore, params: Json, item_id: str) -> Json:
    del params
    return session.get("invoiceitem", item_id, param="invoiceitem", in_address=True)


@operation("DELETE", "/v1/invoiceitems/<item_id>", permission="invoice", params=fields({}))
def delete(session: AccountStore, params: Json, item_id: str) -> Json:
    del params
    item = session.get("invoiceitem", item_id, param="invoiceitem", in_address=True)
    invoice_items.remove(session, item)
    return deleted(item)


def _conditions(params: Json) -> list[Condition]:
    if "pending" not in params:
        return []
    pending: Condition = ("json_extract(body, '$.invoice') IS NULL", [])
    taken: Condition = ("json_extract(body, '$.invoice') IS NOT NULL", [])
    return [pending if params["pending"] else taken]


list_endpoint(
    "/v1/invoiceitems",
    "invoiceitem",
    permission="invoice",
    filters={"customer": text(255), "invoice": text(255)},
    other_filters={"pending": boolean()},
    other_conditions=_conditions,
)


def _price(session: AccountStore, params: Json) -> Json | None:
    named = params.get("pricing", {}).get("price")
    if (named is None) == ("amount" not in params):
        raise InvalidParameter(
            "You must specify either `amount` or `pricing[price]`.", code="parameter_missing", param="amount"
        )
    if named is None:
        return None
    price = session.get("price", named, param="pricing[price]")
    if price["recurring"]:
        raise RequestRefused(
            "The price specified is set to `type=recurring` but this field only accepts prices with "
            "`type=one_time`.",
            param="pricing[price]",
        )
    return price
