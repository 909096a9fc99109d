"""The route that a call came by: what it is named where callers must not be, and which scope it needs."""

from __future__ import annotations

import re
from typing import NamedTuple

from licenzy.api_keys.models import KeyScope


class CallRoute(NamedTuple):
    """One call of the API, without the values in its path."""

    method: str
    path: str
    """Such as `/v1/entitlements/{subject_ref}`."""
    scope: KeyScope | None
    """What a key must have; none for a call that takes no key, and which no key is looked up for."""


UNKNOWN_ROUTE = CallRoute("", "", None)
"""What a call is before its route is known, and where there is none."""


def described_path(rule: str) -> str:
    """A rule of Flask's as the description of the API writes it."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)
