"""Pure decisions about second factors: codes of an authenticator app, recovery codes, who may enter."""

from __future__ import annotations

from datetime import datetime

import pyotp

from licenzy.workspace import rules

ISSUER = "Licenzy"
RECOVERY_CODES = 10
RECOVERY_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's 32: without i, l, o and u, which are misread."""
_STEP_SECONDS = 30
_MISREAD = str.maketrans("ilo", "110", " -")


def may_enter(*, required_at: datetime | None, given_at: datetime | None) -> bool:
    """Whether a session may open a workspace that requires a second factor since `required_at`, if it does.

    `given_at` is when the session was given one.
    """
    return required_at is None or given_at is not None


def totp_address(secret: str, *, email: str) -> str:
    """What the QR code says: the `otpauth://` address of the secret."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def matching_step(secret: str, code: str, *, now: datetime) -> int | None:
    """The number of the 30 seconds that the code is of, if it is that of now, of before or of after."""
    totp, current = pyotp.TOTP(secret), int(now.timestamp()) // _STEP_SECONDS
    steps = (current, current - 1, current + 1)
    return next((step for step in steps if rules.same_token(totp.generate_otp(step), code)), None)


def recovery_code_hash(code: str) -> str:
    """What is stored of a recovery code, however it was typed: its 80 random bits need no salt."""
    return rules.token_hash("recovery code " + code.lower().translate(_MISREAD))


def totp_code(typed: str) -> str | None:
    """The six digits that were typed, spaces left out; none when it is no code of an app."""
    digits = "".join(typed.split())
    return digits if len(digits) == 6 and digits.isascii() and digits.isdigit() else None
