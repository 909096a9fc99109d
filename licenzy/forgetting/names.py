"""What a customer is called, and how texts are freed of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote, quote_plus

ERASED = "[erased]"
"""What stands where a text named the customer."""

_LEAST = 6
"""A shorter ref may be any word or number: texts that only contain it are left alone."""


@dataclass(frozen=True, slots=True)
class Names:
    """What one customer was called."""

    ref: str
    customers: tuple[str, ...] = ()
    """Its ids at Stripe."""
    addresses: tuple[str, ...] = ()
    """In lower case."""

    @classmethod
    def from_json(cls, text: str) -> Names:
        stored = json.loads(text)
        return cls(stored["ref"], tuple(stored["customers"]), tuple(stored["addresses"]))

    def as_json(self) -> str:
        return json.dumps(asdict(self))

    def pattern(self) -> re.Pattern[str]:
        """Finds each name that stands as a word of its own, in a text or in JSON, and is long enough."""
        names = [self.ref, *self.customers, *self.addresses]
        spelled = {spelling for name in names if len(name) >= _LEAST for spelling in _spellings(name)}
        # Without a name it is an empty choice, which would match everywhere.
        words = "|".join(re.escape(each) for each in sorted(spelled, key=len, reverse=True)) or r"(?!)"
        return re.compile(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", re.IGNORECASE)


def scrubbed(value: Any, pattern: re.Pattern[str]) -> Any:
    """A text, or some JSON, with `ERASED` for each name."""
    if isinstance(value, str):
        return pattern.sub(ERASED, value)
    if isinstance(value, Mapping):
        return {scrubbed(name, pattern): scrubbed(each, pattern) for name, each in value.items()}
    if isinstance(value, list):
        return [scrubbed(each, pattern) for each in value]
    return value


def _spellings(name: str) -> set[str]:
    in_json = {json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    in_addresses = {quote(name, safe=""), quote(name), quote_plus(name)}
    return {name, *in_json, *in_addresses}
