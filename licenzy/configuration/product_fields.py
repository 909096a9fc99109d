"""The keys of a product in the file, each with how it is read and written. Pure.

A new key of products is a row of `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any

from licenzy.catalog.models import Kind, TrialCard, TrialEnd
from licenzy.catalog.rules import DURATION_UNITS, INCLUDING_KINDS, Draft, TrialSettings
from licenzy.configuration.included import UNLIMITED, read_included, write_included
from licenzy.configuration.values import Invalid, InvalidKey, choices, flag, only_keys, text, texts, whole

NEW_PURCHASES = "new purchases"
"""Whom a change of terms is for: what was sold before stays as it was sold."""
HOLDERS_NOW = "now"
"""That those who have the product get a change of its terms too."""
HOLDER_KEYS = frozenset({"features", "limits", "adds", "grace_days", "included"})
"""The keys of the terms that those who have the product can be given; the others are bought once."""

_SECONDS = {"seconds": 1, **DURATION_UNITS}

_PACK, _PASS, _SUBSCRIPTION, _FREE = Kind.USAGE_PACK, Kind.TIME_PASS, Kind.SUBSCRIPTION, Kind.FREE
_SOLD = (_SUBSCRIPTION, _PASS, _PACK)


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


def _trial(value: object) -> TrialSettings:
    table = only_keys(value, TrialSettings._fields, example="{ days = 14 }")
    if "days" not in table:
        raise Invalid("needs days, such as { days = 14 }.")
    return TrialSettings(**{key: _value_of_trial(key, each) for key, each in table.items()})


def _value_of_trial(key: str, value: object) -> Any:
    try:
        return _OF_TRIAL[key](value)
    except Invalid as problem:
        raise InvalidKey(f"{key} {problem}") from None


def _one_of(words: type[StrEnum]) -> Callable[[object], StrEnum]:
    def read(value: object) -> StrEnum:
        word = text(value)
        if word not in set(words):
            raise Invalid(f"must be {choices(words)}.")
        return words(word)

    return read


_OF_TRIAL: Mapping[str, Callable[[object], Any]] = {
    "days": whole,
    "once": flag,
    "group": text,
    "card": _one_of(TrialCard),
    "end_without_card": _one_of(TrialEnd),
}


def _trial_table(trial: TrialSettings) -> dict[str, Any]:
    """What differs from the defaults, after the days."""
    usual = TrialSettings(trial.days)._asdict()
    differing = {key: value for key, value in trial._asdict().items() if value != usual[key]}
    return {"days": trial.days, **differing}


def _features(value: object) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts(value)))


def _limits(value: object) -> dict[str, int | None]:
    if not isinstance(value, dict):
        raise Invalid('must be a table, such as { projects = 10, seats = "unlimited" }.')
    return {code: _limit(code, each) for code, each in value.items()}


def _limit(code: str, value: object) -> int | None:
    if value == UNLIMITED:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        shown = code if code.isprintable() and 0 < len(code) <= 40 else "each limit"
        raise Invalid(f'must have a whole number or "{UNLIMITED}" for {shown}.')
    return whole(value)


def _limits_table(limits: Mapping[str, int | None]) -> dict[str, int | str]:
    return {code: UNLIMITED if value is None else value for code, value in sorted(limits.items())}


FIELDS = (
    ProductField("unit", "unit", (_PACK,), text),
    ProductField("units", "units", (_PACK,), whole),
    ProductField("usage_low_units", "usage_low_units", (_PACK,), whole),
    ProductField("duration", "duration_seconds", (_PASS, _PACK), _duration, _duration_table),
    ProductField("features", "features", tuple(Kind), _features, list),
    ProductField("limits", "limits", tuple(Kind), _limits, _limits_table),
    ProductField("adds", "adds", _SOLD, flag),
    ProductField("default", "is_default", (_FREE,), flag),
    ProductField("grants_access", "grants_access", (_FREE,), flag),
    ProductField("included", "included", INCLUDING_KINDS, read_included, write_included),
    ProductField("grace_days", "grace_days", (_SUBSCRIPTION,), whole),
    ProductField("trial", "trial", (_SUBSCRIPTION,), _trial, _trial_table),
    ProductField("allow_promotion_codes", "allow_promotion_codes", _SOLD, flag),
    ProductField("automatic_tax", "automatic_tax", _SOLD, flag),
    ProductField("adjustable_quantity", "adjustable_quantity", (_SUBSCRIPTION,), flag),
)
"""In the order in which an export has them."""

_DEFAULTS: Mapping[str, Any] = {
    each.name: each.default if each.default_factory is MISSING else each.default_factory()
    for each in fields(Draft)
} | {"trial": None}


def fields_of(kind: Kind) -> tuple[ProductField, ...]:
    """The keys that a product of this kind may have."""
    return tuple(each for each in FIELDS if kind in each.kinds)


def draft_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a draft that a product's values mean, by attribute."""
    trial: TrialSettings | None = values.get("trial")
    plain = {name: value for name, value in values.items() if name != "trial"}
    return plain | (trial.draft_fields() if trial is not None else {})


def written_fields(draft: Draft) -> dict[str, Any]:
    """What a file has for a product, by key; what has its default is left out."""
    return {
        each.key: each.write(value)
        for each in fields_of(draft.kind)
        if (value := getattr(draft, each.attribute)) != each.default
    }
