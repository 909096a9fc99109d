"""The bodies of `/v1`, validated strictly, with a sentence for every field that can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic.config import JsonDict
from pydantic.json_schema import SkipJsonSchema

from licenzy.catalog.rules import (
    CODE_PATTERN,
    FEATURE_PATTERN,
    LABEL_MAX,
    LABEL_PATTERN,
    LIMIT_VALUE_MAX,
    resembles_stripe_id,
    valid_feature_code,
    valid_product_code,
)
from licenzy.catalog.unit_names import UNIT_MAX, UNIT_PATTERN
from licenzy.checkout.rules import MAX_ITEMS, MAX_QUANTITY, MAX_URL, URL_PATTERN
from licenzy.errors import InvalidRequest, LicenzyError, ModeNotAllowed, StripePriceIdNotAllowed, UnknownField
from licenzy.subjects.rules import MAX_LENGTH, REF_PATTERN, ref_problem
from licenzy.usage.access import UnitsWanted, Wanted
from licenzy.usage.rules import MAX_TTL_SECONDS, MAX_UNITS

_MUST_BE = {
    "subject_ref": "must be a string of 1 to 200 characters without control characters",
    "subject_refs": "must be a list of 1 to 100 strings of 1 to 200 characters without control characters",
    "product_code": "must be 1 to 64 letters, digits, `_`, `.` or `-`, and not begin like a Stripe ID",
    "feature": "must be 1 to 64 letters, digits, `_`, `.` or `-`",
    "limit": "must be 1 to 64 letters, digits, `_`, `.` or `-`",
    "value": f"must be a whole number from 0 to {LIMIT_VALUE_MAX}",
    "price_label": f"must be 1 to {LABEL_MAX} lower-case letters, digits, `_` or `-`",
    "customer_email": "must be an e-mail address",
    "quantity": f"must be a whole number from 1 to {MAX_QUANTITY}",
    "unit": f"must be 1 to {UNIT_MAX} lower-case letters, digits or `_`",
    "units": f"must be a whole number from 1 to {MAX_UNITS}",
    "ttl_seconds": f"must be a whole number from 1 to {MAX_TTL_SECONDS}",
    "success_url": "must be a URL",
    "cancel_url": "must be a URL",
    "return_url": "must be a URL",
}


def _subject_ref(value: str) -> str:
    problem = ref_problem(value)
    if problem:
        raise ValueError(problem)
    return value


def _product_code(value: str) -> str:
    if not valid_product_code(value):
        raise ValueError
    return value


def _feature(value: str) -> str:
    if not valid_feature_code(value):
        raise ValueError
    return value


def _email(value: str) -> str:
    try:
        validate_email(value, check_deliverability=False)
    except EmailNotValidError:
        raise ValueError from None
    return value


def _described(name: str, **schema: Any) -> WithJsonSchema:
    """How the API's description tells a field whose rule is code."""
    return WithJsonSchema({"type": "string", "description": "M" + _MUST_BE[name][1:], **schema})


_CODE: dict[str, Any] = {"minLength": 1, "maxLength": 64}
_ATOM, _LABEL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+", r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_NO_TOP_LEVEL = "|".join(
    "".join(f"[{each}{each.upper()}]" for each in name) for name in sorted(SPECIAL_USE_DOMAIN_NAMES)
)
_EMAIL_PATTERN = (
    rf"^(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+(?!(?:{_NO_TOP_LEVEL})$)[A-Za-z]{{2,63}}$"
)

REF: dict[str, Any] = {"minLength": 1, "maxLength": MAX_LENGTH, "pattern": REF_PATTERN}
"""What JSON Schema can tell of a ref."""

SubjectRef = Annotated[str, AfterValidator(_subject_ref), _described("subject_ref", **REF)]
ProductCode = Annotated[
    str, AfterValidator(_product_code), _described("product_code", **_CODE, pattern=CODE_PATTERN)
]
Feature = Annotated[str, AfterValidator(_feature), _described("feature", **_CODE, pattern=FEATURE_PATTERN)]
LimitCode = Annotated[str, AfterValidator(_feature), _described("limit", **_CODE, pattern=FEATURE_PATTERN)]
LimitValue = Annotated[
    int,
    Field(
        ge=0,
        le=LIMIT_VALUE_MAX,
        description="With `limit`: the number that there is now. Allowed while it is below the limit",
    ),
]
PriceLabel = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LABEL_MAX,
        pattern=LABEL_PATTERN,
        description="Which of the product's prices; needed where several are sold at and none is `default`",
    ),
]
Unit = Annotated[
    str,
    Field(
        min_length=1,
        max_length=UNIT_MAX,
        pattern=UNIT_PATTERN,
        description="What the units are, such as `images`; without it the default unit in the settings",
    ),
]
Units = Annotated[int, Field(ge=1, le=MAX_UNITS, description="The number of units, all or none")]
Email = Annotated[
    str,
    StringConstraints(max_length=254),
    AfterValidator(_email),
    _described(
        "customer_email",
        description="An e-mail address; letters beyond ASCII are accepted",
        format="email",
        maxLength=254,
        pattern=_EMAIL_PATTERN,
    ),
]
Address = Annotated[
    str,
    # What is wrong with an address is a refusal of its own, which knows the mode and the project's hosts.
    WithJsonSchema(
        {
            "type": "string",
            "description": "Must be an absolute https address; http only for localhost in test mode",
            "maxLength": MAX_URL,
            "pattern": URL_PATTERN,
        }
    ),
]


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError
    return value


V = TypeVar("V")
IfGiven = Annotated[V | SkipJsonSchema[None], BeforeValidator(_given)]
"""A field that may be left out. Null is no value: taken for one, it would widen what is asked for."""


class Body(BaseModel):
    """Base of all bodies: no conversions, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    def problems(self) -> dict[str, str]:
        """What is wrong with fields together that are each good by themselves, by field."""
        return {}


class CheckoutSessionBody(Body):
    """`POST /v1/checkout/session`."""

    subject_ref: SubjectRef
    product_code: ProductCode
    success_url: IfGiven[Address] = None
    cancel_url: IfGiven[Address] = None
    customer_email: IfGiven[Email] = None
    price_label: IfGiven[PriceLabel] = None
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, description="The quantity to buy")] = 1


_ASKS_ONCE: JsonDict = {
    "not": {"required": ["feature", "limit"]},
    "dependentRequired": {"limit": ["value"], "value": ["limit"]},
}
"""How the API's description tells what `_asking_problems` refuses."""


_ASKS_ONCE_OR_FOR_UNITS: JsonDict = {
    "not": {
        "anyOf": [
            {"required": ["feature", "limit"]},
            {"required": ["feature", "units"]},
            {"required": ["limit", "units"]},
        ]
    },
    "dependentRequired": {"limit": ["value"], "value": ["limit"], "unit": ["units"]},
}
"""The same for a check that may ask for units."""


def _asking_problems(feature: str | None, limit: str | None, value: int | None) -> dict[str, str]:
    problems: dict[str, str] = {}
    if feature is not None and limit is not None:
        problems["limit"] = "cannot be sent together with feature: ask for one of them in each call"
    if limit is not None and value is None:
        problems["value"] = "is required with limit: the number that there is now"
    if value is not None and limit is None:
        problems["limit"] = "is required with value: the code of the limit"
    return problems


class CheckoutItem(Body):
    """One product of a checkout."""

    product_code: ProductCode
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, description="The quantity to buy")] = 1
    price_label: IfGiven[PriceLabel] = None


class CheckoutItemsBody(Body):
    """`POST /v1/checkout/session` with several products, instead of `product_code`."""

    subject_ref: SubjectRef
    items: Annotated[
        list[CheckoutItem],
        Field(
            min_length=1,
            max_length=MAX_ITEMS,
            description="1 to 10 products: subscriptions of one interval, or one-time products; one currency",
        ),
    ]
    success_url: IfGiven[Address] = None
    cancel_url: IfGiven[Address] = None
    customer_email: IfGiven[Email] = None


def checkout_body(sent: dict[str, Any]) -> CheckoutSessionBody | CheckoutItemsBody:
    """The body of a checkout, of one product or of several. Raises a refusal with status 400."""
    if "items" not in sent:
        return validated(CheckoutSessionBody, sent)
    beside = [name for name in ("product_code", "quantity", "price_label") if name in sent]
    if beside:
        raise InvalidRequest(fields=dict.fromkeys(beside, "cannot be sent with items; send it in each item"))
    return validated(CheckoutItemsBody, sent)


class AccessCheckBody(Body):
    """`POST /v1/access/check`."""

    model_config = ConfigDict(json_schema_extra=_ASKS_ONCE_OR_FOR_UNITS)

    subject_ref: SubjectRef
    product_code: IfGiven[ProductCode] = None
    feature: IfGiven[Feature] = None
    limit: IfGiven[LimitCode] = None
    value: IfGiven[LimitValue] = None
    units: IfGiven[Units] = None
    unit: IfGiven[Unit] = None

    def problems(self) -> dict[str, str]:
        problems = _asking_problems(self.feature, self.limit, self.value)
        if self.units is not None and (self.feature is not None or self.limit is not None):
            problems["units"] = "cannot be sent together with feature or limit: ask for one in each call"
        if self.unit is not None and self.units is None:
            problems["units"] = "is required with unit: how many of them must be left"
        return problems

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        units = UnitsWanted(self.units, self.unit) if self.units is not None else None
        return Wanted(self.product_code, self.feature, self.limit, self.value or 0, units)


class PortalSessionBody(Body):
    """`POST /v1/billing/portal-session`."""

    subject_ref: SubjectRef
    return_url: IfGiven[Address] = None


class AccessCheckBatchBody(Body):
    """`POST /v1/access/check-batch`."""

    model_config = ConfigDict(json_schema_extra=_ASKS_ONCE)

    subject_refs: Annotated[
        list[SubjectRef], Field(min_length=1, max_length=100, description="1 to 100 subjects")
    ]
    product_code: IfGiven[ProductCode] = None
    feature: IfGiven[Feature] = None
    limit: IfGiven[LimitCode] = None
    value: IfGiven[LimitValue] = None

    def problems(self) -> dict[str, str]:
        return _asking_problems(self.feature, self.limit, self.value)

    @property
    def wanted(self) -> Wanted:
        """What is asked for."""
        return Wanted(self.product_code, self.feature, self.limit, self.value or 0)


class ConsumeBody(Body):
    """`POST /v1/usage/consume`."""

    subject_ref: SubjectRef
    units: Units
    unit: IfGiven[Unit] = None
    product_code: IfGiven[ProductCode] = None


class ReserveBody(Body):
    """`POST /v1/usage/reserve`."""

    subject_ref: SubjectRef
    units: Units
    ttl_seconds: Annotated[
        int, Field(ge=1, le=MAX_TTL_SECONDS, description="How long the units stay reserved")
    ]
    unit: IfGiven[Unit] = None
    product_code: IfGiven[ProductCode] = None


class CommitBody(Body):
    """`POST /v1/usage/reservations/<id>/commit`."""

    units: Units


class ReleaseBody(Body):
    """`POST /v1/usage/reservations/<id>/release`: an empty object."""


B = TypeVar("B", bound=Body)

_KNOWN_MISTAKES = {
    "price_id": "is not accepted: send the product_code that the price is mapped to",
    "stripe_price_id": "is not accepted: send the product_code that the price is mapped to",
    "price": "is not accepted: send the product_code that the price is mapped to",
    "livemode": "is not accepted: the API key decides the mode",
    "meter": "is not accepted: send unit, the name of what the subject's usage packs consist of",
    "amount": "is not accepted: the mapped Stripe price decides the amount",
    "currency": "is not accepted: the mapped Stripe price decides the currency",
    "line_items": "is not accepted: send product_code and quantity",
}


def validated(schema: type[B], value: dict[str, Any]) -> B:
    """The body as `schema` has it. Raises a refusal with status 400 for wrong fields."""
    try:
        body = schema.model_validate(value)
    except ValidationError as error:
        raise _worded(schema, value, error) from None
    problems = body.problems()
    if problems:
        raise InvalidRequest(fields=problems)
    return body


def _worded(schema: type[Body], value: dict[str, Any], error: ValidationError) -> LicenzyError:
    unknown = [name for name in value if name not in schema.model_fields]
    if "mode" in unknown:
        return ModeNotAllowed(fields={"mode": "is not accepted: the API key decides the mode"})
    if unknown:
        fields = {_cut(name): _KNOWN_MISTAKES.get(name, "is not a field of this call") for name in unknown}
        return UnknownField(fields=fields)
    for path, code in _product_codes(value):
        if resembles_stripe_id(code) and code.startswith(("price_", "plan_")):
            return StripePriceIdNotAllowed(
                fields={path: "is a Stripe price ID; send the product code it is mapped to"},
                sent=_cut(code),
            )
    fields, unknown_fields = {}, {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path, name = _path(problem["loc"])
        if problem["type"] == "extra_forbidden":
            unknown_fields[path] = _KNOWN_MISTAKES.get(name, "is not a field of an item")
        elif problem["type"] == "missing":
            fields[path] = "is required"
        else:
            fields[path] = _MUST_BE.get(name, "is invalid")
    return UnknownField(fields=unknown_fields) if unknown_fields else InvalidRequest(fields=fields)


def _product_codes(value: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The product codes of a body with where they are."""
    items = value.get("items")
    nested = enumerate(items[:MAX_ITEMS]) if isinstance(items, list) else ()
    places = [("", value), *((f"items[{n}].", each) for n, each in nested if isinstance(each, dict))]
    for place, fields in places:
        if isinstance(code := fields.get("product_code"), str):
            yield f"{place}product_code", code


def _path(loc: tuple[int | str, ...]) -> tuple[str, str]:
    """Where a problem is, such as `items[0].quantity`, and the name of its field.

    Problems in other lists, whose entries have no fields, are those of the list.
    """
    if loc[0] != "items":
        return str(loc[0]), str(loc[0])
    # What follows the field is which of its types was tried.
    named = loc[:3]
    path = "".join(f"[{each}]" if isinstance(each, int) else f".{_cut(each)}" for each in named).lstrip(".")
    return path, str(named[-1])


def _cut(name: str) -> str:
    """At most 64 characters of what a caller sent are ever echoed, and nothing JSON cannot carry."""
    return name[:64].encode("utf-8", "replace").decode()
