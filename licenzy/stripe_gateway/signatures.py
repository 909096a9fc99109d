"""Stripe's webhook signatures: HMAC-SHA256 over `timestamp.body`, verified on the raw bytes.

Written out instead of calling the library's `construct_event`, which raises TypeError for a non-ASCII
header, accepts timestamps from the future and parses the body before its shape was looked at.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime

from licenzy.errors import SignatureInvalid, TimestampOutOfTolerance

TOLERANCE_SECONDS = 300
_MAX_HEADER = 4096
_MAX_SIGNATURES = 16
_NO_SECRET = "whsec_no_connection_has_this_secret"


def verify(body: bytes, header: str, secrets: Sequence[str], *, now: datetime) -> str:
    """The one of `secrets` that signed `body`.

    Raises SignatureInvalid, or TimestampOutOfTolerance when the signature is right but its timestamp is
    more than 300 seconds away from `now` in either direction. An unknown connection has no secrets and
    costs the same time as a wrong one.
    """
    stamp, signatures = _parse(header)
    signed = str(stamp).encode() + b"." + body
    matched = None
    for secret in secrets or (_NO_SECRET,):
        expected = hmac.digest(secret.encode(), signed, hashlib.sha256).hex().encode()
        if any(hmac.compare_digest(expected, given) for given in signatures):
            matched = secret
    if matched is None or matched == _NO_SECRET:
        raise SignatureInvalid
    if abs(now.timestamp() - stamp) > TOLERANCE_SECONDS:
        raise TimestampOutOfTolerance
    return matched


def _parse(header: str) -> tuple[int, list[bytes]]:
    if not header.isascii() or len(header) > _MAX_HEADER:
        raise SignatureInvalid
    stamp: int | None = None
    signatures: list[bytes] = []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            # Of two of them, it is not for a guess to decide which was signed.
            if stamp is not None or not value.isdigit() or len(value) > 12:
                raise SignatureInvalid
            stamp = int(value)
        elif name == "v1" and len(signatures) < _MAX_SIGNATURES:
            signatures.append(value.encode())
    if stamp is None or not signatures:
        raise SignatureInvalid
    return stamp, signatures
