"""Whether a secret was typed by a person. Pure."""

from __future__ import annotations

from itertools import pairwise


def is_patterned(key: str) -> bool:
    """Whether a key was typed by repeating something or by counting, as no random one looks."""
    if len(set(key)) < 8:
        return True
    period = next(length for length in range(1, len(key) + 1) if key.startswith(key[length:]))
    if period * 2 <= len(key):
        return True
    # Random letters and digits are next to each other in the alphabet, or the same, in a quarter at most.
    neighbours = sum(abs(ord(one) - ord(other)) <= 1 for one, other in pairwise(key))
    return neighbours * 3 > len(key) * 2
