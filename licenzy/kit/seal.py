"""Secrets at rest: sealed with MultiFernet and bound to the row they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_BOUND = b"\x00"


class SealBroken(Exception):
    """The sealed text cannot be opened: another encryption key, another row, or damaged."""


class Seal:
    """Seals and opens short secrets with the instance's encryption keys, newest key first."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def close(self, secret: str, *, bound_to: str) -> str:
        """Encrypt `secret`; only a caller naming the same `bound_to` (a row and field) can open it."""
        return self._fernet.encrypt(bound_to.encode() + _BOUND + secret.encode()).decode()

    def open(self, sealed: str, *, bound_to: str) -> str:
        """The secret again. Raises SealBroken."""
        try:
            plain = self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            raise SealBroken("no encryption key of this installation opens it") from None
        owner, _, secret = plain.partition(_BOUND)
        if owner != bound_to.encode():
            raise SealBroken("it was sealed for another row")
        return secret.decode()

    def rotate(self, sealed: str) -> str:
        """The same secret under the newest key. Raises SealBroken."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise SealBroken("no encryption key of this installation opens it") from None
