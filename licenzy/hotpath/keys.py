"""The API key that a call of the hot path presents, as one of its statements read it."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from licenzy.alignment.modes import Mode
from licenzy.projects.scope import Scope

_MODES = {mode.value: mode for mode in Mode}


class KeyRow(NamedTuple):
    """The key, and how far its side's clock is ahead; every statement here begins with these columns."""

    id: str
    project_id: str
    mode: str
    revoked_at: int | None
    """Instants are microseconds since 1970, as they are stored."""
    expires_at: int | None
    scopes: str
    clock_offset_seconds: int | None

    def instant(self, now: int) -> int:
        """The side's time, in microseconds, when it is `now` in reality."""
        return now + (self.clock_offset_seconds or 0) * 1_000_000

    @property
    def scope(self) -> Scope:
        """The side that the key stands for."""
        mode, offset = _MODES[self.mode], self.clock_offset_seconds
        return (
            Scope(self.project_id, mode, timedelta(seconds=offset))
            if offset
            else Scope(self.project_id, mode)
        )


KEY_COLUMNS = "k.id, k.project_id, k.mode, k.revoked_at, k.expires_at, k.scopes, c.clock_offset_seconds"
KEY_WIDTH = len(KeyRow._fields)

# What a batch on Postgres joins to its calls `r`. `OFFSET 0` keeps each look-up one by all columns of its
# index: a join that Postgres is free to arrange is arranged for tables as small as they once were.
KEY_OF_CALL = "LATERAL (SELECT * FROM api_keys k WHERE k.key_hash = r.key_hash OFFSET 0) k"
CLOCK_OF_CALL = """LATERAL (
    SELECT c.clock_offset_seconds FROM connections c
    WHERE c.project_id = k.project_id AND c.mode = k.mode OFFSET 0
) c"""
SIDE_OF_CALL = """LATERAL (
    SELECT d.default_unit, d.default_unit_used_at FROM project_sides d
    WHERE d.project_id = k.project_id AND d.mode = k.mode OFFSET 0
) d"""
SUBJECT_OF_CALL = """LATERAL (
    SELECT s.id FROM subjects s
    WHERE s.project_id = k.project_id AND s.mode = k.mode AND s.subject_ref = r.subject_ref OFFSET 0
) s"""
