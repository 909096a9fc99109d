"""What the default product of a side includes, as calls read it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class FittedRow(Protocol):
    """Which terms a row of default units was last written by."""

    @property
    def product_code(self) -> str: ...
    @property
    def terms_version(self) -> int | None: ...


class DefaultUnits(NamedTuple):
    """The default product of a side, as far as it includes units."""

    product_code: str
    terms_version: int
    lines: Sequence[Mapping[str, Any]]

    def is_of(self, row: FittedRow) -> bool:
        """Whether a row was written by these terms."""
        return (row.product_code, row.terms_version) == (self.product_code, self.terms_version)

    def includes(self, unit: str, product_code: str | None) -> bool:
        """Whether a call for this unit, and for a product where it names one, may draw them."""
        return product_code in {None, self.product_code} and any(line["unit"] == unit for line in self.lines)
