"""Refunds and disputes: what they take away from a purchase. Pure, and settled by rank, not by time.

A refund or dispute only moves forward through its statuses, so the furthest one told is the latest,
whatever the order and the second in which Stripe tells it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from licenzy.entitlements.projected import FactLike
from licenzy.kit.clock import from_unix

KINDS = frozenset({"charge", "refund", "dispute"})

_REFUND_RANK = {"requires_action": 0, "pending": 1, "succeeded": 2, "canceled": 3, "failed": 3}
_GIVEN_BACK = frozenset({"pending", "succeeded", "requires_action"})
_DISPUTE_RANK = {
    "warning_needs_response": 0,
    "warning_under_review": 1,
    "needs_response": 2,
    "under_review": 3,
}
_CLOSED = 4
_TAKES_ACCESS = frozenset({"needs_response", "under_review"})


@dataclass(frozen=True, slots=True)
class Reversal:
    """Access taken away: `final` cancels, otherwise it is suspended until the matter is settled."""

    reason: str
    at: datetime
    final: bool


def reversal(facts: Iterable[FactLike], *, paid: int | None) -> Reversal | None:
    """What the refunds and disputes of one payment of `paid` (smallest currency unit) take away."""
    relevant = [fact for fact in facts if fact.kind in KINDS]
    refunded_at = _fully_refunded_at(relevant, paid)
    if refunded_at is not None:
        return Reversal("refunded", refunded_at, final=True)
    disputes = [_furthest(group, _dispute_rank) for group in _by_object(relevant, "dispute")]
    lost = [each.occurred_at for each in disputes if each.data["status"] == "lost"]
    if lost:
        return Reversal("disputed", min(lost), final=True)
    open_since = [each.occurred_at for each in disputes if each.data["status"] in _TAKES_ACCESS]
    return Reversal("disputed", min(open_since), final=False) if open_since else None


def _fully_refunded_at(relevant: Sequence[FactLike], paid: int | None) -> datetime | None:
    """When the refunds that did not fail first came to the whole amount; None when they have not."""
    refunds = [_furthest(group, _refund_rank) for group in _by_object(relevant, "refund")]
    standing = [each for each in refunds if each.data["status"] in _GIVEN_BACK]
    failed = [each for each in refunds if each.data["status"] not in _GIVEN_BACK]
    charges = [fact for fact in relevant if fact.kind == "charge"]
    whole = paid if paid is not None else max((c.data["amount"] for c in charges), default=None)
    if not whole:
        return None
    given = 0
    for each in sorted(standing, key=lambda fact: (_made_at(fact), fact.object_id)):
        given += each.data["amount"]
        if given >= whole:
            return _made_at(each)
    # `charge.refunded` tells a sum only: it counts where the refunds themselves were never told.
    full = [c.occurred_at for c in charges if c.data["amount_refunded"] - _failed_since(c, failed) >= whole]
    return min(full, default=None)


def _failed_since(charge: FactLike, failed: Sequence[FactLike]) -> int:
    """What of the sum that a charge tells has come to nothing since; the sum leaves out earlier failures."""
    return sum(each.data["amount"] for each in failed if each.occurred_at >= charge.occurred_at)


def _made_at(refund: FactLike) -> datetime:
    created = refund.data["created"]
    return from_unix(created) if isinstance(created, int) else refund.occurred_at


def _by_object(relevant: Sequence[FactLike], kind: str) -> list[list[FactLike]]:
    groups: dict[str, list[FactLike]] = {}
    for fact in relevant:
        if fact.kind == kind:
            groups.setdefault(fact.object_id, []).append(fact)
    return list(groups.values())


def _furthest(group: list[FactLike], rank: Any) -> FactLike:
    """The furthest status told; of several facts that tell it, the earliest.

    Only closed matters share a rank: a dispute lost and won later on is won.
    """
    top = max(rank(fact.data) for fact in group)
    furthest = sorted(
        (fact for fact in group if rank(fact.data) == top),
        key=lambda fact: (fact.occurred_at, fact.source_id),
    )
    status = furthest[-1].data["status"]
    return next(fact for fact in furthest if fact.data["status"] == status)


def _refund_rank(data: Mapping[str, Any]) -> int:
    return _REFUND_RANK.get(data["status"], 0)


def _dispute_rank(data: Mapping[str, Any]) -> int:
    return _DISPUTE_RANK.get(data["status"], _CLOSED)
