"""What is kept of a call under an Idempotency-Key, to be given again. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """An answer as it was first sent, rendered by the door that sent it: repeats are given these very bytes.

    They are never read here, so that what an earlier version stored is given again as it stands.
    """

    status: int
    body: str
