"""How machines are spoken with: bodies read whole, refusals in the one shape of all answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from licenzy.errors import LicenzyError
from licenzy.kit.deadline import standing_still

JSON = "application/json; charset=utf-8"


def read_body(environ: Mapping[str, Any]) -> bytes:
    """The body's bytes, whose length `server/limits.py` has been asked about.

    How long the client takes to send them is not the database's fault.
    """
    length = int(environ.get("CONTENT_LENGTH") or 0)
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
