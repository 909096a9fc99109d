"""What may be sold: codes, units, durations, and which price fits which kind. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog.included import IncludedUnits, line_problems
from licenzy.catalog.models import DEFAULT_LABEL, Kind, Product, TrialCard, TrialEnd
from licenzy.catalog.unit_names import UNITS_MAX, unit_problem
from licenzy.errors import InvalidRequest
from licenzy.projects.models import DEFAULT_UNIT

DURATION_MIN_SECONDS = 60
DURATION_MAX_SECONDS = 100 * 365 * 86_400
GRACE_DAYS_MAX = 60
TRIAL_DAYS_MAX = 730
"""Stripe's own limit."""
FEATURES_MAX = 50
INCLUDING_KINDS = (Kind.SUBSCRIPTION, Kind.FREE)
"""The kinds of product that may include units."""
LIMITS_MAX = 50
LIMIT_VALUE_MAX = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
PRICE_ID_MAX = 255
"""Stripe's own limit for ids."""
LABEL_MAX = 32
LABEL_PATTERN = rf"^[a-z0-9_-]{{1,{LABEL_MAX}}}$"
"""What the label of a price is, as a regular expression of JSON Schema."""

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
FEATURE_PATTERN = r"^[A-Za-z0-9_.-]+$"
"""What the code of a feature or limit is, as a regular expression of JSON Schema, beside the length."""
CODE_PATTERN = rf"^(?!{_STRIPE_IDS.pattern})[A-Za-z0-9_.-]+$"
"""What a product code is, as a regular expression of JSON Schema, beside the length."""
BOUGHT_ONCE = frozenset({"unit", "units", "duration_seconds"})
"""The terms of packs and passes that a purchase has for good; holders can be given all others anew."""


class ProductRefused(InvalidRequest):
    """A product that cannot be saved as described; `fields` says what to fix."""

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
    unit: str = DEFAULT_UNIT
    price_label: str = DEFAULT_LABEL
    included: tuple[IncludedUnits, ...] = ()
    limits: Mapping[str, int | None] = field(default_factory=dict)
    adds: bool = False
    is_default: bool = False
    grants_access: bool = False
    trial_card: TrialCard = TrialCard.ALWAYS
    trial_end_without_card: TrialEnd = TrialEnd.CANCEL
    trial_once: bool = True
    trial_group: str = ""

    @property
    def is_sold(self) -> bool:
        """Whether it has prices; a free product has none."""
        return self.kind is not Kind.FREE

    @property
    def trial(self) -> TrialSettings | None:
        """Its trial; none where it has none, whatever is set for one."""
        if self.trial_days is None:
            return None
        return TrialSettings(*(getattr(self, f"trial_{name}") for name in TrialSettings._fields))


class TrialSettings(NamedTuple):
    """The trial of a product: what `Draft` has under names that begin with `trial_`."""

    days: int
    once: bool = True
    group: str = ""
    card: TrialCard = TrialCard.ALWAYS
    end_without_card: TrialEnd = TrialEnd.CANCEL

    def draft_fields(self) -> dict[str, Any]:
        """The fields of a draft that say the same."""
        return {f"trial_{name}": value for name, value in self._asdict().items()}


class MappedTerms(NamedTuple):
    """What a mapped price means at one instant: its product, and the version of the terms then in force."""

    product_id: str
    kind: Kind
    product_code: str
    version: int
    terms: Mapping[str, Any]
    stripe_price_id: str
    stripe_product_id: str

    def as_sold(self, *, price_id: str) -> dict[str, Any]:
        """What a purchase at this price buys."""
        return _sold(self.kind, self.product_code, self.product_id, price_id, self.version, self.terms)


def as_sold(product: Product, *, price_id: str) -> dict[str, Any]:
    """What a purchase made now buys; kept with the attempt, so that later changes do not touch it."""
    terms = terms_of(product)
    return _sold(product.kind, product.product_code, product.id, price_id, product.terms_version, terms)


def terms_of(product: Product) -> dict[str, Any]:
    """The product's present terms: what an edit of makes a new version."""
    terms: dict[str, Any] = {
        "units": product.units,
        "duration_seconds": product.duration_seconds,
        "features": list(product.features),
        "grace_days": product.grace_days,
        **limit_terms(product),
    }
    if product.kind is Kind.USAGE_PACK:
        terms["unit"] = product.unit
    if product.kind in INCLUDING_KINDS and product.included:
        # Only where there are some, so that terms that were written before stay equal.
        terms["included"] = [dict(line) for line in product.included]
    return terms


def limit_terms(product: Product) -> dict[str, Any]:
    """The limits among the terms, of a product that has any."""
    return {"limits": dict(product.limits), "adds": product.adds} if product.limits else {}


def terms_for_holders(terms: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a version's terms that can be given to those who have the product already."""
    return {key: value for key, value in terms.items() if key not in BOUGHT_ONCE}


def _sold(
    kind: Kind, code: str, product_id: str, price_id: str, version: int, terms: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "kind": kind.value,
        "product_code": code,
        "product_id": product_id,
        "stripe_price_id": price_id,
        "version": version,
        **terms,
    }


def valid_product_code(code: str) -> bool:
    """1 to 64 letters, digits, `_`, `.` or `-`, not beginning like an id or key of Stripe's or ours."""
    return bool(_CODE.fullmatch(code)) and not resembles_stripe_id(code)


def valid_feature_code(code: str) -> bool:
    """1 to 64 letters, digits, `_`, `.` or `-`, as codes of features and of limits are."""
    return _CODE.fullmatch(code) is not None


def resembles_stripe_id(text: str) -> bool:
    """Whether the text begins like an id or a key, which is what people paste by mistake."""
    return _STRIPE_IDS.match(text) is not None


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


def proposed_label(taken: Collection[str], interval: str | None = None) -> str:
    """A label that no other price of the product has: `default`, else the interval's name; else nothing."""
    return next((label for label in (DEFAULT_LABEL, interval) if label and label not in taken), "")


def price_problem(
    kind: Kind, mode: Mode, *, livemode: bool, active: bool, recurring: bool, metered: bool
) -> str | None:
    """Why this price cannot be mapped to a product of this kind; none when it can."""
    if livemode is not mode.livemode:
        return f"This is a {mode.other.value} mode price. Pick a {mode.value} mode price."
    if not active:
        return "This price or its Stripe product is archived in Stripe. Activate it, or pick another price."
    return shape_problem(kind, recurring=recurring, metered=metered)


def price_taken(owner_code: str) -> str:
    """Why a price that another product has, also a retired one, cannot be mapped."""
    return f"{owner_code} has this price. Pick another price."


def draft_problems(draft: Draft, *, priced: bool = True) -> dict[str, str]:
    """What is wrong with the description itself, by field; empty when it is fine.

    Where the product has several prices its description has none, and is not `priced`.
    """
    problems: dict[str, str] = {}
    if code_problem := _code_problem(draft.product_code):
        problems["product_code"] = code_problem
    if priced and draft.is_sold:
        problems |= mapping_problems(draft.price_id, draft.price_label)
    problems |= _grant_problems(draft)
    problems |= line_problems(draft.included, is_sold=draft.is_sold)
    if not 0 <= draft.grace_days <= GRACE_DAYS_MAX:
        problems["grace_days"] = f"0 to {GRACE_DAYS_MAX} days."
    if draft.trial_days is not None and not 1 <= draft.trial_days <= TRIAL_DAYS_MAX:
        problems["trial_days"] = f"1 to {TRIAL_DAYS_MAX} days, or empty for no trial."
    if draft.trial_group and not re.fullmatch(LABEL_PATTERN, draft.trial_group):
        problems["trial_group"] = f"Use 1 to {LABEL_MAX} lower-case letters, digits, _ or -"
    if features_problem := _features_problem(draft.features):
        problems["features"] = features_problem
    if limits_problem := _limits_problem(draft.limits):
        problems["limits"] = limits_problem
    if draft.grants_access and not draft.is_default:
        problems["grants_access"] = "Only the default product can give access to everybody."
    return problems


def mapping_problems(price_id: str, label: str) -> dict[str, str]:
    """What is wrong with a price's id and label, by field. Stripe names old prices as their owners chose."""
    problems: dict[str, str] = {}
    if not price_id or len(price_id) > PRICE_ID_MAX or not price_id.isprintable():
        problems["price_id"] = "Pick one of the prices from Stripe."
    if not re.fullmatch(LABEL_PATTERN, label):
        problems["price_label"] = "Use 1 to 32 lower-case letters, digits, _ or -"
    return problems


def for_product(draft: Draft, product: Product) -> Draft:
    """The draft with what never changes of the product that it edits."""
    return trimmed_to_kind(replace(draft, product_code=product.product_code, kind=product.kind))


def trimmed_to_kind(draft: Draft) -> Draft:
    """The draft without what its kind has no use for, so that a hidden field cannot linger."""
    if draft.kind not in INCLUDING_KINDS:
        draft = replace(draft, included=())
    if draft.trial_days is None:
        draft = replace(draft, **_NO_TRIAL)
    if draft.kind is Kind.FREE:
        return replace(
            draft,
            **_NO_PACK,
            **_NO_TRIAL,
            price_id="",
            price_label=DEFAULT_LABEL,
            duration_seconds=None,
            grace_days=0,
            included=tuple(replace(line, rollover=None, trial_units=None) for line in draft.included),
            allow_promotion_codes=False,
            automatic_tax=False,
            adjustable_quantity=False,
            adds=False,
        )
    draft = replace(draft, is_default=False, grants_access=False)
    if draft.kind is Kind.SUBSCRIPTION:
        return replace(draft, **_NO_PACK, duration_seconds=None)
    if draft.kind is not Kind.USAGE_PACK:
        draft = replace(draft, **_NO_PACK)
    return replace(draft, grace_days=0, adjustable_quantity=False, **_NO_TRIAL)


_NO_TRIAL: dict[str, Any] = {
    "trial_days": None,
    "trial_card": TrialCard.ALWAYS,
    "trial_end_without_card": TrialEnd.CANCEL,
    "trial_once": True,
    "trial_group": "",
}
_NO_PACK: dict[str, Any] = {"unit": DEFAULT_UNIT, "units": None, "usage_low_units": None}


def default_taken(code: str) -> str:
    """Why another product cannot become the default one."""
    return f"{code} is the default product of this mode. Turn that off there first."


def unit_fixed(unit: str) -> str:
    """Why a product keeps its unit."""
    return f"Customers have this product, so its unit stays {unit}. Create another product for another unit."


def shared_prices(products: Iterable[Product]) -> dict[str, list[str]]:
    """Price ids that several of these products are mapped to, with the codes: kept, but rarely meant."""
    codes: dict[str, list[str]] = {}
    for product in products:
        for price in product.prices:
            codes.setdefault(price.stripe_price_id, []).append(product.product_code)
    return {price_id: sorted(sharing) for price_id, sharing in codes.items() if len(sharing) > 1}


def split_duration(seconds: int) -> tuple[int, str]:
    """The amount and the largest unit that a duration is a whole number of: 172800 is 2 days."""
    for unit, length in reversed(DURATION_UNITS.items()):
        if seconds % length == 0:
            return seconds // length, unit
    return max(1, round(seconds / 60)), "minutes"


def duration_text(seconds: int) -> str:
    """`2 days`, `1 month`: a duration in the largest unit it is a whole number of."""
    amount, unit = split_duration(seconds)
    return f"{amount} {unit.removesuffix('s') if amount == 1 else unit}"


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
    if unit_wrong := unit_problem(draft.unit):
        problems["unit"] = unit_wrong
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
        if not valid_feature_code(feature):
            return f"“{feature[:40]}” is not a valid feature code. Use 1 to 64 letters, digits, or _ . -"
    return None


def _limits_problem(limits: Mapping[str, int | None]) -> str | None:
    if len(limits) > LIMITS_MAX:
        return f"At most {LIMITS_MAX} limits."
    for code, value in limits.items():
        if not valid_feature_code(code):
            return f"“{code[:40]}” is not a valid limit code. Use 1 to 64 letters, digits, or _ . -"
        if value is not None and not 0 <= value <= LIMIT_VALUE_MAX:
            return f"{code} must be a whole number from 0 to {LIMIT_VALUE_MAX}, or unlimited."
    return None
