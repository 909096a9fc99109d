"""The form of an API key: `lz_test_` or `lz_live_`, 256 random bits, a checksum.

The regular expression for secret scanners: `lz_(test|live)_[0-9A-Za-z]{49}`.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import KeyScope
from licenzy.errors import ApiKeyExpired, ApiKeyInvalid, ApiKeyRevoked, InvalidRequest, StripeKeySent
from licenzy.kit.clock import later
from licenzy.kit.names import clean_name, name_problem

Moment: TypeAlias = Any
"""An instant: a datetime, or its microseconds since 1970; all that are compared are of one kind."""


class Lived(Protocol):
    """A key and when it was made."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...


class Dated(Protocol):
    """What is read of a key to know whether it lives: its row, or what a statement of the hot path reads."""

    @property
    def revoked_at(self) -> Moment | None: ...
    @property
    def expires_at(self) -> Moment | None: ...


SECRET_BYTES = 32
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6
NAME_MAX = 80
REFUSALS_KEPT = 100
"""How many refused calls are kept of each key: the newest."""

KEY_PATTERN = r"lz_(?:test|live)_[0-9A-Za-z]{49}"
_SHAPE = re.compile(KEY_PATTERN, re.ASCII)
_STRIPE_KEY = re.compile(r"[sr]k_", re.ASCII)


def make_key(mode: Mode, secret: bytes) -> str:
    """A new key out of SECRET_BYTES random bytes. Only its hash is kept, so it can be shown this once."""
    number = int.from_bytes(secret, "big")
    body = f"{_prefix(mode)}{_base62(number, _SECRET_LENGTH)}"
    return body + _checksum(body)


def presented_hash(token: str) -> str:
    """The SHA-256 of a key somebody presents, in hex, after its shape and checksum were found good.

    Typos and strangers' tokens are refused here, before any database is asked.
    Raises StripeKeySent for Stripe's secret and restricted keys, ApiKeyInvalid for all else.
    """
    if not _SHAPE.fullmatch(token):
        if _STRIPE_KEY.match(token):
            raise StripeKeySent
        raise ApiKeyInvalid
    body = token[:-_CHECKSUM_LENGTH]
    if token[-_CHECKSUM_LENGTH:] != _checksum(body):
        raise ApiKeyInvalid("The API key is incomplete or mistyped. Its checksum is wrong.")
    return hashlib.sha256(token.encode("ascii")).hexdigest()


def masked(mode: Mode, last_four: str) -> str:
    """`lz_test_…a1B2`: what pages show of a key once it has been told."""
    return f"{_prefix(mode)}…{last_four}"


def is_alive(key: Dated, now: Moment) -> bool:
    """Whether the key opens anything at `now`, which is real time: a sandbox's clock ends no key."""
    return key.revoked_at is None and not has_expired(key, now)


def has_expired(key: Dated, now: Moment) -> bool:
    """Whether the time that the key was made for is up."""
    return key.expires_at is not None and bool(key.expires_at <= now)


def state_of(key: Dated, now: Moment) -> str:
    """`active`, `revoked` or `expired`."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if has_expired(key, now) else "active"


def require_alive(key: Dated, now: Moment) -> None:
    """Raise ApiKeyRevoked or ApiKeyExpired for a key that opens nothing at `now`."""
    if not is_alive(key, now):
        raise ApiKeyExpired if key.revoked_at is None else ApiKeyRevoked


_SUFFICIENT: dict[KeyScope, frozenset[str]] = {
    KeyScope.RUNTIME: frozenset({KeyScope.RUNTIME.value}),
    KeyScope.READ: frozenset({KeyScope.RUNTIME.value, KeyScope.READ.value}),
    KeyScope.AUDIT: frozenset({KeyScope.AUDIT.value}),
}


@lru_cache(maxsize=64)
def allows(scopes: str, needed: KeyScope) -> bool:
    """Whether a key with these scopes, separated by spaces, may make a call that needs `needed`."""
    return not _SUFFICIENT[needed].isdisjoint(scopes.split())


def last_moment(day: date) -> datetime:
    """When a key expires whose last day this is, in UTC."""
    return datetime.combine(day, time.max, UTC)


def successor_expires_at(key: Lived, now: datetime) -> datetime | None:
    """When a key expires that replaces this one `now`: it lives as long as the old one was to live."""
    return None if key.expires_at is None else later(now, key.expires_at - key.created_at)


def ends_after(key: Lived, overlap: timedelta, now: datetime) -> datetime:
    """When a key expires that is replaced `now`: after the overlap, unless its own end comes first."""
    end = now + overlap
    return end if key.expires_at is None else min(key.expires_at, end)


def checked_scopes(words: Iterable[str]) -> str:
    """The scopes as stored: each once, in one order. Raises InvalidRequest with the field `scopes`."""
    chosen = set(words)
    known = [scope.value for scope in KeyScope]
    if not chosen or not chosen <= set(known):
        raise InvalidRequest(
            "The scopes of the key are invalid.",
            fields={"scopes": f"must be one or more of {', '.join(known)}"},
        )
    return " ".join(word for word in known if word in chosen)


def checked_name(name: str) -> str:
    """The name as stored. Raises InvalidRequest with the field `name`."""
    title = clean_name(name)
    problem = name_problem(title, most=NAME_MAX)
    if problem is not None:
        raise InvalidRequest("The name of the key is invalid.", fields={"name": problem})
    return title


def _prefix(mode: Mode) -> str:
    return f"lz_{mode.value}_"


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode("ascii")), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits: list[str] = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
