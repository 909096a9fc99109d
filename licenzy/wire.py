"""How machines are spoken with: bodies read within bounds, refusals in the one shape of all answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licenzy.errors import LicenzyError, PayloadTooLarge
from licenzy.kit.deadline import standing_still

JSON = "application/json; charset=utf-8"


def body_length(environ: Mapping[str, Any], *, most: int) -> int:
    """What the request says of its body. Raises PayloadTooLarge over `most`, and for one without a length."""
    length = environ.get("CONTENT_LENGTH")
    if not length:
        if environ.get("HTTP_TRANSFER_ENCODING"):
            raise PayloadTooLarge("The body must be sent with a Content-Length.")
        return 0
    if int(length) > most:
        raise PayloadTooLarge
    return int(length)


def read_body(environ: Mapping[str, Any], length: int) -> bytes:
    """The body's bytes. How long the client takes to send them is not the database's fault."""
    if not length:
        return b""
    with standing_still():
        body: bytes = environ["wsgi.input"].read(length)
    return body


def refusal(error: LicenzyError, request_id: str, mode: str | None) -> dict[str, object]:
    """The JSON object of a refusal; `mode` is none before the caller is known."""
    return {
        "error": error.code,
        "message": error.message,
        "hint": error.hint,
        "mode": mode,
        "request_id": request_id,
        **({"fields": error.fields} if error.fields else {}),
        **error.extra,
    }
