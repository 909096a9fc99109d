"""Stripe's refusals and silences, in our words."""

from __future__ import annotations

import math
import re

import requests
import stripe

from licenzy import errors


class StripeKeyRejected(errors.StripeError):
    """Stripe does not know the key (any more)."""

    message = "Stripe rejected the saved key."
    hint = "The key was rolled or deleted in Stripe. Save the current one on the Stripe connection page."


class StripePermissionMissing(errors.StripeError):
    """A restricted key lacks a permission; `permission` is Stripe's name for it, where it gave one."""

    permission: str | None = None
    hint = "Add the permission to the key in Stripe. The key does not have to be saved again."


class StripeObjectMissing(errors.StripeError):
    """Stripe has no such object for this key."""

    hint = "Compare the ID, its mode and its Stripe account."


class StripeAnswerUnreadable(errors.StripeError):
    """What answered is not Stripe's API, or not in its shape: the outcome of the call is not known."""

    message = "The answer did not come from Stripe's API."
    hint = "A proxy may have answered. Try again in a moment. Repeat API calls with the same Idempotency-Key."


def translate(error: stripe.StripeError) -> errors.LicenzyError:
    """The error to raise instead of one of Stripe's library.

    `answered` is set on it: True when Stripe itself answered an error, so that the next try needs a
    new idempotency key; False after a timeout, a reset, a conflict with a call still in flight, or an answer
    that is not Stripe's, behind which the call may have been done.
    """
    translated = _translate(error)
    status = error.http_status
    translated.answered = error.error is not None and status not in {409, 429}  # type: ignore[attr-defined]
    if status == 429:
        wait = _retry_after(error)
        translated.busy_seconds = wait  # type: ignore[attr-defined]
        translated.retry_after = max(translated.retry_after or 0, math.ceil(wait))
    return translated


def was_answered(error: errors.LicenzyError) -> bool:
    """Whether Stripe itself answered this error, see `translate`."""
    return bool(getattr(error, "answered", False))


def busy_seconds(error: errors.LicenzyError) -> float | None:
    """For how long Stripe asked to be left alone, 0 when it did not say; None where it asked nothing."""
    return getattr(error, "busy_seconds", None)


def _retry_after(error: stripe.StripeError) -> float:
    """What Stripe's `Retry-After` says in seconds; 0 without one that can be read."""
    headers = {name.lower(): value for name, value in dict(error.headers or {}).items()}
    try:
        return min(max(float(headers.get("retry-after", 0)), 0.0), 3600.0)
    except ValueError:
        return 0.0


def _translate(error: stripe.StripeError) -> errors.LicenzyError:
    extra: dict[str, object] = {"stripe_code": error.code, "stripe_request_id": error.request_id}
    if isinstance(error, stripe.APIConnectionError):
        timed_out = isinstance(error.__context__, requests.Timeout)
        return errors.StripeTimeout() if timed_out else errors.StripeUnavailable()
    if isinstance(error, stripe.AuthenticationError):
        return StripeKeyRejected(extra=extra)
    if isinstance(error, stripe.PermissionError):
        return _permission_missing(error, extra)
    if isinstance(error, stripe.RateLimitError) or error.http_status in {409, 429}:
        return errors.StripeUnavailable("Stripe is limiting the rate of calls right now.", extra=extra)
    if error.http_status is not None and error.http_status >= 500:
        return errors.StripeUnavailable("Stripe reported an internal error.", extra=extra)
    if error.error is None:
        return StripeAnswerUnreadable(extra=extra)
    message = f"Stripe refused the call: {_message(error)}"
    if error.code == "resource_missing":
        return StripeObjectMissing(message, extra=extra)
    return errors.StripeError(message, extra=extra)


def _permission_missing(error: stripe.PermissionError, extra: dict[str, object]) -> StripePermissionMissing:
    message = _message(error)
    named = re.search(r"rak_[a-z_]+", message)
    permission = named.group(0) if named else None
    words = f" {permission}" if permission else ""
    missing = StripePermissionMissing(
        f"The restricted Stripe key lacks the permission{words} for this call.",
        extra={**extra, "stripe_permission": permission},
    )
    missing.permission = permission
    return missing


def _message(error: stripe.StripeError) -> str:
    """Stripe's own sentence, with anything that looks like a key cut out of it."""
    text = error.user_message or "no reason given"
    return re.sub(r"\b(?:sk|rk|pk|whsec|lz)_[A-Za-z0-9_*]+", "[key]", text)[:300]
