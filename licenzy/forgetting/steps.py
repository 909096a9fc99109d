"""The steps of an erasure, in order. Each does a batch, and gives the key that the next begins behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlmodel import Session

from licenzy.forgetting.bought import (
    blank_attempts,
    blank_facts_of_nobody,
    blank_purchases,
    blank_untracked,
)
from licenzy.forgetting.noted import blank_audit, blank_import_files, blank_import_rows, scrub_texts
from licenzy.forgetting.received import blank_events, blank_keys
from licenzy.forgetting.sent import blank_deliveries
from licenzy.forgetting.work import Work
from licenzy.subjects.models import EVENTS

STEPS: Mapping[str, Callable[[Session, Work, str], str | None]] = {
    "deliveries": blank_deliveries,
    "purchases": blank_purchases,
    "untracked": blank_untracked,
    "facts of nobody": blank_facts_of_nobody,
    "keys": blank_keys,
    "attempts": blank_attempts,
    "import rows": blank_import_rows,
    "import files": blank_import_files,
    EVENTS: blank_events,
    "audit": blank_audit,
    "texts": scrub_texts,
}


def step_after(name: str) -> str | None:
    """The step that follows; None after the last one."""
    names = list(STEPS)
    at = names.index(name) + 1
    return names[at] if at < len(names) else None
