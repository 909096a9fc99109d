"""Every refusal Licenzy gives: a stable code, an HTTP status, one sentence, and what to do next.

The classes below are the one table of codes. `docs/errors.md` documents each of them, and a test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class LicenzyError(Exception):
    """Something a caller did or met, worded for them.

    `message` is one sentence and never holds a secret, SQL or another tenant's data. `hint` says what
    to do next. `extra` is merged into the JSON answer.
    `sent` is the part of the call that was wrong, for whoever counts such mistakes; no answer repeats it.
    """

    code = "internal_error"
    status = 500
    message = "An unexpected error occurred."
    hint: str | None = None
    retry_after: int | None = None
    """Whole seconds after which repeating the call makes sense; sent as `Retry-After`."""

    def __init__(
        self,
        message: str | None = None,
        *,
        hint: str | None = None,
        fields: Mapping[str, str] | None = None,
        extra: Mapping[str, object] | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        sent: str | None = None,
    ) -> None:
        self.message = message or type(self).message
        self.hint = hint if hint is not None else type(self).hint
        self.fields = dict(fields or {})
        self.extra = dict(extra or {})
        self.retry_after = retry_after if retry_after is not None else type(self).retry_after
        self.headers = dict(headers or {})
        self.sent = sent
        super().__init__(self.message)


# 400: invalid requests


class InvalidJson(LicenzyError):
    code, status = "invalid_json", 400
    message = "The body is not a valid JSON object in UTF-8."
    hint = "Send one JSON object without duplicate keys, NaN or Infinity, nested at most 32 levels deep."


class InvalidRequest(LicenzyError):
    code, status = "invalid_request", 400
    message = "One or more fields are invalid."
    hint = "See `fields`: each entry names a field and says what it must be."


class UnknownField(LicenzyError):
    code, status = "unknown_field", 400
    message = "The body has an unknown field."
    hint = "Remove the fields listed in `fields`."


class IdempotencyKeyMissing(LicenzyError):
    code, status = "idempotency_key_missing", 400
    message = "This call needs an Idempotency-Key header."
    hint = "Send a new unique value, such as a UUID, for each operation, and the same value on retries."


class IdempotencyKeyInvalid(LicenzyError):
    code, status = "idempotency_key_invalid", 400
    message = "The Idempotency-Key header is invalid."
    hint = "Send it once, with 1 to 255 printable ASCII characters and no comma, such as a UUID."


class StripePriceIdNotAllowed(LicenzyError):
    code, status = "stripe_price_id_not_allowed", 400
    message = "A Stripe price ID was sent instead of a product code."
    hint = "Map the price to a product in the portal, and send that product's code."


class ModeNotAllowed(LicenzyError):
    code, status = "mode_not_allowed", 400
    message = "The request cannot set the mode. The API key decides it."
    hint = "Remove the field. Use an lz_test_ key for test mode and an lz_live_ key for live mode."


class InvalidRedirectUrl(LicenzyError):
    code, status = "invalid_redirect_url", 400
    message = "A redirect URL is invalid."
    hint = "Use an absolute https URL (http only for localhost in test mode) on an allowed host."


class PriceLabelNeeded(LicenzyError):
    code, status = "price_label_needed", 400
    message = "This product is sold at several prices, and none of them is labelled default."
    hint = "Send one of the labels in `price_labels` as `price_label`."


class SignatureInvalid(LicenzyError):
    code, status = "signature_invalid", 400
    message = "The Stripe-Signature header does not match the body and this address."
    hint = "Save the signing secret of exactly this webhook endpoint on the Stripe connection page."


class TimestampOutOfTolerance(LicenzyError):
    code, status = "timestamp_out_of_tolerance", 400
    message = "The signature's timestamp differs from this server's clock by more than 300 seconds."
    hint = "Set the server's clock. Stripe signs each retry with a new timestamp."


class InvalidEvent(LicenzyError):
    code, status = "invalid_event", 400
    message = "The signature is valid, but the body is not a Stripe event."
    hint = "Register this address for snapshot events of the v1 API, not for thin events."


class ThinEventReceived(InvalidEvent):
    message = "The signature is valid, but the body is a thin event."
    hint = (
        "In the Stripe Dashboard, under Developers and Webhooks, replace this event destination by one with "
        "the payload style Snapshot."
    )


# 401: authentication


class ApiKeyMissing(LicenzyError):
    code, status = "api_key_missing", 401
    message = "No API key was sent."
    hint = "Send the header `Authorization: Bearer lz_test_…` or `lz_live_…`. Keys in the URL are not read."


class ApiKeyInvalid(LicenzyError):
    code, status = "api_key_invalid", 401
    message = "The API key is unknown."
    hint = "Copy the whole key again, or create a new one on the API keys page."


class ApiKeyRevoked(LicenzyError):
    code, status = "api_key_revoked", 401
    message = "This API key has been revoked."
    hint = "Create a new key on the API keys page, and replace this one wherever it is used."


class ApiKeyExpired(LicenzyError):
    code, status = "api_key_expired", 401
    message = "This API key has expired."
    hint = "Create a new key on the API keys page, and replace this one wherever it is used."


class StripeKeySent(LicenzyError):
    code, status = "stripe_key_sent", 401
    message = "A Stripe secret key was sent instead of a Licenzy API key."
    hint = "Roll that key in Stripe now. Send a key that begins with lz_test_ or lz_live_."


# 403: scope and transport


class InsufficientScope(LicenzyError):
    code, status = "insufficient_scope", 403
    message = "This API key may not make this call."
    hint = "Create a key with the scope that the call needs on the API keys page."


class HttpsRequired(LicenzyError):
    code, status = "https_required", 403
    message = "This server accepts only https."
    hint = "Call the https address. Replace any key that was sent over http, because it was sent unencrypted."


# 404, 405, 413, 415


class NotFound(LicenzyError):
    code, status = "not_found", 404
    message = "There is nothing at this address."


class ProductNotFound(LicenzyError):
    code, status = "product_not_found", 404
    message = "No product has this code in this mode."
    hint = "Compare the code with the Products page, including upper and lower case."


class PriceLabelNotFound(LicenzyError):
    code, status = "price_label_not_found", 404
    message = "The product is not sold at a price with this label."
    hint = "Send one of the labels in `price_labels`, or add a price with this label to the product."


class UnitNotFound(LicenzyError):
    code, status = "unit_not_found", 404
    message = "No product of this mode has this unit."
    hint = "Send one of the units in `units`, or create a product with this unit."


class LimitNotFound(LicenzyError):
    code, status = "limit_not_found", 404
    message = "No product of this mode has this limit."
    hint = "Send one of the codes in `limits`, or add this limit to a product."


class ReservationNotFound(LicenzyError):
    code, status = "reservation_not_found", 404
    message = "This reservation does not exist in this mode."


class CustomerNotFound(LicenzyError):
    code, status = "customer_not_found", 404
    message = "No Stripe customer is known for this subject."
    hint = "It becomes known with the subject's first completed checkout."


class CustomerErased(CustomerNotFound):
    message = "The customer with this subject_ref was erased."
    hint = "Send a new subject_ref for a person who comes back."


class MethodNotAllowed(LicenzyError):
    code, status = "method_not_allowed", 405
    message = "This address does not accept this method."
    hint = "Use a method that the Allow header lists."


class PayloadTooLarge(LicenzyError):
    code, status = "payload_too_large", 413
    message = "The body is too large."
    hint = "Send at most 64 KiB (1 MiB for webhooks), with a Content-Length header."

    def __init__(self, message: str | None = None, *, to_people: str | None = None, **more: Any) -> None:
        """`to_people` is what the portal says in place of words for callers of the API."""
        super().__init__(message, **more)
        self.to_people = to_people


class UnsupportedMediaType(LicenzyError):
    code, status = "unsupported_media_type", 415
    message = "The body was not sent as JSON in UTF-8."
    hint = "Set the header `Content-Type: application/json`."


# 408: too slow


class RequestTimeout(LicenzyError):
    code, status = "request_timeout", 408
    message = "The body did not arrive in time."
    hint = "Nothing was changed. Send the request again."


# 409: conflicts with the current state


class ProductModeMismatch(LicenzyError):
    code, status = "product_mode_mismatch", 409
    message = "This product exists only in the other mode."
    hint = "Use an API key of that mode, or create the product in this mode."


class ProductArchived(LicenzyError):
    code, status = "product_archived", 409
    message = "This product is archived."
    hint = "Restore it on the Products page, or send another product code."


class ProductNotForSale(LicenzyError):
    code, status = "product_not_for_sale", 409
    message = "This product is free, so there is nothing to buy."
    hint = "Do not open a checkout for it. Send the code of a product with a price."


class StripeNotConnected(LicenzyError):
    code, status = "stripe_not_connected", 409
    message = "No Stripe key is saved in this mode."
    hint = "Connect Stripe for this mode in the portal."


class WebhookSecretMissing(LicenzyError):
    code, status = "webhook_secret_missing", 409
    message = "The webhook signing secret of this mode is missing, so payments cannot be recorded."
    hint = "Set up the webhook on the Stripe connection page."


class PriceModeMismatch(LicenzyError):
    code, status = "price_mode_mismatch", 409
    message = "The product's Stripe price is from the other mode."
    hint = "Map the product to a price of this mode."


class PriceInactive(LicenzyError):
    code, status = "price_inactive", 409
    message = "The product's Stripe price is archived."
    hint = "Activate the price in Stripe, or map the product to another price."


class PriceKindMismatch(LicenzyError):
    code, status = "price_kind_mismatch", 409
    message = "The Stripe price does not match the product's kind."
    hint = "A subscription needs a recurring price. Time passes and usage packs need a one-time price."


class InsufficientUsage(LicenzyError):
    code, status = "insufficient_usage", 409
    message = "The subject has fewer units left than requested."
    hint = "Nothing was consumed. Sell another usage pack, or request fewer units."


class IdempotencyKeyReused(LicenzyError):
    code, status = "idempotency_key_reused", 409
    message = "This Idempotency-Key was already used with a different body."
    hint = "Use a new key for a new operation."


class IdempotencyInProgress(LicenzyError):
    code, status = "idempotency_in_progress", 409
    message = "The first call with this Idempotency-Key is still running."
    hint = "Repeat the same call after the seconds in the Retry-After header."
    retry_after = 2


class ReservationClosed(LicenzyError):
    code, status = "reservation_closed", 409
    message = "This reservation was already committed or released, or it has expired."
    hint = "Create a new reservation."


# 429 and 5xx


class RateLimited(LicenzyError):
    code, status = "rate_limited", 429
    message = "Too many requests with this API key."
    hint = "Repeat the call after the seconds in the Retry-After header, and send calls more slowly."
    retry_after = 1


class StripeError(LicenzyError):
    code, status = "stripe_error", 502
    message = "Stripe refused the call."
    hint = "See Stripe's message. Its request ID finds the call in the Stripe Dashboard."


class Overloaded(LicenzyError):
    code, status = "overloaded", 503
    message = "The server is overloaded right now."
    hint = "Nothing was changed. Try again in a few seconds."
    retry_after = 2


class StripeUnavailable(LicenzyError):
    code, status = "stripe_unavailable", 503
    message = "Stripe cannot be reached right now."
    hint = "Try again in a moment. Repeat API calls with the same Idempotency-Key."
    retry_after = 5


class StripeTimeout(LicenzyError):
    code, status = "stripe_timeout", 504
    message = "Stripe did not answer in time."
    hint = "Try again in a moment. Repeat API calls with the same Idempotency-Key."
    retry_after = 5


class DatabaseUnavailable(LicenzyError):
    code, status = "database_unavailable", 503
    message = "The database cannot be used right now."
    hint = "Try again in a moment. Repeat API calls with the same Idempotency-Key."
    retry_after = 2
