"""The answers of `/v1`, described once; tests hold real answers against them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind

Status = Literal["active", "trialing", "past_due", "paused", "suspended", "exhausted", "expired", "canceled"]
Instant = Annotated[datetime, WithJsonSchema({"type": "string", "format": "date-time", "pattern": "Z$"})]
Ref = Annotated[str, Field(description="Your own ID of the customer, as sent")]
Code = Annotated[str, Field(description="Your product code")]
Name = Annotated[str, Field(min_length=1, max_length=255, pattern="^[ -~]+$")]
Count = Annotated[int, Field(ge=0)]
LimitsByCode = Annotated[
    dict[str, Annotated[int | None, Field(ge=0)]], Field(description="By code; null is unlimited")
]
EntitlementKind = Annotated[Kind, Field(description="`free` only when a free product was granted manually")]
Remaining = Annotated[int, Field(ge=0, description="Units left in the packs that such a call can draw")]


def _left_out() -> NoReturn:
    """Makes a field one that some answers lack; these models describe answers and are never made."""
    raise NotImplementedError


NamedUnit = Annotated[
    str, Field(default_factory=_left_out, description="The unit; only where the call named one")
]


class ResponseModel(BaseModel):
    """Base of all answers. Later versions may add fields, and never take one away."""


class EntitlementSummary(ResponseModel):
    """One entitlement, in short."""

    id: str
    product_code: Code
    kind: EntitlementKind
    status: Status
    available: Annotated[bool, Field(description="Whether it gives access now")]
    usage_remaining: Annotated[int | None, Field(description="Units left; null unless a usage pack")]
    valid_until: Annotated[Instant | None, Field(description="Null when it has no end")]


class IncludedInWindow(ResponseModel):
    """The units of one name that a subscription includes, in the present window."""

    unit: Annotated[str, Field(description="What the units are")]
    granted: Annotated[Count, Field(description="Units that the window grants, without those carried over")]
    remaining: Annotated[Count, Field(description="Units left, those carried over included")]
    carried: Annotated[Count, Field(description="Unused units of the window before that were carried over")]
    starts_at: Instant
    renews_at: Annotated[Instant | None, Field(description="When the next window begins; null if not paid")]


class EntitlementResponse(EntitlementSummary):
    """One entitlement, with all its fields."""

    source: Annotated[str, Field(description="`stripe`, or `portal` when granted manually")]
    reason: Annotated[str | None, Field(description="Why it is not available; null when it is")]
    quantity: int
    features: list[str]
    limits: LimitsByCode
    adds: Annotated[bool, Field(description="Whether the limits come on top of those of other products")]
    unit: Annotated[str | None, Field(description="What its units are; null unless a usage pack")]
    granted_units: Annotated[int | None, Field(description="Units bought; null unless a usage pack")]
    included: Annotated[
        list[IncludedInWindow], Field(description="What a subscription includes now; empty for other kinds")
    ]
    starts_at: Instant | None
    cancel_at: Instant | None
    canceled_at: Instant | None
    stripe_subscription_id: str | None
    stripe_checkout_session_id: str | None
    attempt_id: Annotated[str | None, Field(description="The attempt that created its checkout")]
    terms_version: Annotated[
        int | None, Field(description="The version of the product's terms that was sold; null if not known")
    ]
    created_at: Instant | None
    updated_at: Instant | None


class AccessDecision(ResponseModel):
    """Whether one subject has access."""

    subject_ref: Ref
    allowed: Annotated[bool, Field(description="Whether the subject has access now")]


class OverrideInForce(ResponseModel):
    """A feature or limit that was set for the subject in the portal."""

    feature: str | None
    limit: Annotated[str | None, Field(description="The code of the limit; null for a feature")]
    value: Annotated[int | None, Field(ge=0, description="Null is unlimited; null too for a feature")]
    valid_until: Annotated[Instant | None, Field(description="Null when it has no end")]


class LimitInForce(ResponseModel):
    """The limit that was asked for."""

    code: str
    value: Annotated[int | None, Field(ge=0, description="Null is unlimited")]


class UnitsAsked(ResponseModel):
    """The units that were asked for."""

    unit: str
    remaining: Annotated[Count, Field(description="Units left")]


class Reasons(ResponseModel):
    """What decided, given for `explain=true`."""

    reason: Annotated[str | None, Field(description="Why not; null when allowed")]
    entitlement: Annotated[EntitlementSummary | None, Field(description="The entitlement that decided")]
    override: Annotated[
        OverrideInForce,
        Field(default_factory=_left_out, description="The feature or limit set in the portal that decided"),
    ]
    default_product: Annotated[
        str,
        Field(default_factory=_left_out, description="The default product, while the subject has it"),
    ]
    limit: Annotated[
        LimitInForce,
        Field(default_factory=_left_out, description="The limit asked for, where the subject has it"),
    ]
    units: Annotated[
        UnitsAsked, Field(default_factory=_left_out, description="Where units were asked for: what is left")
    ]
    facts: Annotated[list[str], Field(description="IDs of the facts that led to it")]
    hint: Annotated[
        str, Field(default_factory=_left_out, description="What to check when the subject has no entitlement")
    ]


class AccessCheck(AccessDecision):
    """Whether the subject has access."""

    explain: Annotated[Reasons, Field(default_factory=_left_out, description="Only for `explain=true`")]


class AccessCheckBatch(ResponseModel):
    """One result for each subject, in the order of the request."""

    results: list[AccessDecision]


class UnitBalance(ResponseModel):
    """The units of one name in all available usage packs and windows of included units."""

    remaining: Annotated[Count, Field(description="Units left")]
    granted: Annotated[Count, Field(description="Units that these began with")]
    renews_at: Annotated[Instant | None, Field(description="When new units come; null for usage packs")]


class CustomerAccess(ResponseModel):
    """The subject's entitlements, and whether it has access."""

    subject_ref: Ref
    has_access: Annotated[bool, Field(description="What the plain access check answers")]
    status: Annotated[Literal[Status, "none"], Field(description="The best status of all entitlements")]
    entitlements: list[EntitlementSummary]
    features: Annotated[list[str], Field(description="All features that can be used now")]
    limits: LimitsByCode
    default_product: Annotated[
        str | None, Field(description="The default product, while the subject has it; null otherwise")
    ]
    balances: Annotated[dict[str, UnitBalance], Field(description="What can be used now, by unit")]


class Entitlements(ResponseModel):
    """A page of a subject's entitlements, newest first."""

    subject_ref: Ref
    entitlements: list[EntitlementResponse]
    has_more: Annotated[bool, Field(description="Whether another page follows")]


class AuditActor(ResponseModel):
    """Who did something."""

    type: Literal["user", "command_line", "stranger", "licenzy"]
    user_id: str | None
    ip: str | None


class AuditLogEntry(ResponseModel):
    """Something that was done."""

    id: str
    at: Instant
    actor: AuditActor
    action: Annotated[str, Field(description="Such as `api_key.created`; later versions add more")]
    project_id: str | None
    mode: Mode | None
    about: Annotated[str, Field(description="The ID or name of what it was done to")]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditLog(ResponseModel):
    """A page of the audit log of a project and mode, newest first."""

    entries: list[AuditLogEntry]
    has_more: Annotated[bool, Field(description="Whether another page follows")]
    next_cursor: Annotated[str | None, Field(description="The `cursor` of the next page")]


class SoldItem(ResponseModel):
    """One of several products that a checkout sells."""

    product_code: Code
    quantity: int
    price_label: str


class CheckoutSession(ResponseModel):
    """An open Checkout Session: send the customer to `checkout_url`."""

    checkout_url: Annotated[str, Field(description="The page where the customer pays")]
    attempt_id: Annotated[str, Field(description="The ID of the checkout attempt")]
    stripe_checkout_session_id: str
    subject_ref: Ref
    product_code: Annotated[str | None, Field(description="Your product code; null where the call had items")]
    mode: Annotated[Mode, Field(description="The mode of the API key")]
    expires_at: Instant
    items: Annotated[
        list[SoldItem],
        Field(default_factory=_left_out, description="What it sells; only where the call had items"),
    ]
    trial_days: Annotated[
        Count,
        Field(
            default_factory=_left_out,
            description="The days of the trial, 0 if the customer had it; only where the product has a trial",
        ),
    ]


class PortalSession(ResponseModel):
    """Where the customer manages billing in Stripe."""

    url: Annotated[str, Field(description="Valid for a short time only")]


class ConsumeResponse(ResponseModel):
    """The units are consumed."""

    ok: Literal[True]
    consumed: Annotated[Count, Field(description="Units consumed by this call")]
    usage_remaining: Remaining
    unit: NamedUnit


class ReserveResponse(ResponseModel):
    """The units are reserved until `expires_at`."""

    reservation_id: Annotated[str, Field(description="For `commit` and `release`")]
    reserved: Annotated[Count, Field(description="Units reserved")]
    usage_remaining: Remaining
    expires_at: Instant
    unit: NamedUnit


class CommitResponse(ResponseModel):
    """Units of the reservation are consumed, and the rest is returned."""

    ok: Literal[True]
    consumed: Annotated[Count, Field(description="Units consumed by this call")]
    released: Annotated[Count, Field(description="Units returned to their packs")]
    usage_remaining: Remaining


class ReleaseResponse(ResponseModel):
    """All units of the reservation are returned."""

    ok: Literal[True]
    released: Annotated[Count, Field(description="Units returned to their packs")]
    usage_remaining: Remaining


class WebhookResponse(ResponseModel):
    """The event is stored; Stripe does not have to send it again."""

    received: Literal[True]


class EventData(BaseModel):
    """What an event is about."""

    model_config = ConfigDict(extra="allow")

    object: Annotated[dict[str, Any], Field(description="The object, as it was after the event")]


class SentByStripe(BaseModel):
    """A snapshot event of Stripe's v1 API, signed."""

    model_config = ConfigDict(extra="allow")

    id: Name
    object: Literal["event"]
    type: Name
    created: Annotated[int, Field(ge=0, le=253_402_300_799, description="In Unix seconds")]
    livemode: bool
    data: EventData


class Description(BaseModel):
    """An OpenAPI 3.1 document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, object]
    paths: dict[str, object]
