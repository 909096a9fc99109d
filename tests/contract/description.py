"""Holds what is said to Stripe and what Stripe says against Stripe's description of its API.

`stripe-2026-10-28.json.gz` describes the part of the API that the sandbox speaks, in the version that the
`stripe` library pins. It was derived from the types of `stripe` 16.1.0, which is MIT-licensed (Copyright (c)
2010-2018 Stripe), and is packed because it is long. What it leaves out, `library_types` reads from the types
themselves. Both directions are strict: a name that the description does not know is an error.
"""

from __future__ import annotations

import functools
import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.contract.library_types import added_paths, added_schemas

Json = dict[str, Any]
_FILE = Path(__file__).parent / "stripe-2026-10-28.json.gz"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}
_DELETED = {"id", "object", "deleted"}


@functools.cache
def description() -> Json:
    loaded: Json = json.loads(gzip.decompress(_FILE.read_bytes()))
    loaded["components"]["schemas"].update(added_schemas())
    for path, operations in added_paths().items():
        described = next((known for known in loaded["paths"] if _shape(known) == _shape(path)), path)
        loaded["paths"].setdefault(described, {}).update(operations)
    return loaded


def wrong_with_request(method: str, target: str, body: str = "") -> list[str]:
    """Sentences about a request; none when it is as described, or when its address is not described."""
    operation = _operation(method, urlsplit(target).path)
    if operation is None:
        return []
    if method == "POST":
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/x-www-form-urlencoded", {}).get("schema", {"type": "object"})
        given = body
    else:
        query = [p for p in operation.get("parameters", []) if p["in"] == "query"]
        schema = {"type": "object", "properties": {p["name"]: p["schema"] for p in query}}
        given = urlsplit(target).query
    decoded = _nest(parse_qsl(given, keep_blank_values=True))
    return _wrong(schema, decoded, "", form=True)


def wrong_with_answer(method: str, path: str, body: Json) -> list[str]:
    """Sentences about a successful answer. One to an address not described is held against its object."""
    operation = _operation(method, path)
    if operation is None:
        return wrong_with_object(body)
    if body.get("deleted") is True:
        return [] if set(body) == _DELETED else [f"a deleted object says more than that: {sorted(body)}"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    return _wrong(schema, body, "", form=False)


def wrong_with_object(body: Json) -> list[str]:
    """Sentences about one of Stripe's objects, or a list of them, by what it says that it is."""
    if body.get("object") == "list":
        return [wrong for each in body["data"] for wrong in wrong_with_object(each)]
    name = f"obj.{body.get('object')}"
    if name not in description()["components"]["schemas"]:
        return [f"{name} is not described"]
    return _wrong({"$ref": f"#/components/schemas/{name}"}, body, "", form=False)


def wrong_with_event(event: Json) -> list[str]:
    """Sentences about an event and about the object in it."""
    found = wrong_with_object(event)
    body = event["data"]["object"]
    return found + [f"{event['type']}: {wrong}" for wrong in wrong_with_object(body)]


def is_described(method: str, path: str) -> bool:
    return _operation(method, path) is not None


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    names = sorted(description()["paths"], key=lambda name: name.count("{"))
    return [(re.compile(_shape(name) + r"\Z"), name) for name in names]


def _shape(address: str) -> str:
    """A pattern for an address, whatever the ids in it are called."""
    return re.sub(r"\{[^}]+\}", "[^/]+", address)


def _operation(method: str, path: str) -> Json | None:
    for pattern, name in _patterns():
        if pattern.match(path):
            found: Json | None = description()["paths"][name].get(method.lower())
            return found
    return None


def _wrong(schema: Json, value: Any, at: str, *, form: bool) -> list[str]:
    while "$ref" in schema:
        schema = description()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if value is None and not form:
        anything = not {"type", "enum", "anyOf"} & set(schema)
        allowed = anything or schema.get("nullable") or None in schema.get("enum", ())
        return [] if allowed else [f"{at}: is null"]
    if "anyOf" in schema:
        branches = [_wrong(branch, value, at, form=form) for branch in schema["anyOf"]]
        # The branch that comes nearest tells most: the one whose complaints lie deepest.
        return min(branches, key=lambda found: (bool(found), -max((w.count(".") for w in found), default=0)))
    if form:
        value = _typed(value, schema)
    wanted = schema.get("type")
    if wanted and (
        not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")
    ):
        return [f"{at}: {str(value)[:60]!r} is no {wanted}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is not among {str(schema['enum'])[:80]}"]
    if wanted == "array":
        items = schema.get("items", {})
        return [w for n, each in enumerate(value) for w in _wrong(items, each, f"{at}.{n}", form=form)]
    return _wrong_inside(schema, value, at, form=form) if wanted == "object" else []


def _wrong_inside(schema: Json, value: Json, at: str, *, form: bool) -> list[str]:
    known, other = schema.get("properties"), schema.get("additionalProperties")
    found = [f"{at}.{name} is missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        if known and name in known:
            found += _wrong(known[name], inner, f"{at}.{name}", form=form)
        elif isinstance(other, dict):
            found += _wrong(other, inner, f"{at}.{name}", form=form)
        elif known and other is not True:
            found.append(f"{at}.{name} is not described")
    return found


def _typed(value: Any, schema: Json) -> Any:
    """Form values are strings, and lists are maps from "0", "1", …; what cannot be typed stays as it is."""
    wanted = schema.get("type")
    if isinstance(value, dict) and wanted == "array" and all(key.isdigit() for key in value):
        return [value[key] for key in sorted(value, key=int)]
    if isinstance(value, str) and wanted == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if isinstance(value, str) and wanted == "number" and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return float(value)
    return value == "true" if wanted == "boolean" and value in ("true", "false") else value


def _nest(pairs: list[tuple[str, str]]) -> Json:
    root: Json = {}
    for name, value in pairs:
        *path, last = re.findall(r"[^\[\]]+", name)
        level = root
        for key in path:
            level = level.setdefault(key, {})
        level[last] = value
    return root
