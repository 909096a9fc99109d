"""Who calls."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from licenzy.alignment.modes import Mode


class Caller(NamedTuple):
    """The project and mode that the API key stands for, and the instant decisions are made at."""

    key_id: str
    project_id: str
    mode: Mode
    now: datetime
    asked_at: datetime
    """The instant of the call by our own clock; a sandbox whose clock was moved has `now` ahead of it."""
