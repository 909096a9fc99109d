"""The one place that knows which version of Stripe's API the sandbox speaks.

Everything is stored in the shape of `PINNED`. A payload in an older shape would be rendered by `event_for`,
and an answer in an older shape by `answer_for`: both are the identity today, and both are called everywhere
they would matter."""

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


def answer_for(body: Json, api_version: str | None) -> Json:
    """The answer as a caller that sends `Stripe-Version: api_version` receives it."""
    del api_version
    return body
