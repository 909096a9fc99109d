"""A purchase as whoever holds it sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.alignment.modes import Mode
from licenzy.projects.scope import Scope

LOCKED_COLUMNS = ("key", "subject_id", "attempt_id", "finalized_at", "trialed_at", "trialed_products")
"""The columns that are read of a locked purchase, in the order in which `LockedPurchase` has them."""


@dataclass(frozen=True, slots=True)
class LockedPurchase:
    """A purchase whose row is held until the transaction ends, as it was when it was last read or written."""

    project_id: str
    mode: Mode
    key: str
    subject_id: str | None = None
    attempt_id: str | None = None
    finalized_at: datetime | None = None
    trialed_at: datetime | None = None
    trialed_products: list[str] | None = None
    is_new: bool = False
    """Whether this transaction began it."""

    @property
    def scope(self) -> Scope:
        return Scope.of(self)

    @property
    def primary_key(self) -> dict[str, Any]:
        return {"project_id": self.project_id, "mode": self.mode, "key": self.key}
