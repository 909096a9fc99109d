"""Refusals in Stripe's exact shape, each a noun that carries its own status."""

from __future__ import annotations

from licenzy.stripe_sandbox.version import Json


class StripeRefusal(Exception):
    """An error response. `replayable` says whether an idempotency key stores it.

    Stripe remembers every outcome once the work has begun, and none that was refused before (bad parameters,
    401, 429)."""

    status = 400
    type = "invalid_request_error"
    replayable = True
    keeps_work = False
    """Whether what was done before the refusal stays done, such as a payment that was tried."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param

    def body(self) -> Json:
        error: Json = {"type": self.type, "message": self.message}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://stripe.com/docs/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        return {"error": error}


class RequestRefused(StripeRefusal):
    """The request is well formed and what it asks for is not possible."""


class InvalidParameter(StripeRefusal):
    """The request itself is wrong; nothing was begun."""

    replayable = False


class ResourceMissing(StripeRefusal):
    """No such object. Stripe answers 404 for the object of the address, 400 for one named in a parameter."""

    def __init__(self, message: str, *, param: str, in_address: bool) -> None:
        super().__init__(message, code="resource_missing", param=param)
        self.status = 404 if in_address else 400


class NoSuchAddress(StripeRefusal):
    status = 404
    replayable = False


class Unauthenticated(StripeRefusal):
    status = 401
    replayable = False


class PermissionMissing(StripeRefusal):
    status = 403
    replayable = False


class RateLimitExceeded(StripeRefusal):
    status = 429
    replayable = False

    def __init__(self) -> None:
        super().__init__(
            "Request rate limit exceeded. Learn more about rate limits here "
            "https://stripe.com/docs/rate-limits.",
            code="rate_limit",
        )


class IdempotencyConflict(StripeRefusal):
    """The key was used with other parameters (400), or its first request still runs (409)."""

    type = "idempotency_error"
    replayable = False

    def __init__(self, message: str, *, status: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.status = status


class CardDeclined(StripeRefusal):
    """The bank declined a payment that the call needed."""

    status = 402
    type = "card_error"

    def __init__(self, *, keeps_work: bool) -> None:
        super().__init__("Your card was declined.", code="card_declined")
        self.keeps_work = keeps_work


class Broken(StripeRefusal):
    """A failure on the sandbox's own side, real or asked for."""

    status = 500
    type = "api_error"

    def __init__(self) -> None:
        super().__init__("An unknown error occurred on the sandbox's side.")
