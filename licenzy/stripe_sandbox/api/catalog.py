"""Products and prices."""

from __future__ import annotations

from typing import Any

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.api.table import deleted, list_endpoint, operation
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    address,
    array,
    boolean,
    currency,
    decimal,
    either,
    fields,
    integer,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.shapes import catalog as shapes
from licenzy.stripe_sandbox.version import Json

_LARGEST_AMOUNT = 99999999

_PRODUCT: dict[str, Check] = {
    "active": boolean(),
    "description": text(40000, unset=True),
    "images": array(address(), maximum=8),
    "metadata": metadata(),
    "name": text(250),
    "shippable": boolean(),
    "statement_descriptor": text(22),
    "tax_code": text(unset=True),
    "unit_label": text(12, unset=True),
    "url": address(),
    **EXPAND,
}
_RECURRING: dict[str, Check] = {
    "interval": one_of("day", "week", "month", "year"),
    "interval_count": integer(1, 1095),
    "meter": text(),
    "usage_type": one_of("licensed", "metered"),
}
_TIER: dict[str, Check] = {
    "flat_amount": integer(0, _LARGEST_AMOUNT),
    "unit_amount": integer(0, _LARGEST_AMOUNT),
    "up_to": either(one_of("inf"), integer(1)),
}
_PRICE: dict[str, Check] = {
    "active": boolean(),
    "lookup_key": text(200),
    "metadata": metadata(),
    "nickname": text(unset=True),
    "tax_behavior": one_of("exclusive", "inclusive", "unspecified"),
    "transfer_lookup_key": boolean(),
    **EXPAND,
}
_NEW_PRICE: dict[str, Check] = {
    **_PRICE,
    "billing_scheme": one_of("per_unit", "tiered"),
    "currency": currency(),
    "custom_unit_amount": fields(
        {"enabled": boolean(), "maximum": integer(), "minimum": integer(), "preset": integer()},
        required=("enabled",),
    ),
    "product": text(255),
    "product_data": fields(
        {
            k: _PRODUCT[k]
            for k in ("active", "metadata", "name", "statement_descriptor", "tax_code", "unit_label")
        }
        | {"id": text(255)},
        required=("name",),
    ),
    "recurring": fields(_RECURRING, required=("interval",)),
    "tiers": array(fields(_TIER, required=("up_to",))),
    "tiers_mode": one_of("graduated", "volume"),
    "transform_quantity": fields(
        {"divide_by": integer(1), "round": one_of("down", "up")}, required=("divide_by", "round")
    ),
    "unit_amount": integer(0, _LARGEST_AMOUNT),
    "unit_amount_decimal": decimal(),
}


@operation(
    "POST",
    "/v1/products",
    permission="product",
    params=fields(
        {
            **_PRODUCT,
            "id": text(255),
            "type": one_of("good", "service"),
            "default_price_data": fields(
                {
                    k: _NEW_PRICE[k]
                    for k in (
                        "currency",
                        "custom_unit_amount",
                        "metadata",
                        "recurring",
                        "tax_behavior",
                        "unit_amount",
                        "unit_amount_decimal",
                    )
                },
                required=("currency",),
            ),
        },
        required=("name",),
    ),
)
def create_product(session: AccountStore, params: Json) -> Json:
    if "id" in params and session.find_any(params["id"]):
        raise RequestRefused("Product already exists.", code="resource_already_exists", param="id")
    product = session.insert(shapes.product(session, params))
    session.emit("product.created", product)
    if "default_price_data" in params:
        price = _insert_price(session, params["default_price_data"], product["id"])
        session.change(product, default_price=price["id"])
    return product


@operation("GET", "/v1/products/<product_id>", permission="product", params=fields(EXPAND))
def retrieve_product(session: AccountStore, params: Json, product_id: str) -> Json:
    del params
    return session.get("product", product_id, param="id", in_address=True)


@operation(
    "POST",
    "/v1/products/<product_id>",
    permission="product",
    params=fields({**_PRODUCT, "default_price": text(255)}),
)
def update_product(session: AccountStore, params: Json, product_id: str) -> Json:
    product = session.get("product", product_id, param="id", in_address=True)
    if "default_price" in params:
        price = session.get("price", params["default_price"], param="default_price")
        if price["product"] != product_id:
            raise RequestRefused(
                f"The price '{price['id']}' belongs to another product and cannot be the default.",
                param="default_price",
            )
    _update(session, product, params, "product.updated", updated=session.now)
    return product


@operation("DELETE", "/v1/products/<product_id>", permission="product", params=fields({}))
def delete_product(session: AccountStore, params: Json, product_id: str) -> Json:
    del params
    product = session.get("product", product_id, param="id", in_address=True)
    if session.select("price", where("product", product_id), limit=1):
        raise RequestRefused(
            f"This product cannot be deleted because it has one or more user-created prices: {product_id}.",
            param="id",
        )
    session.remove(product)
    session.emit("product.deleted", product)
    return deleted(product)


list_endpoint(
    "/v1/products",
    "product",
    permission="product",
    filters={
        "active": boolean(),
        "ids": array(text(255)),
        "shippable": boolean(),
        "type": text(),
        "url": text(),
    },
    compared_with={"ids": "id"},
)


@operation("POST", "/v1/prices", permission="plan", params=fields(_NEW_PRICE, required=("currency",)))
def create_price(session: AccountStore, params: Json) -> Json:
    _validate_price(params)
    if "product" in params:
        product = session.get("product", params["product"], param="product")
    else:
        product = session.insert(shapes.product(session, params["product_data"]))
        session.emit("product.created", product)
    return _insert_price(session, params, product["id"])


@operation("GET", "/v1/prices/<price_id>", permission="plan", params=fields(EXPAND))
def retrieve_price(session: AccountStore, params: Json, price_id: str) -> Json:
    del params
    return session.get("price", price_id, param="price", in_address=True)


@operation("POST", "/v1/prices/<price_id>", permission="plan", params=fields(_PRICE))
def update_price(session: AccountStore, params: Json, price_id: str) -> Json:
    price = session.get("price", price_id, param="price", in_address=True)
    if "lookup_key" in params:
        _take_lookup_key(session, params, except_of=price_id)
    _update(session, price, {k: v for k, v in params.items() if k != "transfer_lookup_key"}, "price.updated")
    return price


list_endpoint(
    "/v1/prices",
    "price",
    permission="plan",
    filters={
        "active": boolean(),
        "currency": currency(),
        "lookup_keys": array(text(200), maximum=10),
        "product": text(255),
        "recurring": fields({k: _RECURRING[k] for k in ("interval", "meter", "usage_type")}),
        "type": one_of("one_time", "recurring"),
    },
    compared_with={"lookup_keys": "lookup_key"},
)


def _insert_price(session: AccountStore, params: Json, product_id: str) -> Json:
    if "lookup_key" in params:
        _take_lookup_key(session, params, except_of=None)
    price = session.insert(shapes.price(session, params, product_id=product_id))
    session.emit("price.created", price)
    return price


def _validate_price(params: Json) -> None:
    if ("product" in params) == ("product_data" in params):
        raise InvalidParameter(
            "You must specify either `product` or `product_data` when creating a price.", param="product"
        )
    amounts = [
        n for n in ("unit_amount", "unit_amount_decimal", "custom_unit_amount", "tiers") if n in params
    ]
    if not amounts:
        raise InvalidParameter(
            "Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.",
            code="parameter_missing",
            param="unit_amount",
        )
    if len(amounts) > 1:
        raise InvalidParameter(
            f"You may only specify one of these parameters: {', '.join(amounts)}.", param=amounts[1]
        )
    if (params.get("billing_scheme") == "tiered") != ("tiers" in params):
        raise InvalidParameter("`tiers` go with `billing_scheme=tiered`, and only with it.", param="tiers")
    if params.get("recurring", {}).get("usage_type") == "metered" and "meter" not in params["recurring"]:
        raise InvalidParameter(
            "Metered prices must be backed by a meter.", code="parameter_missing", param="recurring[meter]"
        )


def _take_lookup_key(session: AccountStore, params: Json, *, except_of: str | None) -> None:
    """A lookup key names one price; another takes it over only when asked to."""
    for other in session.select("price", where("lookup_key", params["lookup_key"])):
        if other["id"] == except_of:
            continue
        if not params.get("transfer_lookup_key"):
            raise RequestRefused(
                f"A price (`{other['id']}`) already uses that lookup key.",
                code="resource_already_exists",
                param="lookup_key",
            )
        session.emit("price.updated", other, session.change(other, lookup_key=None))


def _update(session: AccountStore, body: Json, params: Json, event: str, **also: Any) -> None:
    changes = {k: v for k, v in params.items() if k != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merged_metadata(body["metadata"], changes["metadata"])
    if any(body.get(k) != v for k, v in changes.items()):
        session.emit(event, body, session.change(body, **changes, **also))
