"""`GET /v1/openapi.json`: OpenAPI 3.1, made from the routes, the schemas that validate, and the errors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from werkzeug.routing import Map, Rule

from licenzy import errors
from licenzy.alignment.modes import Mode
from licenzy.api.operations import OPERATIONS, PARAMETERS, Operation, Refusals
from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.api.routes import described_path
from licenzy.idempotency.outcome import Outcome
from licenzy.wsgi_json import refusal

REQUEST_ID = "req_01jd8m7k4b0000000000000000"
_REF = "#/components/schemas/"
_MODELESS = (errors.ApiKeyMissing, errors.ApiKeyInvalid, errors.StripeKeySent, errors.HttpsRequired)
_BEFORE = (
    errors.PayloadTooLarge,
    errors.RequestTimeout,
    errors.NotFound,
    errors.MethodNotAllowed,
    errors.Overloaded,
)
_SCHEME = (
    "`lz_test_…` or `lz_live_…`. Each call names the scope that its key needs; "
    "a key with the scope `runtime` may make those that need `read` too."
)
_HEADERS = {
    "Licenzy-Request-Id": "The ID of this call. Give it to the operator when you report a problem.",
    "Licenzy-Mode": "The mode of the API key.",
    "Idempotent-Replayed": "`true` when the first outcome of this key is returned again.",
    "Retry-After": "Whole seconds after which repeating the call makes sense.",
}


def openapi(request: ApiRequest, *, described: Callable[[], dict[str, Any]]) -> Reply:
    """The description, which needs no API key."""
    return request.answer_outcome(Outcome(200, orjson.dumps(described()).decode()), replayed=False)


def describe(routes: Map, base_url: str) -> dict[str, Any]:
    """The description of every route under `/v1`; a route that `OPERATIONS` does not know is a KeyError."""
    paths: dict[str, dict[str, Any]] = {}
    known = list(OPERATIONS)
    for rule in sorted(_rules(routes), key=lambda rule: known.index(rule.endpoint)):
        path = described_path(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            paths.setdefault(path, {})[method.lower()] = _operation(
                rule.endpoint.partition(".")[2], OPERATIONS[rule.endpoint]
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Licenzy",
            "version": "1",
            "description": "Access checks, checkouts and usage. The API key decides the mode.",
        },
        "servers": [{"url": base_url}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "parameters": {name: _parameter(name) for name in PARAMETERS},
            "headers": {
                name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": _SCHEME}},
        },
    }


def _rules(routes: Map) -> Iterable[Rule]:
    return (rule for rule in routes.iter_rules() if rule.rule.startswith("/v1/"))


def _operation(name: str, operation: Operation) -> dict[str, Any]:
    description: dict[str, Any] = {
        "operationId": name,
        "summary": operation.summary,
        "security": [{"key": [operation.scope.value]}] if operation.scope else [],
        "parameters": [{"$ref": f"#/components/parameters/{each}"} for each in operation.parameters],
    }
    if operation.body is not None:
        description["requestBody"] = {
            "required": operation.body_required,
            "content": _content(operation.body, dict(operation.sent or {}), operation.or_body),
        }
    headers = ["Licenzy-Request-Id", *(["Licenzy-Mode"] if operation.keyed else [])]
    if "Idempotency-Key" in operation.parameters:
        headers.append("Idempotent-Replayed")
    success = {
        "description": (operation.answer.__doc__ or "").partition("\n")[0],
        "headers": _headers(headers),
        "content": _content(operation.answer, dict(operation.returns)),
    }
    description["responses"] = {str(operation.status): success} | _refused(operation)
    return description


def _content(
    model: type[BaseModel], example: dict[str, Any], other: type[BaseModel] | None = None
) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": _REF + model.__name__}
    if other is not None:
        schema = {"anyOf": [schema, {"$ref": _REF + other.__name__}]}
    return {"application/json": {"schema": schema, "example": example}}


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _refused(operation: Operation) -> dict[str, Any]:
    """The refusals of one call by their status; under `default`, what is looked at before it is known."""
    by_status: dict[int, Refusals] = {}
    for error in dict.fromkeys(operation.refusals):
        by_status[error.status] = (*by_status.get(error.status, ()), error)
    description = {str(status): _refusal(by_status[status], operation) for status in sorted(by_status)}
    return description | {"default": _refusal(_BEFORE, operation)}


def _refusal(refusals: Refusals, operation: Operation) -> dict[str, Any]:
    waits = ["Retry-After"] if any(error.retry_after is not None for error in refusals) else []
    codes = [error.code for error in refusals]
    narrowed = {"properties": {"error": {"enum": codes}}}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": _headers(["Licenzy-Request-Id", *waits]),
        "content": {
            "application/json": {
                "schema": {"allOf": [{"$ref": f"{_REF}Error"}, narrowed]},
                "examples": {
                    error.code: {"summary": error.message, "value": _example(error, operation)}
                    for error in refusals
                },
            }
        },
    }


def _example(error: type[errors.LicenzyError], operation: Operation) -> dict[str, object]:
    mode = Mode.TEST.value if operation.keyed and error not in _MODELESS else None
    extra = {"usage_remaining": 40} if error is errors.InsufficientUsage else None
    return refusal(error(extra=extra), REQUEST_ID, mode)


def _parameter(name: str) -> dict[str, Any]:
    description = PARAMETERS[name]
    return {
        "name": name,
        **description,
        "required": description["in"] == "path" or description.get("required", False),
    }


class _Plain(GenerateJsonSchema):
    """Without a title for each field that only repeats its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _schemas() -> dict[str, Any]:
    taken = (body for op in OPERATIONS.values() for body in (op.body, op.or_body))
    bodies = {body for body in taken if body is not None}
    answers = {op.answer for op in OPERATIONS.values()}
    _map, description = models_json_schema(
        [(model, "validation") for model in sorted(bodies | answers, key=lambda model: model.__name__)],
        ref_template=_REF + "{model}",
        schema_generator=_Plain,
    )
    return {**description["$defs"], "Error": _error()}


def _error() -> dict[str, Any]:
    """The one shape of all refusals."""
    text = {"type": "string"}
    table = [each for each in vars(errors).values() if isinstance(each, type)]
    codes = sorted({each.code for each in table if issubclass(each, errors.LicenzyError)})
    return {
        "type": "object",
        "description": "The shape of every error.",
        "required": ["error", "message", "hint", "mode", "request_id"],
        "properties": {
            "error": {"enum": codes, "description": "Stable: compare it in code."},
            "message": {**text, "description": "One sentence for people."},
            "hint": {"type": ["string", "null"], "description": "What to do next."},
            "mode": {
                "enum": [*(mode.value for mode in Mode), None],
                "description": "Null before a valid key.",
            },
            "request_id": text,
            "fields": {
                "type": "object",
                "additionalProperties": text,
                "description": "Each invalid field, and what it must be.",
            },
            "usage_remaining": {"type": "integer", "minimum": 0, "description": "With `insufficient_usage`."},
            "stripe_code": {"type": ["string", "null"], "description": "Stripe's own code."},
            "stripe_request_id": {"type": ["string", "null"], "description": "Finds the call in Stripe."},
            "stripe_permission": {
                "type": ["string", "null"],
                "description": "The permission that the restricted key lacks.",
            },
        },
    }
