"""Single values of Stripe's objects, each as what the database and the projection can keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LAST_INSTANT = 250_000_000_000  # Leaves room for what is added to an instant: slack, grace, a pass.


class Unreadable(ValueError):
    """An object of Stripe's, in an event or an answer, lacks what it cannot do without."""


def mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def id_of(value: Any) -> str | None:
    """The id of a reference, which is a string, or the whole object where it was expanded."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return value if isinstance(value, str) and value else None


def address(value: Any) -> str | None:
    """An e-mail address that any database keeps; what is none is left out, not worth losing a purchase."""
    return value if isinstance(value, str) and value.isprintable() and len(value) <= 320 else None


def reference(value: Any) -> str | None:
    """What the merchant's own code calls the buyer, where any database keeps it."""
    return value if isinstance(value, str) and value.isprintable() and 1 <= len(value) <= 200 else None


def amount(obj: Mapping[str, Any], name: str) -> int:
    value = whole(obj, name)
    if value is None:
        raise Unreadable(f"{name} is missing")
    return value


def whole_or_none(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def whole(obj: Mapping[str, Any], name: str) -> int | None:
    """A whole number, or none. A fact must not hold what the projection cannot reckon with."""
    value = obj.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise Unreadable(f"{name} is not a whole number")


def instant_or_none(value: Any) -> int | None:
    seconds = whole_or_none(value)
    return seconds if seconds is not None and 0 <= seconds <= LAST_INSTANT else None


def seconds(obj: Mapping[str, Any], name: str) -> int | None:
    """An instant in Unix seconds that a date can be made of, or none."""
    value = whole(obj, name)
    if value is not None and not 0 <= value <= LAST_INSTANT:
        raise Unreadable(f"{name} is not a timestamp")
    return value


def word(obj: Mapping[str, Any], name: str) -> str:
    value = obj.get(name)
    if not isinstance(value, str):
        raise Unreadable(f"{name} is missing")
    return value
