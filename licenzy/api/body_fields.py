"""The fields of bodies of `/v1`: what each may be, and the sentence for what it may not."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.json_schema import SkipJsonSchema

from licenzy.catalog.rules import (
    CODE_PATTERN,
    FEATURE_PATTERN,
    LABEL_MAX,
    LABEL_PATTERN,
    LIMIT_VALUE_MAX,
    valid_feature_code,
    valid_product_code,
)
from licenzy.catalog.unit_names import UNIT_MAX, UNIT_PATTERN
from licenzy.checkout.rules import MAX_ITEMS, MAX_QUANTITY, MAX_URL, URL_PATTERN
from licenzy.subjects.rules import MAX_LENGTH, REF_PATTERN, ref_problem
from licenzy.usage.rules import MAX_TTL_SECONDS, MAX_UNITS

MUST_BE = {
    "subject_ref": "must be a string of 1 to 200 characters without control characters",
    "subject_refs": "must be a list of 1 to 100 strings of 1 to 200 characters without control characters",
    "product_code": "must be 1 to 64 letters, digits, `_`, `.` or `-`, and not begin like a Stripe ID",
    "feature": "must be 1 to 64 letters, digits, `_`, `.` or `-`",
    "limit": "must be 1 to 64 letters, digits, `_`, `.` or `-`",
    "items": f"must be a list of 1 to {MAX_ITEMS} products",
    "item": "must be an object with product_code",
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
"""What is wrong with a field, where nothing closer is known."""


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
    return WithJsonSchema({"type": "string", "description": "M" + MUST_BE[name][1:], **schema})


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
