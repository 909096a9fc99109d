"""Tokens that look like keys of the runtime API, and that no installation knows."""

from __future__ import annotations

import secrets

from licenzy.alignment.modes import Mode
from licenzy.api_keys.rules import SECRET_BYTES, make_key


def unknown_token(mode: Mode = Mode.TEST) -> str:
    """A well-formed API key that was never stored."""
    return make_key(mode, secrets.token_bytes(SECRET_BYTES))
