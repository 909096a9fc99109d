"""Writes configuration files as TOML, the same text for the same catalog. Pure.

The standard library reads TOML and does not write it. This module writes the shapes of these files and no
others: texts, whole numbers, booleans, lists of texts, and tables of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from licenzy.configuration.entries import Configuration, EndpointEntry, PriceEntry, ProductEntry
from licenzy.configuration.product_fields import written_fields

_ROOM = 100
"""Characters beyond which a list is written with one text a line."""

_TABLES = ("price", "included")
"""The keys of a product that are written under headers of their own."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def as_document(configuration: Configuration) -> dict[str, list[dict[str, Any]]]:
    """The file as plain values, sorted: products by code, prices by label, endpoints by address."""
    products = sorted(configuration.products, key=lambda each: each.code)
    endpoints = sorted(configuration.endpoints, key=lambda each: (each.url, each.types, each.description))
    return {"product": list(map(_product, products)), "endpoint": list(map(_endpoint, endpoints))}


def as_toml(configuration: Configuration) -> str:
    """The file's text; `parsing.parse` reads the same configuration from it."""
    document = as_document(configuration)
    blocks = [block for product in document["product"] for block in _product_blocks(product)]
    blocks += [_block("[[endpoint]]", endpoint) for endpoint in document["endpoint"]]
    return "\n".join(blocks)


def value_as_toml(value: Any) -> str:
    """One value on one line."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return f'"{"".join(map(_escaped, value))}"'
        case list() | tuple():
            return f"[{', '.join(map(value_as_toml, value))}]"
        case Mapping():
            if not value:
                return "{}"
            inner = ", ".join(f"{_key(key)} = {value_as_toml(each)}" for key, each in value.items())
            return f"{{ {inner} }}"
    raise TypeError(f"no TOML is written for {type(value).__name__}")


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else value_as_toml(key)


def _product(product: ProductEntry) -> dict[str, Any]:
    prices = sorted(product.prices, key=lambda each: each.label)
    return {
        "code": product.code,
        "kind": product.draft.kind.value,
        **written_fields(product.draft),
        **({"price": list(map(_price, prices))} if prices else {}),
    }


def _price(price: PriceEntry) -> dict[str, Any]:
    named = {"lookup_key": price.lookup_key, "stripe_price": price.stripe_price}
    return {"label": price.label, **{key: value for key, value in named.items() if value is not None}}


def _endpoint(endpoint: EndpointEntry) -> dict[str, Any]:
    described = {"description": endpoint.description} if endpoint.description else {}
    return {"url": endpoint.url, **described, "types": list(endpoint.types)}


def _product_blocks(product: Mapping[str, Any]) -> Iterator[str]:
    yield _block("[[product]]", {key: value for key, value in product.items() if key not in _TABLES})
    for key in _TABLES:
        for table in product.get(key, ()):
            yield _block(f"[[product.{key}]]", table, indent="  ")


def _block(header: str, values: Mapping[str, Any], *, indent: str = "") -> str:
    lines = [header, *(f"{key} = {_wrapped(value, key)}" for key, value in values.items())]
    return "".join(f"{indent}{line}\n" for line in lines)


def _wrapped(value: Any, key: str) -> str:
    line = value_as_toml(value)
    if not isinstance(value, list) or len(key) + len(line) <= _ROOM:
        return line
    return "[\n" + "".join(f"  {value_as_toml(each)},\n" for each in value) + "]"


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    # Also what TOML would allow: nobody sees an invisible character, and some reorder the text around them.
    number = ord(character)
    return f"\\u{number:04X}" if number < 0x10000 else f"\\U{number:08X}"
