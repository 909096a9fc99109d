"""What each parameter may be. A check takes the decoded value and its name as Stripe spells it, and answers
the value typed, or raises `InvalidParameter` in Stripe's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from licenzy.stripe_sandbox.errors import InvalidParameter
from licenzy.stripe_sandbox.version import Json

Check = Callable[[Any, str], Any]
_LARGEST = 2**53


def text(maximum: int = 5000, *, unset: bool = False) -> Check:
    """A string. With `unset`, the empty string takes the value away (None), as Stripe has it."""

    def check(value: Any, name: str) -> Any:
        value = _scalar(value, name, "string")
        if value == "":
            if unset:
                return None
            raise InvalidParameter(
                f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a "
                f"parameter; "
                f"however '{name}' cannot be unset. You should remove '{name}' from your request or supply "
                f"a non-empty value.",
                code="parameter_invalid_empty",
                param=name,
            )
        if len(value) > maximum:
            shown = f"{value[:10]}...{value[-6:]}"
            raise InvalidParameter(
                f"Invalid string: {shown}; must be at most {maximum} characters", param=name
            )
        return value

    return check


def integer(minimum: int = 0, maximum: int = _LARGEST) -> Check:
    def check(value: Any, name: str) -> int:
        value = _scalar(value, name, "integer")
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise InvalidParameter(
                f"Invalid integer: {value[:40]}", code="parameter_invalid_integer", param=name
            )
        number = int(value)
        if number < minimum:
            message = f"This value must be greater than or equal to {minimum}."
            raise InvalidParameter(message, code="parameter_invalid_integer", param=name)
        if number > maximum:
            message = f"This value must be less than or equal to {maximum} (it currently is '{number}')."
            raise InvalidParameter(message, code="parameter_invalid_integer", param=name)
        return number

    return check


def decimal() -> Check:
    def check(value: Any, name: str) -> Decimal:
        try:
            number = Decimal(_scalar(value, name, "decimal"))
        except InvalidOperation:
            raise InvalidParameter(f"Invalid decimal: {value[:40]}", param=name) from None
        if not number.is_finite() or number < 0 or number > 10**12:
            raise InvalidParameter(f"Invalid decimal: {value[:40]}", param=name)
        return number

    return check


def boolean() -> Check:
    def check(value: Any, name: str) -> bool:
        value = _scalar(value, name, "boolean")
        if value not in ("true", "false"):
            raise InvalidParameter(f"Invalid boolean: {value[:40]}", param=name)
        return bool(value == "true")

    return check


def one_of(*known: str, unset: bool = False) -> Check:
    def check(value: Any, name: str) -> str | None:
        value = _scalar(value, name, "string")
        if value == "" and unset:
            return None
        if value not in known:
            listed = known[0] if len(known) == 1 else f"{', '.join(known[:-1])} or {known[-1]}"
            raise InvalidParameter(f"Invalid {name}: must be one of {listed}", param=name)
        return str(value)

    return check


def address() -> Check:
    """An absolute URL with a scheme and a host; `{CHECKOUT_SESSION_ID}` may stand in it."""

    def check(value: Any, name: str) -> str:
        value = text(5000)(value, name)
        try:
            parts = urlsplit(value)
        except ValueError:
            raise InvalidParameter("Not a valid URL", code="url_invalid", param=name) from None
        if not parts.scheme or not parts.netloc:
            message = "Invalid URL: An explicit scheme (such as https) must be provided."
            raise InvalidParameter(message, code="url_invalid", param=name)
        if parts.scheme.lower() in {"javascript", "data", "vbscript"} or re.search(r"[\x00-\x20]", value):
            raise InvalidParameter("Not a valid URL", code="url_invalid", param=name)
        return str(value)

    return check


def email() -> Check:
    def check(value: Any, name: str) -> str | None:
        value = text(800, unset=True)(value, name)
        if value is not None and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", value):
            raise InvalidParameter(f"Invalid email address: {value}", code="email_invalid", param=name)
        return None if value is None else str(value)

    return check


def currency() -> Check:
    def check(value: Any, name: str) -> str:
        value = text(5)(value, name).lower()
        if not re.fullmatch(r"[a-z]{3}", value):
            raise InvalidParameter(
                f"Invalid currency: {value}. Stripe takes three-letter ISO codes.", param=name
            )
        return str(value)

    return check


def metadata() -> Check:
    """At most 50 keys of 40 characters, values of 500. None for the whole takes all away, "" for one takes
    that away."""

    def check(value: Any, name: str) -> Json | None:
        if value == "":
            return None
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise InvalidParameter(f"Invalid hash: {name}", param=name)
        if len(value) > 50:
            raise InvalidParameter(
                f"You can have up to 50 metadata keys, but you passed in {len(value)} keys.", param=name
            )
        for key, content in value.items():
            if len(key) > 40:
                message = "Metadata keys can have up to 40 characters, but you passed in a key that is"
                raise InvalidParameter(f"{message} {len(key)} characters. Invalid key: {key}", param=name)
            if len(content) > 500:
                message = "Metadata values can have up to 500 characters, but you passed in a value that is"
                raise InvalidParameter(
                    f"{message} {len(content)} characters. Invalid value: {content[:40]}", param=name
                )
        return value

    return check


def array(item: Check, *, maximum: int = 100) -> Check:
    def check(value: Any, name: str) -> list[Any]:
        if not isinstance(value, dict) or not all(k.isdigit() for k in value):
            raise InvalidParameter("Invalid array", param=name)
        if len(value) > maximum:
            raise InvalidParameter(f"Array {name} exceeded maximum {maximum} allowed elements.", param=name)
        return [item(value[k], f"{name}[{k}]") for k in sorted(value, key=int)]

    return check


def fields(known: Mapping[str, Check], *, required: tuple[str, ...] = ()) -> Check:
    """A map of known names. Anything else is refused by name, and so is the absence of a required one."""

    def check(value: Any, name: str) -> Json:
        if not isinstance(value, dict):
            raise InvalidParameter("Invalid object", param=name)
        unknown = [_inside(name, k) for k in value if k not in known]
        if unknown:
            message = f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}"
            raise InvalidParameter(message, code="parameter_unknown", param=unknown[0])
        for required_name in required:
            if required_name not in value:
                full = _inside(name, required_name)
                raise InvalidParameter(
                    f"Missing required param: {full}.", code="parameter_missing", param=full
                )
        return {k: known[k](v, _inside(name, k)) for k, v in value.items()}

    return check


def timestamp_filter() -> Check:
    """A filter on a time: a number, or a map of gt, gte, lt, lte."""

    bounds = fields(dict.fromkeys(("gt", "gte", "lt", "lte"), integer()))

    def check(value: Any, name: str) -> Any:
        return bounds(value, name) if isinstance(value, dict) else integer()(value, name)

    return check


def either(first: Check, second: Check) -> Check:
    """The first check that takes the value; where neither does, the second's refusal."""

    def check(value: Any, name: str) -> Any:
        try:
            return first(value, name)
        except InvalidParameter:
            return second(value, name)

    return check


EXPAND: dict[str, Check] = {"expand": array(text(200), maximum=20)}
PAGE: dict[str, Check] = {
    "limit": integer(1, 100),
    "starting_after": text(255),
    "ending_before": text(255),
    "created": timestamp_filter(),
    **EXPAND,
}
PAGE_IN_MEMORY = {name: check for name, check in PAGE.items() if name != "created"}


def merged_metadata(current: Json, changes: Json | None) -> Json:
    """Metadata after an update: all gone for None, single keys gone for empty values."""
    if changes is None:
        return {}
    return {k: v for k, v in {**current, **changes}.items() if v != ""}


def _inside(name: str, key: str) -> str:
    return f"{name}[{key}]" if name else key


def _scalar(value: Any, name: str, kind: str) -> str:
    if not isinstance(value, str):
        raise InvalidParameter(f"Invalid {kind}: {name} must not be a map.", param=name)
    return value
