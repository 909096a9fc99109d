"""Argon2id: making and checking password hashes; and the passwords that are too common."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_COMMON = Path(__file__).with_name("common_passwords.txt")


class Passwords:
    """Hashes with 19 MiB, two passes and one lane, which is OWASP's advice for Argon2id.

    `cheap` is for tests alone: the same algorithm at its smallest size.
    """

    def __init__(self, *, cheap: bool = False) -> None:
        self._hasher = (
            PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
            if cheap
            else PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
        )
        self._dummy = self._hasher.hash("nobody has this password")

    def hash(self, password: str) -> str:
        """The hash to store, parameters and salt included."""
        return self._hasher.hash(password)

    def matches(self, stored: str | None, password: str) -> bool:
        """Whether `password` made `stored`. Takes as long where there is none: no account, or no password."""
        try:
            verified = self._hasher.verify(stored or self._dummy, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return verified and bool(stored)

    def is_outdated(self, stored: str) -> bool:
        """Whether `stored` was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)


@cache
def passwords(*, cheap: bool = False) -> Passwords:
    """The one hasher per process and size; making its dummy hash costs as much as a sign-in."""
    return Passwords(cheap=cheap)


@cache
def common_passwords() -> frozenset[str]:
    """The shipped list of common passwords, in lower case; read once per process."""
    lines = _COMMON.read_text(encoding="utf-8").splitlines()
    return frozenset(line.casefold() for line in lines if line and not line.startswith("#"))
