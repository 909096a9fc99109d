"""In which order transactions lock rows, so that no two ever wait for each other.

docs/decisions/0010-consuming.md tells what follows from it.
"""

from __future__ import annotations

LOCK_ORDER = (
    "project_sides",
    "term_changes",
    "usage_reservations",
    "purchases",
    "subjects",
    "usage_windows",
    "entitlements",
    "idempotency_keys",
)
"""By their tables; whoever locks rows of several takes these first to last, and rows of one table in the
order of its primary key.

One exception: `idempotency.begin` stores a key before anything else is locked. Nobody waits for it but
calls with the same key, which hold nothing then: keys of other endpoints are other rows, and the calls that
are committed in batches store theirs last.
"""
