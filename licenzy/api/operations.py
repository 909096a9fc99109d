"""Every call of `/v1` by its route: what it takes, what it answers, and what it can be refused for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from licenzy import errors
from licenzy.api import answers, body_fields, examples, schemas
from licenzy.api_keys.models import KeyScope

Refusals = tuple[type[errors.LicenzyError], ...]

_ALWAYS: Refusals = (errors.HttpsRequired, errors.LicenzyError)
_KEY: Refusals = (
    errors.ApiKeyMissing,
    errors.ApiKeyInvalid,
    errors.ApiKeyRevoked,
    errors.ApiKeyExpired,
    errors.StripeKeySent,
    errors.InsufficientScope,
    errors.RateLimited,
    errors.DatabaseUnavailable,
)
_BODY: Refusals = (
    errors.InvalidJson,
    errors.InvalidRequest,
    errors.UnknownField,
    errors.ModeNotAllowed,
    errors.PayloadTooLarge,
    errors.UnsupportedMediaType,
)
_IDEMPOTENCY: Refusals = (
    errors.IdempotencyKeyMissing,
    errors.IdempotencyKeyInvalid,
    errors.IdempotencyKeyReused,
    errors.IdempotencyInProgress,
)
_STRIPE: Refusals = (
    errors.InvalidRedirectUrl,
    errors.StripeNotConnected,
    errors.StripeError,
    errors.StripeUnavailable,
    errors.StripeTimeout,
)
_SALE: Refusals = (
    errors.CustomerErased,
    errors.StripePriceIdNotAllowed,
    errors.PriceLabelNeeded,
    errors.ProductNotFound,
    errors.PriceLabelNotFound,
    errors.ProductModeMismatch,
    errors.ProductArchived,
    errors.ProductNotForSale,
    errors.WebhookSecretMissing,
    errors.PriceModeMismatch,
    errors.PriceInactive,
    errors.PriceKindMismatch,
)
_USAGE: Refusals = (
    errors.CustomerErased,
    errors.InsufficientUsage,
    errors.UnitNotFound,
    errors.ProductNotFound,
    errors.StripePriceIdNotAllowed,
)
_RESERVATION: Refusals = (errors.ReservationNotFound, errors.ReservationClosed)
_WEBHOOK: Refusals = (
    errors.SignatureInvalid,
    errors.TimestampOutOfTolerance,
    errors.InvalidEvent,
    errors.PayloadTooLarge,
    errors.DatabaseUnavailable,
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One call as its description tells it; `sent` and `returns` are examples that fit each other."""

    summary: str
    returns: Mapping[str, Any]
    answer: type[BaseModel]
    scope: KeyScope | None
    """What its API key must have; none for a call that takes no key."""
    status: int = 200
    body: type[BaseModel] | None = None
    sent: Mapping[str, Any] | None = None
    or_body: type[BaseModel] | None = None
    """Another body that it takes instead."""
    body_required: bool = True
    parameters: tuple[str, ...] = ()
    """Names among `PARAMETERS`, those of the path included."""
    may: Refusals = ()
    """Refusals beside those that the key, the body and the Idempotency-Key bring with them."""

    @property
    def keyed(self) -> bool:
        """Whether it takes an API key."""
        return self.scope is not None

    @property
    def refusals(self) -> Refusals:
        """Every refusal that the call can be answered with."""
        body = _BODY if self.body is not None and self.keyed else ()
        idempotency = _IDEMPOTENCY if "Idempotency-Key" in self.parameters else ()
        return (*(_KEY if self.keyed else ()), *body, *idempotency, *self.may, *_ALWAYS)


def _id(prefix: str) -> str:
    """The ids with a prefix, as a regular expression of JSON Schema."""
    return f"^{prefix}_[0-9a-hjkmnp-tv-z]{{26}}$"


PARAMETERS: dict[str, dict[str, Any]] = {
    "subject_ref": {
        "in": "path",
        "description": "Percent-encoded UTF-8; a slash of the ref may be sent as `%2F`.",
        "schema": {"type": "string", **body_fields.REF},
        "example": "user_123",
    },
    "reservation_id": {
        "in": "path",
        "description": "The `reservation_id` that `reserve` returned.",
        "schema": {"type": "string", "pattern": _id("rsv")},
        "example": "rsv_01jd8m7k4b0000000000000000",
    },
    "connection_id": {
        "in": "path",
        "description": "The ID in the webhook address that the portal shows.",
        "schema": {"type": "string", "pattern": _id("con")},
        "example": "con_01jd8m7k4b0000000000000000",
    },
    "explain": {
        "in": "query",
        "description": "`true` adds the reason, what decided, and its facts. Send it at most once.",
        "schema": {"type": "string", "enum": ["true", "false"], "default": "false"},
    },
    "limit": {
        "in": "query",
        "description": "The most in one answer.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    },
    "starting_after": {
        "in": "query",
        "description": "The ID of the last entitlement on the previous page, for the same subject.",
        "schema": {"type": "string", "pattern": _id("ent")},
    },
    "cursor": {
        "in": "query",
        "description": "The `next_cursor` of the previous page.",
        "schema": {"type": "string", "pattern": _id("aud")},
    },
    "Idempotency-Key": {
        "in": "header",
        "required": True,
        "description": "A new value for each operation, and the same value on retries. Send it once.",
        "schema": {
            "type": "string",
            "minLength": 1,
            "maxLength": 255,
            # A header has no spaces at its ends: whoever carries it takes them off. A comma stands for two.
            "pattern": r"^[!-+\--~](?:[ -+\--~]*[!-+\--~])?$",
        },
        "example": "5f0c2f4e-order-1001",
    },
    "Stripe-Signature": {
        "in": "header",
        "required": True,
        "description": "Stripe's signature of the exact bytes of the body.",
        "schema": {"type": "string", "pattern": "^t=[0-9]{1,12}(?:,v[0-9]=[0-9a-f]{64})+$"},
        "example": "t=1764149400,v1=" + 16 * "5f0c",
    },
}

OPERATIONS: dict[str, Operation] = {
    "api.check": Operation(
        "Check whether a subject has access now. An unknown subject has none, which is not an error.",
        {**examples.REF, "allowed": True},
        answers.AccessCheck,
        KeyScope.READ,
        body=schemas.AccessCheckBody,
        sent=examples.REF,
        parameters=("explain",),
        may=(errors.StripePriceIdNotAllowed, errors.LimitNotFound),
    ),
    "api.check_batch": Operation(
        "Check up to 100 subjects at once.",
        {"results": [{**examples.REF, "allowed": True}, {"subject_ref": "user_124", "allowed": False}]},
        answers.AccessCheckBatch,
        KeyScope.READ,
        body=schemas.AccessCheckBatchBody,
        sent={"subject_refs": ["user_123", "user_124"], "product_code": "PRO_MONTHLY"},
        may=(errors.StripePriceIdNotAllowed, errors.LimitNotFound),
    ),
    "api.customer_access": Operation(
        "List the subject's entitlements, and whether it has access.",
        {
            **examples.REF,
            "has_access": True,
            "status": "active",
            "entitlements": [examples.ENTITLEMENT],
            "features": ["export"],
            "limits": {"projects": 10, "seats": None},
            "default_product": None,
            "balances": {"images": {"remaining": 900, "granted": 1000, "renews_at": None}},
        },
        answers.CustomerAccess,
        KeyScope.READ,
        parameters=("subject_ref",),
        may=(errors.InvalidRequest, errors.NotFound),
    ),
    "api.entitlements": Operation(
        "List every entitlement of a subject in pages, newest first, including ended ones.",
        {**examples.REF, "entitlements": [examples.IN_FULL], "has_more": False},
        answers.Entitlements,
        KeyScope.READ,
        parameters=("subject_ref", "limit", "starting_after"),
        may=(errors.InvalidRequest, errors.NotFound),
    ),
    "api.create_session": Operation(
        "Create a Stripe Checkout Session for a subject and a product code, or for several as `items`.",
        {
            "checkout_url": "https://checkout.stripe.com/c/pay/cs_test_a1example",
            "attempt_id": "att_01jd8m7k4b0000000000000000",
            "stripe_checkout_session_id": "cs_test_a1example",
            **examples.REF,
            "product_code": "PRO_MONTHLY",
            "mode": "test",
            "expires_at": "2026-11-27T09:30:00Z",
        },
        answers.CheckoutSession,
        KeyScope.RUNTIME,
        status=201,
        body=schemas.CheckoutSessionBody,
        or_body=schemas.CheckoutItemsBody,
        sent={
            **examples.REF,
            "product_code": "PRO_MONTHLY",
            "customer_email": "user@example.com",
            "quantity": 1,
        },
        parameters=("Idempotency-Key",),
        may=(*_SALE, *_STRIPE),
    ),
    "api.portal_session": Operation(
        "Create a session of Stripe's customer portal for a subject.",
        {"url": "https://billing.stripe.com/p/session/test_example"},
        answers.PortalSession,
        KeyScope.RUNTIME,
        status=201,
        body=schemas.PortalSessionBody,
        sent=examples.REF,
        may=(errors.CustomerNotFound, *_STRIPE),
    ),
    "api.consume": Operation(
        "Consume units of the subject's usage packs, all or none, once per Idempotency-Key.",
        {"ok": True, "consumed": 100, "usage_remaining": 900},
        answers.ConsumeResponse,
        KeyScope.RUNTIME,
        body=schemas.ConsumeBody,
        sent={**examples.REF, "units": 100},
        parameters=("Idempotency-Key",),
        may=_USAGE,
    ),
    "api.reserve": Operation(
        "Reserve units for some seconds, all or none. No other call can consume them meanwhile.",
        {
            "reservation_id": "rsv_01jd8m7k4b0000000000000000",
            "reserved": 100,
            "usage_remaining": 900,
            "expires_at": "2026-11-26T09:35:00Z",
        },
        answers.ReserveResponse,
        KeyScope.RUNTIME,
        status=201,
        body=schemas.ReserveBody,
        sent={**examples.REF, "units": 100, "ttl_seconds": 300},
        parameters=("Idempotency-Key",),
        may=_USAGE,
    ),
    "api.commit": Operation(
        "Consume up to the reserved units and return the rest. A repeated call gets the same answer.",
        {"ok": True, "consumed": 80, "released": 20, "usage_remaining": 920},
        answers.CommitResponse,
        KeyScope.RUNTIME,
        body=schemas.CommitBody,
        sent={"units": 80},
        parameters=("reservation_id",),
        may=_RESERVATION,
    ),
    "api.release": Operation(
        "Return all reserved units. A repeated call gets the same answer.",
        {"ok": True, "released": 100, "usage_remaining": 1000},
        answers.ReleaseResponse,
        KeyScope.RUNTIME,
        body=schemas.ReleaseBody,
        sent={},
        body_required=False,
        parameters=("reservation_id",),
        may=_RESERVATION,
    ),
    "api.audit": Operation(
        "List what was done in the project and mode of the key in pages, newest first.",
        {"entries": [examples.AUDIT_ENTRY], "has_more": False, "next_cursor": None},
        answers.AuditLog,
        KeyScope.AUDIT,
        parameters=("limit", "cursor"),
        may=(errors.InvalidRequest,),
    ),
    "hooks.receive_for_connection": Operation(
        "Receive the events of one Stripe connection. It answers after the event is stored.",
        {"received": True},
        answers.WebhookResponse,
        None,
        body=answers.SentByStripe,
        sent=examples.EVENT,
        parameters=("connection_id", "Stripe-Signature"),
        may=_WEBHOOK,
    ),
    "hooks.receive_for_tenant": Operation(
        "Receive the events of every Stripe connection. The signature decides which one.",
        {"received": True},
        answers.WebhookResponse,
        None,
        body=answers.SentByStripe,
        sent=examples.EVENT,
        parameters=("Stripe-Signature",),
        may=(*_WEBHOOK, errors.RateLimited),
    ),
    "api.openapi": Operation(
        "Get this description of the API.",
        {"openapi": "3.1.0", "info": {"title": "Licenzy", "version": "1.0.0"}, "paths": {}},
        answers.Description,
        None,
    ),
}
