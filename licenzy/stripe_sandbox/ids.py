"""Ids and secrets that look like Stripe's: a prefix for the kind, then letters and digits."""

from __future__ import annotations

import secrets
import string

_LETTERS = (string.ascii_letters + string.digits).encode()
_LETTER_OF_BYTE = bytes(_LETTERS[byte % len(_LETTERS)] for byte in range(256))


def new_id(prefix: str, length: int = 24) -> str:
    """`prefix` followed by `length` random letters and digits."""
    return prefix + secrets.token_bytes(length).translate(_LETTER_OF_BYTE).decode()


def masked(key: str) -> str:
    """A key as error messages show it: the prefix and the last four, never the middle."""
    head = "_".join(key.split("_")[:2])
    return f"{head}_{'*' * 12}{key[-4:]}" if len(key) > 12 else "*" * len(key)
