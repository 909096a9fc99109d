"""The bodies of `/v1`, validated strictly, with a sentence for every field that can be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic.config import JsonDict

from licenzy.api.body_fields import (
    MUST_BE,
    Address,
    Email,
    Feature,
    IfGiven,
    LimitCode,
    LimitValue,
    PriceLabel,
    ProductCode,
    SubjectRef,
    Unit,
    Units,
)
from licenzy.catalog.rules import (
    resembles_stripe_id,
)
from licenzy.checkout.rules import MAX_ITEMS, MAX_QUANTITY
from licenzy.errors import InvalidRequest, LicenzyError, ModeNotAllowed, StripePriceIdNotAllowed, UnknownField
from licenzy.usage.access import UnitsWanted, Wanted
from licenzy.usage.rules import MAX_TTL_SECONDS


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
            fields[path] = MUST_BE.get(name, "is invalid")
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
    return path, "item" if isinstance(named[-1], int) else str(named[-1])


def _cut(name: str) -> str:
    """At most 64 characters of what a caller sent are ever echoed, and nothing JSON cannot carry."""
    return name[:64].encode("utf-8", "replace").decode()
