"""Who calls."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from licenzy.alignment.modes import Mode
from licenzy.projects.scope import Scope


class Caller(NamedTuple):
    """The side that the API key stands for, and the instant decisions are made at."""

    key_id: str
    scope: Scope
    now: datetime
    """The side's time; a sandbox whose clock was moved has it ahead of `asked_at`."""
    asked_at: datetime
    """The instant of the call by our own clock."""

    @property
    def project_id(self) -> str:
        return self.scope.project_id

    @property
    def mode(self) -> Mode:
        return self.scope.mode
