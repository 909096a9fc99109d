"""Consuming units: what is asked, what becomes of it, and who does it on which database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlmodel import Session

from licenzy.idempotency.actions import Outcome

ENDPOINT = "usage/consume"


@dataclass(frozen=True, slots=True)
class Order:
    """One call to consume: who presents which key, for how many units of whom."""

    key_hash: str
    subject_ref: str
    units: int
    idempotency_key: str
    body_hash: str
    request_id: str
    now: int
    """In microseconds: real time, which the clock of a sandbox account is laid over."""
    consumed: str
    """The answer up to the number of units left, after which only its closing brace is missing."""
    refused: str
    """The same for the refusal."""

    def outcome(self, *, left: int, enough: bool) -> Outcome:
        """The answer for `left` units."""
        text = f"{self.consumed if enough else self.refused}{left}}}"
        return Outcome(200 if enough else 409, text)


@dataclass(frozen=True, slots=True)
class Consumed:
    """What one try came to. At most one of the others is set beside `key`."""

    key: Sequence[Any] | None
    """The columns of the presented API key; none when there is no such key. A dead key consumes nothing."""
    outcome: Outcome | None = None
    replayed: bool = False
    reused: bool = False
    """The Idempotency-Key stands for another body."""
    heard: bool = False
    """Nothing was decided: endpoints of this side are told of consumption, so that it must be `aloud`."""
    lapsed: tuple[str, str, str] | None = None
    """Nothing was decided: reservations of this project, mode and subject are over and hold units back."""


HEARD = """EXISTS (
    SELECT 1 FROM webhook_endpoints w
    WHERE w.project_id = k.project_id AND w.mode = k.mode AND w.disabled_at IS NULL
        AND w.deleted_at IS NULL
        AND replace(CAST(w.types AS text), '"usage.', '') <> CAST(w.types AS text)
)"""
"""Whether an endpoint of the key `k`'s side is told of consumption: one look into an index where none is."""


class Consumer(Protocol):
    """Consumes on one kind of database, each call in one transaction with its Idempotency-Key."""

    def consume(self, order: Order) -> Consumed:
        """Take all units or none, once per key. Raises DatabaseUnavailable."""
        ...

    def consume_aloud(self, db: Session, order: Order) -> Consumed:
        """The same in the transaction of `db`, whoever listens; the caller tells of it there."""
        ...
