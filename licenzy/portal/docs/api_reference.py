"""The API reference: the API's own description, written as one more page of the guide."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

from flask import current_app

from licenzy.portal.docs.renderer import GuidePage, render

SLUG, TITLE = "api", "API reference"
_KEY = "lz_test_…"


def reference_page() -> GuidePage:
    """The reference of the API that this process serves."""
    return _page(current_app.extensions["licenzy_api_description"])


@lru_cache(maxsize=1)
def _page(describe: Any) -> GuidePage:
    return render(SLUG, TITLE, markdown(describe()))


def markdown(api: Mapping[str, Any]) -> str:
    """The description as Markdown: each call with what it takes, a curl line, its answer and its refusals."""
    calls = (
        line
        for path, methods in api["paths"].items()
        for method, call in methods.items()
        for line in _call(api, method.upper(), path, call)
    )
    return "\n".join([*_beginning(api), *calls, *_objects(api)])


def _beginning(api: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {TITLE}\n"
    yield f"{api['info']['description']} Send the key as a bearer token. Unknown fields are refused.\n"
    yield "The same as OpenAPI 3.1, for code generators and other tools: [openapi.json](/v1/openapi.json).\n"
    yield "Every refusal has [one shape](errors.md). Every call with an API key can be refused with"
    yield f"{', '.join(_common(api))}.\n"


def _call(api: Mapping[str, Any], method: str, path: str, call: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method} {path}\n"
    yield f"{call['summary']}{'' if call['security'] else ' It needs no API key.'}\n"
    yield from _takes(api, call)
    yield "```bash"
    yield _curl(api, method, path, call)
    yield "```\n"
    status, success = next(
        (status, response) for status, response in call["responses"].items() if status[0] == "2"
    )
    yield f"Answers {status}: {success['description']}\n"
    yield "```json"
    yield json.dumps(_example(success), indent=2, ensure_ascii=False)
    yield "```\n"
    yield from _fields("Field of the answer", _schema(api, success))
    common = _common(api) if call["security"] else []
    codes = [code for code in _codes(call) if code not in common]
    if codes:
        yield f"{'Also refused' if common else 'Refused'} with {', '.join(codes)}.\n"


def _takes(api: Mapping[str, Any], call: Mapping[str, Any]) -> Iterator[str]:
    parameters = [_resolved(api, each) for each in call["parameters"]]
    if parameters:
        yield "| Parameter | In | Meaning |\n|---|---|---|"
        for each in parameters:
            needed = "" if each["required"] else ", optional"
            yield f"| `{each['name']}` | {each['in']}{needed} | {each['description']} |"
        yield ""
    if "requestBody" in call:
        first, *others = _schemas(api, call["requestBody"])
        yield from _fields("Field of the body", first)
        for other in others:
            yield f"Or {other['description'].partition(' with ')[2] or other['description']}\n"
            yield from _fields("Field of the body", other)


def _fields(head: str, schema: Mapping[str, Any]) -> Iterator[str]:
    fields = schema.get("properties", {})
    if not fields:
        return
    yield f"| {head} | Type | Meaning |\n|---|---|---|"
    for name, field in fields.items():
        optional = "" if name in schema.get("required", ()) else ", optional"
        yield f"| `{name}` | {_type(field)}{optional} | {_meaning(field)} |"
    yield ""


def _objects(api: Mapping[str, Any]) -> Iterator[str]:
    """What fields refer to by name."""
    schemas = api["components"]["schemas"]
    yield "## Objects\n"
    for name in sorted(set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schemas))) | {"Error"}):
        yield f"### {name}\n"
        values = schemas[name].get("enum")
        if values:
            yield f"One of {', '.join(f'`{value}`' for value in values)}.\n"
        else:
            yield f"{schemas[name]['description']}\n"
            yield from _fields("Field", schemas[name])


def _type(field: Mapping[str, Any]) -> str:
    """A field's type in words."""
    if "$ref" in field:
        name = str(field["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_type(each) for each in field["anyOf"]))
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    kind = field.get("format") or field.get("type", "string")
    return kind if isinstance(kind, str) else " or ".join(kind)


def _meaning(field: Mapping[str, Any]) -> str:
    inner: Mapping[str, Any] = next(
        (each for each in field.get("anyOf", ()) if each.get("type") != "null"), {}
    )
    merged = {**inner, **field}
    words = [merged.get("description", "")]
    if "minimum" in merged and "maximum" in merged:
        words.append(f"{merged['minimum']} to {merged['maximum']}")
    if merged.get("default") is not None:
        words.append(f"{merged['default']} unless given")
    if "enum" in merged:
        words.append(", ".join(f"`{each}`" for each in merged["enum"]))
    return "; ".join(word for word in words if word)


def _curl(api: Mapping[str, Any], method: str, path: str, call: Mapping[str, Any]) -> str:
    lines = [f"curl{'' if method == 'GET' else f' -X {method}'} "]
    headers = [f"Authorization: Bearer {_KEY}"] if call["security"] else []
    for each in (_resolved(api, each) for each in call["parameters"]):
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", each["example"])
        elif each["in"] == "header":
            headers.append(f"{each['name']}: {each['example']}")
    lines[0] += f"{api['servers'][0]['url']}{path}"
    if "requestBody" in call:
        headers.append("Content-Type: application/json")
    lines += [f"-H '{header}'" for header in headers]
    if "requestBody" in call:
        lines.append(f"-d '{json.dumps(_example(call['requestBody']))}'")
    return " \\\n  ".join(lines)


def _common(api: Mapping[str, Any]) -> list[str]:
    """The refusals that every call with an API key knows."""
    calls = [call for methods in api["paths"].values() for call in methods.values() if call["security"]]
    every = set.intersection(*(set(_codes(call)) for call in calls))
    return [code for code in _codes(calls[0]) if code in every]


def _codes(call: Mapping[str, Any]) -> Iterable[str]:
    for status, response in call["responses"].items():
        if status[0] in "45":  # What a wrong address gets is no refusal of this call.
            for code in response["content"]["application/json"]["examples"]:
                yield f"[`{code}`](errors.md#{code}-{status})"


def _schema(api: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    return _resolved(api, node["content"]["application/json"]["schema"])


def _schemas(api: Mapping[str, Any], node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The schemas that a body may have."""
    schema = node["content"]["application/json"]["schema"]
    return [_resolved(api, each) for each in schema.get("anyOf", [schema])]


def _example(node: Mapping[str, Any]) -> Any:
    return node["content"]["application/json"]["example"]


def _resolved(api: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a `$ref` of the description leads to."""
    found: Any = api
    for step in node["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return cast(Mapping[str, Any], found)
