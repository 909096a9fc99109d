"""The one place that knows which version of Stripe's API the sandbox speaks.

Everything is stored and sent in the shape of `PINNED`. Other versions are accepted and named, but change no
shape."""

from __future__ import annotations

import re
from typing import Any

Json = dict[str, Any]

PINNED = "2026-10-28.endive"
_WELL_FORMED = re.compile(r"20\d\d-[01]\d-[0-3]\d(\.[a-z]+)?\Z")


def is_version(text: str) -> bool:
    """Whether `text` looks like a version of Stripe's API; Stripe refuses anything else."""
    return bool(_WELL_FORMED.match(text))


def event_for(event: Json, api_version: str | None) -> Json:
    """The event as an endpoint of `api_version` receives it: the version is stated, the shape is the pinned
    one."""
    return {**event, "api_version": api_version or PINNED}
