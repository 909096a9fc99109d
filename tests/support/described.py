"""The API's own description, and real answers held against it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient
from openapi_schema_validator import OAS31Validator, oas31_format_checker


@dataclass(frozen=True)
class Call:
    """One call as the description tells it."""

    document: dict[str, Any]
    method: str
    path: str
    operation: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def send(self, client: FlaskClient, token: str | None = None, **changes: Any) -> Any:
        """Send the examples, with a key where it takes one; the answer is as described."""
        path, headers = self.path, {}
        for each in (resolved(self.document, told) for told in self.operation["parameters"]):
            if each["in"] == "path":
                path = path.replace("{" + each["name"] + "}", each["example"])
            elif each["in"] == "header":
                headers[each["name"]] = each["example"]
        if token is not None and self.operation["security"]:
            headers["Authorization"] = f"Bearer {token}"
        sent: dict[str, Any] = {}
        if "requestBody" in self.operation and "data" not in changes:
            sent["json"] = self.operation["requestBody"]["content"]["application/json"]["example"]
        headers |= changes.pop("headers", {})
        for name, value in changes.pop("path_values", {}).items():
            path = self.path.replace("{" + name + "}", value)
        answer = client.open(path, method=self.method, headers=headers, **(sent | changes))
        self.hold(answer)
        return answer

    def hold(self, answer: Any) -> None:
        """The status is told, and the body is what is told for it, without a field more."""
        responses = self.operation["responses"]
        assert str(answer.status_code) in responses, (str(self), answer.text)
        told = responses[str(answer.status_code)]["content"]["application/json"]["schema"]
        problems = [
            error.message for error in validator(closed(self.document), told).iter_errors(answer.get_json())
        ]
        assert problems == [], (str(self), answer.text)


def calls(document: dict[str, Any]) -> Iterator[Call]:
    """Every call that the description tells."""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            yield Call(document, method.upper(), path, told)


def call_of(document: dict[str, Any], operation_id: str) -> Call:
    return next(call for call in calls(document) if call.operation["operationId"] == operation_id)


def resolved(document: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` leads to."""
    found: Any = document
    for step in described["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    assert isinstance(found, dict)
    return found


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    """Checks values against a schema whose references lead into the document."""
    whole = {"components": {"schemas": document["components"]["schemas"]}, **schema}
    OAS31Validator.check_schema(whole)
    return OAS31Validator(whole, format_checker=oas31_format_checker)


def closed(document: dict[str, Any]) -> dict[str, Any]:
    """The same where no object may have a field that is not told."""
    document = copy.deepcopy(document)
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema and name not in {"Description", "SentByStripe"}:
            schema["additionalProperties"] = False
    return document
