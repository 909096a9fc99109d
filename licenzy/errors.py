"""Every refusal Licenzy gives: a stable code, an HTTP status, one sentence, and what to do next.

The classes below are the one table of codes. `docs/errors.md` documents each of them, and a test
holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping


class LicenzyError(Exception):
    """Something a caller did or met, worded for them.

    `message` is one sentence and never holds a secret, SQL or another tenant's data. `hint` says what
    to do next. `extra` is merged into the JSON answer.
    `sent` is the part of the call that was wrong, for whoever counts such mistakes; no answer repeats it.
    """

    code = "internal_error"
    status = 500
    message = "Something went wrong on our side."
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


# 400: the request itself is wrong


class InvalidJson(LicenzyError):
    code, status = "invalid_json", 400
    message = "The body is not one strict JSON object in UTF-8."
    hint = "Send a JSON object without duplicate keys, NaN or Infinity, nested at most 32 levels deep."


class InvalidRequest(LicenzyError):
    code, status = "invalid_request", 400
    message = "One or more fields have a wrong value."
    hint = "Look at `fields`: each entry names a field and says what it must be."


class UnknownField(LicenzyError):
    code, status = "unknown_field", 400
    message = "The body has a field that this call does not take."
    hint = "Remove the fields named under `fields`."


class IdempotencyKeyMissing(LicenzyError):
    code, status = "idempotency_key_missing", 400
    message = "This call needs an Idempotency-Key header."
    hint = "Send a fresh unique value (a UUID, say) for each new operation, and the same value on retries."


class IdempotencyKeyInvalid(LicenzyError):
    code, status = "idempotency_key_invalid", 400
    message = "The Idempotency-Key must be 1 to 255 printable ASCII characters without a comma, sent once."
    hint = "Use a UUID or an id of your own."


class StripePriceIdNotAllowed(LicenzyError):
    code, status = "stripe_price_id_not_allowed", 400
    message = "A Stripe price id was sent where a product code belongs."
    hint = "Map the price to a product in the portal and send that product's code."


class ModeNotAllowed(LicenzyError):
    code, status = "mode_not_allowed", 400
    message = "The mode is not a field of the request: the API key decides it."
    hint = "Remove `mode` and use an lz_test_ key for test, an lz_live_ key for live."


class InvalidRedirectUrl(LicenzyError):
    code, status = "invalid_redirect_url", 400
    message = "A redirect URL is not acceptable."
    hint = "Use an absolute https URL (http only for localhost in test mode) on one of the project's hosts."


class SignatureInvalid(LicenzyError):
    code, status = "signature_invalid", 400
    message = "The Stripe-Signature header does not match this body and address."
    hint = "Compare the webhook signing secret stored here with the one of this endpoint at Stripe."


class TimestampOutOfTolerance(LicenzyError):
    code, status = "timestamp_out_of_tolerance", 400
    message = "The signature's timestamp is more than 300 seconds away from this server's clock."
    hint = "Check the clocks; Stripe signs each retry anew."


class InvalidEvent(LicenzyError):
    code, status = "invalid_event", 400
    message = "The signature is right, but the body is not a Stripe event."
    hint = "Register this address for snapshot events of the v1 API, not for thin events."


# 401: who is asking


class ApiKeyMissing(LicenzyError):
    code, status = "api_key_missing", 401
    message = "No API key was sent."
    hint = "Send `Authorization: Bearer lz_test_…` or `lz_live_…`, never in the URL."


class ApiKeyInvalid(LicenzyError):
    code, status = "api_key_invalid", 401
    message = "The API key is not one of ours."
    hint = "Copy the whole key again, or make a new one on the API keys page."


class ApiKeyRevoked(LicenzyError):
    code, status = "api_key_revoked", 401
    message = "This API key has been revoked."
    hint = "Make a new key on the API keys page and replace this one where it is used."


class ApiKeyExpired(LicenzyError):
    code, status = "api_key_expired", 401
    message = "This API key has expired."
    hint = "Make a new key on the API keys page and replace this one where it is used."


class StripeKeySent(LicenzyError):
    code, status = "stripe_key_sent", 401
    message = "A Stripe secret key was sent to Licenzy instead of a Licenzy API key."
    hint = "Roll that Stripe key at Stripe now, and send a key that begins with lz_test_ or lz_live_."


# 403: how it was asked


class HttpsRequired(LicenzyError):
    code, status = "https_required", 403
    message = "This server answers over https only."
    hint = "Call the https address, and roll any key that was sent over http: it travelled in clear."


# 404, 405, 413, 415


class NotFound(LicenzyError):
    code, status = "not_found", 404
    message = "There is nothing at this address."


class ProductNotFound(LicenzyError):
    code, status = "product_not_found", 404
    message = "No product has this code in this mode."
    hint = "Compare the code with the Products page, letter case included."


class ReservationNotFound(LicenzyError):
    code, status = "reservation_not_found", 404
    message = "There is no such reservation in this mode."


class CustomerNotFound(LicenzyError):
    code, status = "customer_not_found", 404
    message = "No Stripe customer is known for this subject."
    hint = "A customer becomes known with the subject's first completed checkout."


class MethodNotAllowed(LicenzyError):
    code, status = "method_not_allowed", 405
    message = "This address does not take that method."
    hint = "See the Allow header."


class PayloadTooLarge(LicenzyError):
    code, status = "payload_too_large", 413
    message = "The body is too large."
    hint = "Bodies are limited to 64 KiB (1 MiB for webhooks) and need a Content-Length."


class UnsupportedMediaType(LicenzyError):
    code, status = "unsupported_media_type", 415
    message = "The body must be sent as application/json in UTF-8."
    hint = "Set `Content-Type: application/json`."


# 408: too slow


class RequestTimeout(LicenzyError):
    code, status = "request_timeout", 408
    message = "The body of the request did not arrive in time."
    hint = "Send it again, all at once; nothing was changed."


# 409: right request, wrong state


class ProductModeMismatch(LicenzyError):
    code, status = "product_mode_mismatch", 409
    message = "This product code exists in the other mode only."
    hint = "Use the API key of that mode, or create the product in this one."


class ProductArchived(LicenzyError):
    code, status = "product_archived", 409
    message = "This product is archived and no longer sold."
    hint = "Restore it on the Products page, or send another code."


class StripeNotConnected(LicenzyError):
    code, status = "stripe_not_connected", 409
    message = "No Stripe key is stored for this mode."
    hint = "Connect Stripe for this mode in the portal."


class WebhookSecretMissing(LicenzyError):
    code, status = "webhook_secret_missing", 409
    message = "The webhook signing secret of this mode is missing, so a payment could not be noticed."
    hint = "Save the endpoint's signing secret on the Stripe connection page before selling."


class PriceModeMismatch(LicenzyError):
    code, status = "price_mode_mismatch", 409
    message = "The product's Stripe price belongs to the other mode."
    hint = "Map a price of this mode to the product."


class PriceInactive(LicenzyError):
    code, status = "price_inactive", 409
    message = "The product's Stripe price is archived."
    hint = "Activate the price at Stripe, or map another price to the product."


class PriceKindMismatch(LicenzyError):
    code, status = "price_kind_mismatch", 409
    message = "The Stripe price does not fit the product's kind."
    hint = "A subscription needs a recurring price; time passes and usage packs need a one-time price."


class InsufficientUsage(LicenzyError):
    code, status = "insufficient_usage", 409
    message = "The subject has fewer units left than were asked for."
    hint = "Nothing was consumed. Sell another pack, or ask for fewer units."


class IdempotencyKeyReused(LicenzyError):
    code, status = "idempotency_key_reused", 409
    message = "This Idempotency-Key was used before with a different body."
    hint = "Use a new key for a new operation."


class IdempotencyInProgress(LicenzyError):
    code, status = "idempotency_in_progress", 409
    message = "The first call with this Idempotency-Key is still running."
    hint = "Repeat the same call after the seconds given in Retry-After."
    retry_after = 2


class ReservationClosed(LicenzyError):
    code, status = "reservation_closed", 409
    message = "This reservation was already committed, released or has expired."


# 429 and 5xx


class RateLimited(LicenzyError):
    code, status = "rate_limited", 429
    message = "Too many requests with this key."
    hint = "Slow down and retry after the seconds given in Retry-After."
    retry_after = 1


class StripeError(LicenzyError):
    code, status = "stripe_error", 502
    message = "Stripe refused the call."
    hint = "Read Stripe's own message; the request id finds the call in Stripe's dashboard."


class Overloaded(LicenzyError):
    code, status = "overloaded", 503
    message = "The server has too much to do right now."
    hint = "Try again in a moment, over the API after the seconds of Retry-After: nothing was changed."
    retry_after = 2


class StripeUnavailable(LicenzyError):
    code, status = "stripe_unavailable", 503
    message = "Stripe cannot be reached right now."
    hint = "Try again in a moment: it is safe, and over the API with the same Idempotency-Key."
    retry_after = 5


class StripeTimeout(LicenzyError):
    code, status = "stripe_timeout", 504
    message = "Stripe did not answer in time."
    hint = "Try again in a moment: it is safe, and over the API with the same Idempotency-Key."
    retry_after = 5


class DatabaseUnavailable(LicenzyError):
    code, status = "database_unavailable", 503
    message = "The database cannot be used right now."
    hint = "Repeat the call; nothing was changed."
    retry_after = 2
