"""What follows the question mark of a call: parameters that lists have in common."""

from __future__ import annotations

import re

from flask import request

from licenzy.errors import InvalidRequest

DEFAULT_LIMIT, MAX_LIMIT = 10, 100


def given_once(*names: str) -> None:
    """Raise InvalidRequest for a parameter that was sent twice."""
    for name in names:
        if len(request.args.getlist(name)) > 1:
            raise InvalidRequest(fields={name: "must be sent once"})


def requested_limit() -> int:
    """How many are wanted in one answer. Raises InvalidRequest."""
    text = request.args.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidRequest(fields={"limit": f"must be a whole number from 1 to {MAX_LIMIT}"})
    return int(text)
