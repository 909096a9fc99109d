"""The API key in a request's headers."""

from __future__ import annotations

from functools import lru_cache

from licenzy import errors
from licenzy.api_keys.rules import presented_hash


def hash_of_key(authorization: str | None) -> str:
    """The hash of the key in an Authorization header. Raises the 401s that need no database."""
    if authorization is None:
        raise errors.ApiKeyMissing
    return _bearer_hash(authorization)


@lru_cache(maxsize=512)
def _bearer_hash(header: str) -> str:
    """Whether the key is good, the database says each time.

    Only headers whose checksum fits are remembered, as strangers' cause an error here.
    """
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise errors.ApiKeyInvalid
    return presented_hash(token.strip(" "))
