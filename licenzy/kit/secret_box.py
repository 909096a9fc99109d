"""Secrets at rest: encrypted with MultiFernet and bound to the row they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

_BOUND = b"\x00"


class DecryptionFailed(Exception):
    """The text cannot be decrypted: another encryption key, another row, or damaged."""


class SecretBox:
    """Encrypts and decrypts short secrets with the instance's encryption keys, newest key first."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encrypt(self, secret: str, *, bound_to: str) -> str:
        """The encrypted secret; only a caller naming the same `bound_to` (a row and field) can decrypt it."""
        return self._fernet.encrypt(bound_to.encode() + _BOUND + secret.encode()).decode()

    def decrypt(self, sealed: str, *, bound_to: str) -> str:
        """The secret of an encrypted text. Raises DecryptionFailed."""
        try:
            plain = self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            raise DecryptionFailed("no encryption key of this installation decrypts it") from None
        owner, _, secret = plain.partition(_BOUND)
        if owner != bound_to.encode():
            raise DecryptionFailed("it was encrypted for another row")
        return secret.decode()

    def rotate(self, sealed: str) -> str:
        """The same secret under the newest key. Raises DecryptionFailed."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise DecryptionFailed("no encryption key of this installation decrypts it") from None


def mask(secret: str, *, shown_prefix: int = 0) -> str:
    """`sk_test_…4242`: what a page may show of a secret."""
    return f"{secret[:shown_prefix]}…{secret[-4:]}"
