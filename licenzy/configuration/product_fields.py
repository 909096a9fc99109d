"""The keys of a product in the file, each with how it is read and written. Pure.

A new key of products is a row of `FIELDS`, and no longer one of `UNSUPPORTED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.catalog.rules import DURATION_UNITS, Draft
from licenzy.configuration.values import Invalid, choices, flag, only_keys, text, texts, whole

NEW_PURCHASES = "new purchases"
"""Whom a change of terms is for: what was sold before stays as it was sold."""
HOLDERS_NOW = "now"
"""That those who have the product get a change of its terms too."""
HOLDER_KEYS = frozenset({"features", "limits", "adds", "grace_days", "included"})
"""The keys of the terms that those who have the product can be given; the others are bought once."""

UNSUPPORTED = ("limits", "adds", "included")
UNSUPPORTED_KINDS = ("free",)
_UNSUPPORTED_OF_TRIAL = ("once", "group", "card", "end_without_card")
_SECONDS = {"seconds": 1, **DURATION_UNITS}

_PACK, _PASS, _SUBSCRIPTION = Kind.USAGE_PACK, Kind.TIME_PASS, Kind.SUBSCRIPTION


@dataclass(frozen=True, slots=True)
class ProductField:
    """One key of a product."""

    key: str
    attribute: str
    """The attribute of `Draft` that has its value."""
    kinds: tuple[Kind, ...]
    """The kinds of product that have it."""
    read: Callable[[object], Any]
    """The value that the file's means. Raises Invalid."""
    write: Callable[[Any], Any] = lambda value: value
    """What the file has for a value."""

    @property
    def default(self) -> Any:
        """The value where the file has no such key."""
        return _DEFAULTS[self.attribute]


def _duration(value: object) -> int:
    table = only_keys(value, tuple(_SECONDS), example="{ days = 30 }")
    if len(table) != 1:
        raise Invalid(f"must have one of {choices(_SECONDS)}, such as {{ days = 30 }}.")
    unit, amount = next(iter(table.items()))
    return whole(amount) * _SECONDS[unit]


def _duration_table(seconds: int) -> dict[str, int]:
    unit = max((unit for unit, length in _SECONDS.items() if seconds % length == 0), key=_SECONDS.__getitem__)
    return {unit: seconds // _SECONDS[unit]}


def _trial(value: object) -> int:
    table = only_keys(value, ("days",), unsupported=_UNSUPPORTED_OF_TRIAL, example="{ days = 14 }")
    if "days" not in table:
        raise Invalid("needs days, such as { days = 14 }.")
    return whole(table["days"])


def _features(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts(value)))


FIELDS = (
    ProductField("unit", "unit", (_PACK,), text),
    ProductField("units", "units", (_PACK,), whole),
    ProductField("usage_low_units", "usage_low_units", (_PACK,), whole),
    ProductField("duration", "duration_seconds", (_PASS, _PACK), _duration, _duration_table),
    ProductField("features", "features", tuple(Kind), _features, list),
    ProductField("grace_days", "grace_days", (_SUBSCRIPTION,), whole),
    ProductField("trial", "trial_days", (_SUBSCRIPTION,), _trial, lambda days: {"days": days}),
    ProductField("allow_promotion_codes", "allow_promotion_codes", tuple(Kind), flag),
    ProductField("automatic_tax", "automatic_tax", tuple(Kind), flag),
    ProductField("adjustable_quantity", "adjustable_quantity", (_SUBSCRIPTION,), flag),
)
"""In the order in which an export has them."""

_DEFAULTS: Mapping[str, Any] = {each.name: each.default for each in fields(Draft)}


def fields_of(kind: Kind) -> tuple[ProductField, ...]:
    """The keys that a product of this kind may have."""
    return tuple(each for each in FIELDS if kind in each.kinds)


def written_fields(draft: Draft) -> dict[str, Any]:
    """What a file has for a product, by key; what has its default is left out."""
    return {
        each.key: each.write(value)
        for each in fields_of(draft.kind)
        if (value := getattr(draft, each.attribute)) != each.default
    }
