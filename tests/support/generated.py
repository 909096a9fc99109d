"""Values that a JSON schema allows, for Hypothesis; as much of JSON Schema as our own description uses."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

from tests.support.described import resolved

KNOWN = {
    "$ref", "additionalProperties", "anyOf", "const", "default", "dependentRequired", "description", "enum",
    "format", "items", "maxItems", "maxLength", "maximum", "minItems", "minLength", "minimum", "not",
    "pattern", "properties", "required", "title", "type",
}  # fmt: skip
_LOOKAHEAD = re.compile(r"\(\?[=!](?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def values(document: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Everything that the schema allows, as far as it can be made; a word that is not known is an error."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        return values(document, resolved(document, schema))
    if "anyOf" in schema:
        return st.one_of([values(document, each) for each in schema["anyOf"]])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    if kind == "string":
        return texts(schema)
    if kind == "integer":
        return st.integers(schema.get("minimum"), schema.get("maximum"))
    if kind == "array":
        each = values(document, schema["items"])
        return st.lists(each, min_size=schema.get("minItems", 0), max_size=schema.get("maxItems", 3))
    if kind == "object":
        return _objects(document, schema)
    return {"boolean": st.booleans(), "null": st.none()}[kind]


def texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    """Strings of the pattern and length, the longest among them."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", 100)
    if "pattern" not in schema:
        return st.text(min_size=least, max_size=most)
    whole = compiled(schema["pattern"])
    # Lookaheads are left to the filter: Hypothesis would make their insides part of the text.
    short = st.from_regex(_LOOKAHEAD.sub("", whole.pattern), fullmatch=True)
    stretched = short.map(lambda text: (text * (most // max(1, len(text)) + 1))[:most])
    return (short | stretched).filter(lambda text: least <= len(text) <= most and whole.search(text))


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern of JSON Schema, whose `$` is the very end; in Python a line feed may follow it."""
    return re.compile(re.sub(r"\$(?=\)|\Z)", r"\\Z", pattern))


def _objects(document: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects, without those whose fields may not stand together or alone."""
    needed = schema.get("dependentRequired", {})
    never = schema.get("not", {})
    apart = [each["required"] for each in never.get("anyOf", [never] if never else [])]

    def fits(value: dict[str, Any]) -> bool:
        if any(set(each) <= set(value) for each in apart):
            return False
        return all(set(others) <= set(value) for name, others in needed.items() if name in value)

    return _fields(document, schema).filter(fits)


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: values(document, each) for name, each in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    known = st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )
    if schema.get("additionalProperties") is False:
        return known
    more = st.dictionaries(st.text(max_size=5).filter(lambda name: name not in fields), _ANY_JSON, max_size=2)
    return st.builds(lambda others, those: {**others, **those}, more, known)
