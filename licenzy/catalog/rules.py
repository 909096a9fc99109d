"""What may be sold: codes, units, durations, and which price fits which kind. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from licenzy.alignment.facts import ProductFacts
from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog.models import Kind, Product
from licenzy.errors import InvalidRequest

UNITS_MAX = 1_000_000_000
DURATION_MIN_SECONDS = 60
DURATION_MAX_SECONDS = 100 * 365 * 86_400
GRACE_DAYS_MAX = 60
TRIAL_DAYS_MAX = 730
"""Stripe's own limit."""
FEATURES_MAX = 50

DURATION_UNITS: dict[str, int] = {
    "minutes": 60,
    "hours": 3_600,
    "days": 86_400,
    "weeks": 7 * 86_400,
    "months": 30 * 86_400,
    "years": 365 * 86_400,
}
"""Seconds of each unit a duration may be given in; a month is 30 days and a year 365, always."""

CODE_MAX = 64
_CODE = re.compile(rf"[A-Za-z0-9_.-]{{1,{CODE_MAX}}}", re.ASCII)
# Short prefixes such as `in_` also begin honest codes: those must be followed by what Stripe makes.
_STRIPE_IDS = re.compile(
    r"(?:price|prod|plan)_|(?:sk|rk|pk)_(?:test|live|org)_|whsec_|lz_(?:test|live)_|cs_(?:test|live)_"
    r"|(?:sub|cus|pi|ch|in|si|evt|acct|pm|seti|re|dp|we|txn|promo)_[A-Za-z0-9]{14,}",
    re.ASCII,
)
CODE_PATTERN = rf"^(?!{_STRIPE_IDS.pattern})[A-Za-z0-9_.-]+$"
"""What a product code is, as a regular expression of JSON Schema, beside the length."""


class ProductRefused(InvalidRequest):
    """A product that cannot be saved as described; `fields` tells what to mend."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(next(iter(fields.values())), fields=fields)


@dataclass(frozen=True, slots=True)
class Draft:
    """A product as a person describes it, before its price has been looked at."""

    product_code: str
    kind: Kind
    price_id: str
    units: int | None = None
    duration_seconds: int | None = None
    features: tuple[str, ...] = ()
    grace_days: int = 0
    trial_days: int | None = None
    allow_promotion_codes: bool = False
    automatic_tax: bool = False
    adjustable_quantity: bool = False
    usage_low_units: int | None = None


class ProductTerms(NamedTuple):
    """The columns of a product that say what a purchase of it buys."""

    id: str
    kind: Kind
    product_code: str
    stripe_price_id: str
    units: int | None
    duration_seconds: int | None
    features: list[str]
    grace_days: int


def as_sold(product: Product | ProductTerms) -> dict[str, Any]:
    """What a purchase made now buys; kept with the attempt, so that later changes do not touch it."""
    return {
        "kind": product.kind.value,
        "product_code": product.product_code,
        "product_id": product.id,
        "stripe_price_id": product.stripe_price_id,
        "units": product.units,
        "duration_seconds": product.duration_seconds,
        "features": list(product.features),
        "grace_days": product.grace_days,
    }


def valid_product_code(code: str) -> bool:
    """1 to 64 letters, digits, `_`, `.` or `-`, not beginning like an id or key of Stripe's or ours."""
    return bool(_CODE.fullmatch(code)) and not resembles_stripe_id(code)


def resembles_stripe_id(text: str) -> bool:
    """Whether the text begins like an id or a key, which is what people paste by mistake."""
    return _STRIPE_IDS.match(text) is not None


def facts_of(product: Product) -> ProductFacts:
    """A product as alignment's rules see it."""
    return ProductFacts(
        id=product.id,
        product_code=product.product_code,
        kind=product.kind,
        stripe_price_id=product.stripe_price_id,
        price_livemode=product.price_livemode,
        sellable=product.price_active and product.product_active,
        created_at=product.created_at,
        checked_at=product.checked_at,
        units=product.units,
        duration_seconds=product.duration_seconds,
        unit_amount=product.unit_amount,
        currency=product.currency,
        interval=product.interval,
        interval_count=product.interval_count,
    )


def proposed_kind(*, recurring: bool) -> Kind:
    """The kind that fits a price's shape; a price paid once could as well be a usage pack."""
    return Kind.SUBSCRIPTION if recurring else Kind.TIME_PASS


def proposed_code(name: str, taken: Collection[str]) -> str:
    """A product code made of a name at Stripe: `Pro, monthly` gives `PRO_MONTHLY`.

    It is valid and none of `taken`, which are the codes of the side; a number at its end tells it from them.
    """
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().upper()
    code = re.sub(r"[^A-Z0-9]+", "_", letters).strip("_")[:CODE_MAX].rstrip("_") or "PRODUCT"
    proposed, number = code, 1
    while proposed in taken:
        number += 1
        end = f"_{number}"
        proposed = code[: CODE_MAX - len(end)].rstrip("_") + end
    return proposed


def price_problem(
    draft: Draft, mode: Mode, *, livemode: bool, active: bool, recurring: bool, metered: bool
) -> str | None:
    """Why this price cannot be mapped to the product; none when it can."""
    if livemode is not mode.livemode:
        return f"This is a {mode.other.value} mode price. Pick a {mode.value} mode price."
    if not active:
        return "This price or its Stripe product is archived in Stripe. Activate it, or pick another price."
    return shape_problem(draft.kind, recurring=recurring, metered=metered)


def draft_problems(draft: Draft) -> dict[str, str]:
    """What is wrong with the description itself, by field; empty when it is fine."""
    problems: dict[str, str] = {}
    if code_problem := _code_problem(draft.product_code):
        problems["product_code"] = code_problem
    if not draft.price_id.startswith(("price_", "plan_")):
        problems["price_id"] = "Pick one of the prices from Stripe."
    problems |= _grant_problems(draft)
    if not 0 <= draft.grace_days <= GRACE_DAYS_MAX:
        problems["grace_days"] = f"0 to {GRACE_DAYS_MAX} days."
    if draft.trial_days is not None and not 1 <= draft.trial_days <= TRIAL_DAYS_MAX:
        problems["trial_days"] = f"1 to {TRIAL_DAYS_MAX} days, or empty for no trial."
    if features_problem := _features_problem(draft.features):
        problems["features"] = features_problem
    return problems


def renamed(draft: Draft, *, product_code: str, kind: Kind) -> Draft:
    """The draft under another code and kind."""
    return replace(draft, product_code=product_code, kind=kind)


def trimmed_to_kind(draft: Draft) -> Draft:
    """The draft without what its kind has no use for, so that a hidden field cannot linger."""
    if draft.kind is Kind.SUBSCRIPTION:
        return replace(draft, units=None, usage_low_units=None, duration_seconds=None)
    if draft.kind is not Kind.USAGE_PACK:
        draft = replace(draft, units=None, usage_low_units=None)
    return replace(draft, grace_days=0, trial_days=None, adjustable_quantity=False)


def shared_prices(products: Iterable[Product]) -> dict[str, list[str]]:
    """Price ids that several of these products are mapped to, with the codes: allowed, but rarely meant."""
    listed = list(products)
    counted = Counter(product.stripe_price_id for product in listed)
    return {
        price_id: sorted(p.product_code for p in listed if p.stripe_price_id == price_id)
        for price_id, times in counted.items()
        if times > 1
    }


def split_duration(seconds: int) -> tuple[int, str]:
    """The amount and the largest unit that a duration is a whole number of: 172800 is 2 days."""
    for unit, length in reversed(DURATION_UNITS.items()):
        if seconds % length == 0:
            return seconds // length, unit
    return max(1, round(seconds / 60)), "minutes"


def _code_problem(code: str) -> str | None:
    if not code:
        return "Enter a product code."
    if resembles_stripe_id(code):
        return "This looks like a Stripe ID. Enter a code of your own, such as PRO_MONTHLY."
    if not valid_product_code(code):
        return "Use at most 64 letters, digits, or _ . - without spaces."
    return None


def _grant_problems(draft: Draft) -> dict[str, str]:
    problems: dict[str, str] = {}
    if draft.kind is Kind.USAGE_PACK and (draft.units is None or not 1 <= draft.units <= UNITS_MAX):
        problems["units"] = "A whole number from 1 to 1 000 000 000."
    if draft.usage_low_units is not None and not 0 <= draft.usage_low_units <= UNITS_MAX:
        problems["usage_low_units"] = "A whole number from 0 to 1 000 000 000, or empty for no event."
    if draft.kind is Kind.TIME_PASS and draft.duration_seconds is None:
        problems["duration"] = "Enter how long one pass lasts."
    if draft.duration_seconds is not None and not (
        DURATION_MIN_SECONDS <= draft.duration_seconds <= DURATION_MAX_SECONDS
    ):
        problems["duration"] = "From one minute to 100 years."
    return problems


def _features_problem(features: tuple[str, ...]) -> str | None:
    if len(features) > FEATURES_MAX:
        return f"At most {FEATURES_MAX} feature codes."
    for feature in features:
        if not _CODE.fullmatch(feature):
            return f"“{feature[:40]}” is not a valid feature code. Use 1 to 64 letters, digits, or _ . -"
    return None
