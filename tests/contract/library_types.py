"""The part of Stripe's description that the packed file leaves out, read from the types of the library.

The types are generated from the same description, so they say the same of the same version.
"""

from __future__ import annotations

import functools
import importlib
import types
import typing
from decimal import Decimal
from typing import Any, Literal, Union

import stripe
from stripe._request_options import RequestOptions

Json = dict[str, Any]

# Address, method, the module and the name of its parameters, and what is answered.
_ADDED = (
    ("/v1/invoices", "post", "invoice_create", "InvoiceCreateParams", "obj.invoice"),
    ("/v1/invoices/{invoice}", "post", "invoice_update", "InvoiceUpdateParams", "obj.invoice"),
    ("/v1/invoices/{invoice}", "delete", "invoice_delete", "InvoiceDeleteParams", None),
    ("/v1/invoices/{invoice}/lines", "get", "invoice_list_lines", "InvoiceListLinesParams", "obj.line_item"),
    *(
        (
            f"/v1/invoices/{{invoice}}/{verb}",
            "post",
            f"invoice_{module}",
            f"Invoice{name}Params",
            "obj.invoice",
        )
        for verb, module, name in (
            ("finalize", "finalize_invoice", "FinalizeInvoice"),
            ("mark_uncollectible", "mark_uncollectible", "MarkUncollectible"),
            ("pay", "pay", "Pay"),
            ("send", "send_invoice", "SendInvoice"),
            ("void", "void_invoice", "VoidInvoice"),
        )
    ),
    ("/v1/invoiceitems", "post", "invoice_item_create", "InvoiceItemCreateParams", "obj.invoiceitem"),
    ("/v1/invoiceitems", "get", "invoice_item_list", "InvoiceItemListParams", "obj.invoiceitem"),
    (
        "/v1/invoiceitems/{item}",
        "get",
        "invoice_item_retrieve",
        "InvoiceItemRetrieveParams",
        "obj.invoiceitem",
    ),
    ("/v1/invoiceitems/{item}", "delete", "invoice_item_delete", "InvoiceItemDeleteParams", None),
    ("/v1/accounts/{account}", "get", "account_retrieve", "AccountRetrieveParams", "obj.account"),
    ("/v1/payment_intents", "get", "payment_intent_list", "PaymentIntentListParams", "obj.payment_intent"),
    ("/v1/charges", "get", "charge_list", "ChargeListParams", "obj.charge"),
    ("/v1/disputes/{dispute}", "post", "dispute_update", "DisputeUpdateParams", "obj.dispute"),
    ("/v1/disputes/{dispute}/close", "post", "dispute_close", "DisputeCloseParams", "obj.dispute"),
    (
        "/v1/subscription_items",
        "post",
        "subscription_item_create",
        "SubscriptionItemCreateParams",
        "obj.subscription_item",
    ),
    (
        "/v1/subscription_items",
        "get",
        "subscription_item_list",
        "SubscriptionItemListParams",
        "obj.subscription_item",
    ),
    (
        "/v1/subscription_items/{item}",
        "get",
        "subscription_item_retrieve",
        "SubscriptionItemRetrieveParams",
        "obj.subscription_item",
    ),
    (
        "/v1/subscription_items/{item}",
        "post",
        "subscription_item_update",
        "SubscriptionItemUpdateParams",
        "obj.subscription_item",
    ),
    (
        "/v1/subscription_items/{item}",
        "delete",
        "subscription_item_delete",
        "SubscriptionItemDeleteParams",
        None,
    ),
    *(
        (f"/v1/subscriptions/{{id}}/{verb}", "post", f"subscription_{verb}", name, "obj.subscription")
        for verb, name in (("pause", "SubscriptionPauseParams"), ("resume", "SubscriptionResumeParams"))
    ),
)


@functools.cache
def added_schemas() -> Json:
    """Schemas of objects, by name."""
    return {"obj.invoiceitem": _object(stripe.InvoiceItem)}


@functools.cache
def added_paths() -> Json:
    """Operations as an OpenAPI description has them, by address."""
    paths: Json = {}
    for path, method, module, name, answered in _ADDED:
        params = getattr(importlib.import_module(f"stripe.params._{module}_params"), name)
        paths.setdefault(path, {})[method] = _operation(method, _params(params), answered)
    return paths


def _operation(method: str, params: Json, answered: str | None) -> Json:
    response: Json = {"$ref": f"#/components/schemas/{answered}"} if answered else {}
    if method == "get" and "limit" in params["properties"]:
        response = {
            "type": "object",
            "required": ["data", "has_more", "object", "url"],
            "properties": {
                "data": {"type": "array", "items": response},
                "has_more": {"type": "boolean"},
                "object": {"enum": ["list"]},
                "url": {"type": "string"},
            },
        }
    said: Json = {"responses": {"200": {"content": {"application/json": {"schema": response}}}}}
    if method == "post":
        said["requestBody"] = {"content": {"application/x-www-form-urlencoded": {"schema": params}}}
    else:
        said["parameters"] = [
            {"in": "query", "name": name, "schema": schema} for name, schema in params["properties"].items()
        ]
    return said


def _params(cls: Any) -> Json:
    """A TypedDict of parameters, without what the library itself takes."""
    hints = {n: t for n, t in _hints(cls).items() if n not in RequestOptions.__annotations__}
    return {
        "type": "object",
        "properties": {name: _schema(hint) for name, hint in hints.items()},
        "required": sorted(cls.__required_keys__ & hints.keys()),
    }


def _object(cls: Any) -> Json:
    hints = {n: t for n, t in _hints(cls).items() if n in cls.__annotations__ and not n.startswith("_")}
    hints = {n: t for n, t in hints.items() if typing.get_origin(t) is not typing.ClassVar}
    return {"type": "object", "properties": {name: _schema(hint) for name, hint in hints.items()}}


def _hints(cls: Any) -> Json:
    """With the names that the modules import only for a type checker, and those of the classes inside."""
    module = importlib.import_module(cls.__module__)
    inner = {name: value for name, value in vars(cls).items() if isinstance(value, type)}
    objects = {
        name: getattr(stripe, name) for name in ("Customer", "Discount", "Invoice", "Price", "TaxRate")
    }
    known = {**vars(module), **objects, **inner, "StripeContext": str, "TestClock": str, "Mapping": dict}
    return typing.get_type_hints(cls, globalns=known, localns=known)


def _schema(hint: Any) -> Json:
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of(inside)
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is list:
        return {"type": "array", "items": _schema(inside[0])}
    if origin is dict or getattr(hint, "__name__", "") == "UntypedStripeObject":
        return {"type": "object", "additionalProperties": {"type": "string"}}
    if hasattr(hint, "__required_keys__"):  # A TypedDict, of whichever module it comes from.
        return _params(hint)
    if isinstance(hint, type) and issubclass(hint, stripe.StripeObject):
        known = f"obj.{getattr(hint, 'OBJECT_NAME', '')}"
        return {"$ref": f"#/components/schemas/{known}"} if known != "obj." else _object(hint)
    names = {str: "string", int: "integer", bool: "boolean", float: "number", Decimal: "string"}
    return {"type": names[hint]}


def _any_of(hints: tuple[Any, ...]) -> Json:
    """Null where None is among them. Names that a string may be do not make it any string."""
    named = any(typing.get_origin(hint) is Literal for hint in hints)
    kept = [hint for hint in hints if hint is not type(None) and not (named and hint is str)]
    schema: Json = {"anyOf": [_schema(hint) for hint in kept]} if len(kept) > 1 else _schema(kept[0])
    return {**schema, "nullable": True} if type(None) in hints else schema
