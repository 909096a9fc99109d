"""Reads and writes the included units of a product, `[[product.included]]`. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from licenzy.catalog.included import Every, IncludedUnits, Rollover
from licenzy.configuration.values import Invalid, InvalidKey, choices, only_keys, tables, text, whole

UNLIMITED = "unlimited"
"""What the file has for a number without bound."""

_KEYS = ("unit", "units", "every", "rollover", "trial_units", "low_units")

T = TypeVar("T")


def read_included(value: object) -> tuple[IncludedUnits, ...]:
    """The lines that the file has. Raises Invalid, which names the line by its number."""
    lines = []
    for number, table in enumerate(tables(value, header="product.included"), start=1):
        try:
            lines.append(_line(only_keys(table, _KEYS, example="")))
        except Invalid as problem:
            raise Invalid(f"{number}: {problem}") from None
    return tuple(lines)


def write_included(lines: Sequence[IncludedUnits]) -> list[dict[str, Any]]:
    """What the file has for these lines; what has its default is left out, but for `every`."""
    return list(map(_table, lines))


def _line(table: dict[str, Any]) -> IncludedUnits:
    return IncludedUnits(
        unit=_required(table, "unit", text, example='"images"'),
        units=_required(table, "units", whole, example="1000"),
        every=_optional(table, "every", _every) or Every.PERIOD,
        rollover=_optional(table, "rollover", _rollover),
        trial_units=_optional(table, "trial_units", whole),
        low_units=_optional(table, "low_units", whole),
    )


def _table(line: IncludedUnits) -> dict[str, Any]:
    table: dict[str, Any] = {"unit": line.unit, "units": line.units, "every": line.every.value}
    if line.rollover is not None:
        at_most = line.rollover.at_most
        table["rollover"] = {"at_most": UNLIMITED if at_most is None else at_most}
    optional = {"trial_units": line.trial_units, "low_units": line.low_units}
    return table | {key: value for key, value in optional.items() if value is not None}


def _every(value: object) -> Every:
    every = text(value)
    if every not in set(Every):
        raise Invalid(f"must be {choices(Every)}.")
    return Every(every)


def _rollover(value: object) -> Rollover:
    table = only_keys(value, ("at_most",), example="{ at_most = 500 }")
    return Rollover(_required(table, "at_most", _at_most, example="500"))


def _at_most(value: object) -> int | None:
    if value == UNLIMITED:
        return None
    if isinstance(value, str):
        raise Invalid(f'must be a whole number or "{UNLIMITED}".')
    return whole(value)


def _required(table: dict[str, Any], key: str, read: Callable[[object], T], *, example: str) -> T:
    if key not in table:
        raise InvalidKey(f"{key} is missing. Add it, such as {key} = {example}.")
    return _value(table, key, read)


def _optional(table: dict[str, Any], key: str, read: Callable[[object], T]) -> T | None:
    return _value(table, key, read) if key in table else None


def _value(table: dict[str, Any], key: str, read: Callable[[object], T]) -> T:
    try:
        return read(table[key])
    except InvalidKey as problem:
        raise InvalidKey(f"{key}: {problem}") from None
    except Invalid as problem:
        raise InvalidKey(f"{key} {problem}") from None
