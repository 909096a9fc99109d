"""Stripe's words for how a subscription stands."""

from __future__ import annotations

KNOWN = frozenset(
    {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}
)
"""All there are; a state with another one changes nothing."""

NOT_BEGUN = frozenset({"incomplete", "incomplete_expired"})
"""Its first payment has not come yet, or never came."""

ENDED = frozenset({"canceled", "incomplete_expired"})
"""It is over for good."""

LIVE = KNOWN - NOT_BEGUN - ENDED
"""It has begun, and has not ended."""
