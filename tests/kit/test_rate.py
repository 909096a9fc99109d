"""What a call took that somebody else will count."""

from __future__ import annotations

import pytest

from licenzy.errors import RateLimited
from licenzy.kit.rate import RateLimiter


def test_a_token_given_back_is_there_for_who_counts_the_call() -> None:
    limiter = RateLimiter(1)
    limiter.admit("key")
    limiter.admit("key")
    limiter.give_back("key")
    limiter.admit("key")
    with pytest.raises(RateLimited):
        limiter.admit("key")
    limiter.give_back("nobody")
