"""What a configuration file describes, and what is there already, in the same terms. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from licenzy.catalog.models import DEFAULT_LABEL
from licenzy.catalog.new_prices import NewPrice
from licenzy.catalog.rules import Draft
from licenzy.deliveries.models import EventType
from licenzy.errors import InvalidRequest


class ConfigurationRefused(InvalidRequest):
    """A file that cannot be applied. The message names the file, the entry, the cause and the fix."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="")


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """A price that a product is sold at, named by its lookup key or by its ID in Stripe, never by both."""

    label: str = DEFAULT_LABEL
    lookup_key: str | None = None
    stripe_price: str | None = None
    create: NewPrice | None = None


@dataclass(frozen=True, slots=True)
class ProductEntry:
    """A product: a key that is left out has its default; prices that are left out are left alone."""

    draft: Draft
    """All but the prices, which are beside it."""
    prices: tuple[PriceEntry, ...] = ()
    for_holders: bool = False
    """Whether those who have the product get a change of its terms too."""

    @property
    def code(self) -> str:
        return self.draft.product_code

    @property
    def place(self) -> str:
        """How sentences name the entry."""
        return f"product {self.code}"

    def place_of(self, price: PriceEntry) -> str:
        """How sentences name one of its prices."""
        return f"{self.place}, price {price.label}"


@dataclass(frozen=True, slots=True)
class EndpointEntry:
    """A webhook endpoint, known by its address."""

    url: str
    types: tuple[str, ...]
    description: str = ""
    secret_env: str | None = None
    """The environment variable that has the secret; without one a new secret is made, or the old one kept."""

    @property
    def place(self) -> str:
        """How sentences name the entry."""
        return f"endpoint {self.url}"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a file describes."""

    source: str = field(compare=False)
    """The name of the file, for sentences."""
    products: tuple[ProductEntry, ...] = ()
    endpoints: tuple[EndpointEntry, ...] = ()

    def refusal(self, place: str, problem: str) -> ConfigurationRefused:
        """The error that names the file and the entry."""
        return refusal(self.source, place, problem)

    @contextmanager
    def naming(self, place: str) -> Iterator[None]:
        """Turn a verb's refusal into one that names the file and the entry."""
        try:
            yield
        except ConfigurationRefused:
            raise
        except InvalidRequest as refused:
            raise self.refusal(place, first_problem(refused.fields) or refused.message) from None


@dataclass(frozen=True, slots=True)
class InstalledPrice:
    """A price that a product is sold at now."""

    label: str
    stripe_price_id: str
    lookup_key: str | None = None
    """As it was last read from Stripe."""
    stripe_product_id: str | None = None
    interval: str | None = None
    interval_count: int | None = None


@dataclass(frozen=True, slots=True)
class InstalledProduct:
    """A product as it is stored, archived or not."""

    id: str
    draft: Draft
    selling: tuple[InstalledPrice, ...] = ()
    retired: tuple[str, ...] = ()
    """The IDs of the prices that it is sold at no longer."""
    archived: bool = False


@dataclass(frozen=True, slots=True)
class InstalledEndpoint:
    """An endpoint as it is stored, disabled or not."""

    id: str
    url: str
    types: tuple[str, ...]
    description: str = ""
    disabled: bool = False
    secret: str | None = field(default=None, repr=False)
    """None where no key of this installation opens it."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The products and endpoints of one project and mode."""

    products: tuple[InstalledProduct, ...] = ()
    endpoints: tuple[InstalledEndpoint, ...] = ()

    def owners(self) -> dict[str, str]:
        """The code of the product that a Stripe price means, retired and archived ones included."""
        return {
            price_id: product.draft.product_code
            for product in self.products
            for price_id in (*(price.stripe_price_id for price in product.selling), *product.retired)
        }


def refusal(source: str, place: str, problem: str) -> ConfigurationRefused:
    """The error that names the file and the entry."""
    return ConfigurationRefused(f"{source}: {place}: {problem}" if place else f"{source}: {problem}")


_KEYS = {
    "product_code": "code",
    "price_id": "",
    "price_label": "label",
    "trial_days": "trial",
    "is_default": "default",
    "trial_group": "trial",
}
"""What a file calls the fields of the verbs, where the names differ. A price is named by its own entry."""
_LINE = re.compile(r"(included)-(\d+)-(\w+)")
"""A field of one of several lines, which the verbs count from 0 and a file from 1."""


def first_problem(fields: dict[str, str]) -> str | None:
    """The first of a verb's problems as a sentence, with the key of the file; None without any."""
    for name, problem in fields.items():
        key = _KEYS.get(name, name)
        if line := _LINE.fullmatch(key):
            key = f"{line[1]} {int(line[2]) + 1}, {line[3]}"
        text = f"{key}: {problem}" if key else problem
        return text if text.endswith((".", "-")) else f"{text}."
    return None


def in_order(types: Iterable[str]) -> tuple[str, ...]:
    """Event types as they are stored: each once, in the order of the product."""
    wanted = set(types)
    return tuple(each.value for each in EventType if each in wanted)
