"""What has to be done so that a project and mode are as a file describes them. Pure.

An entry is the whole of what it names: a key that it leaves out has its default. What the file does not name,
prices included, is left alone, or ended where `prune` says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hmac import compare_digest
from typing import Any

from licenzy.catalog.rules import Draft, default_taken
from licenzy.configuration.entries import (
    Configuration,
    EndpointEntry,
    Installed,
    InstalledEndpoint,
    InstalledProduct,
    PriceEntry,
    ProductEntry,
    in_order,
)
from licenzy.configuration.product_fields import HOLDER_KEYS, fields_of, written_fields

PriceIds = Mapping[tuple[str, str], str | None]
"""Product code and label -> the ID in Stripe of the price that the file names; None: it must be created."""


class Act(StrEnum):
    """What is done with an entry."""

    CREATE = "create"
    CHANGE = "change"
    RESTORE = "restore"
    """An archived product is sold again, or a disabled endpoint resumed, and changed where they differ."""
    ARCHIVE = "archive"
    DISABLE = "disable"
    UNCHANGED = "unchanged"


class PriceAct(StrEnum):
    """What is done with a price of a product."""

    CREATE = "create"
    """It is created in Stripe and then added; the price that had the label is retired."""
    ADD = "add"
    """The product is sold at it; the price that had the label is retired."""
    LABEL = "label"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A key of an entry with the file's value before and after; None where it is left out."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class PriceChange:
    """One price of a product."""

    act: PriceAct
    label: str
    """The label that it has afterwards, and that a retired one had."""
    stripe_price_id: str | None
    """None for one that is to be created."""
    former_label: str | None = None
    retires: str | None = None
    """The ID in Stripe of the price that had the label and is retired for it."""
    entry: PriceEntry | None = None


@dataclass(frozen=True, slots=True)
class ProductChange:
    """What is done with a product."""

    act: Act
    code: str
    product_id: str | None = None
    fields: tuple[KeyChange, ...] = ()
    prices: tuple[PriceChange, ...] = ()
    entry: ProductEntry | None = None
    """None for a product that no entry names."""
    for_holders: bool = False
    """Whether those who have the product are given its changed terms too."""


@dataclass(frozen=True, slots=True)
class EndpointChange:
    """What is done with a webhook endpoint."""

    act: Act
    url: str
    endpoint_id: str | None = None
    fields: tuple[KeyChange, ...] = ()
    new_secret: bool = False
    """Whether its secret is replaced by the one that the file names."""
    entry: EndpointEntry | None = None


@dataclass(frozen=True, slots=True)
class Differences:
    """Everything that is done, in the order in which it is shown."""

    products: tuple[ProductChange, ...] = ()
    endpoints: tuple[EndpointChange, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        acts = [*(each.act for each in self.products), *(each.act for each in self.endpoints)]
        return any(act is not Act.UNCHANGED for act in acts)

    def to_create(self) -> Iterator[tuple[ProductEntry, PriceEntry]]:
        """The prices that must be created in Stripe first."""
        for product in self.products:
            for price in product.prices:
                if price.act is PriceAct.CREATE and product.entry is not None and price.entry is not None:
                    yield product.entry, price.entry


@dataclass(frozen=True, slots=True)
class WantedState:
    """A file with what was found out about it."""

    configuration: Configuration
    price_ids: PriceIds
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The secrets that the environment has, by the name of the variable."""
    prune: bool = False


def differences(wanted: WantedState, installed: Installed) -> Differences:
    """What leads from what is there to what is wanted. Raises ConfigurationRefused."""
    return Differences(
        tuple(_products(wanted, installed.products)), tuple(_endpoints(wanted, installed.endpoints))
    )


def _products(wanted: WantedState, installed: Sequence[InstalledProduct]) -> Iterator[ProductChange]:
    there = {each.draft.product_code: each for each in installed}
    entries = sorted(wanted.configuration.products, key=lambda each: each.code)
    for entry in entries:
        if entry.code in there:
            yield _product(wanted, entry, there[entry.code])
        else:
            yield _new_product(wanted, entry)
    named = {each.code for each in entries}
    _refuse_second_default(wanted, [there[code] for code in sorted(set(there) - named)])
    for code in sorted(set(there) - named) if wanted.prune else ():
        if not there[code].archived:
            yield ProductChange(Act.ARCHIVE, code, there[code].id)


def _refuse_second_default(wanted: WantedState, others: Sequence[InstalledProduct]) -> None:
    """Refuse a default product where one that the file does not name has that place and keeps it."""
    entry = next((each for each in wanted.configuration.products if each.draft.is_default), None)
    if entry is None or wanted.prune:
        return
    for each in others:
        if each.draft.is_default and not each.archived:
            raise wanted.configuration.refusal(
                entry.place, f"default: {default_taken(each.draft.product_code)}"
            )


def _new_product(wanted: WantedState, entry: ProductEntry) -> ProductChange:
    if not entry.prices and entry.draft.is_sold:
        raise wanted.configuration.refusal(
            entry.place, "A new product needs a price. Add one with [[product.price]]."
        )
    written = {"kind": entry.draft.kind.value, **written_fields(entry.draft)}
    given = tuple(KeyChange(key, None, value) for key, value in written.items())
    return ProductChange(Act.CREATE, entry.code, None, given, _prices(wanted, entry, {}), entry)


def _product(wanted: WantedState, entry: ProductEntry, there: InstalledProduct) -> ProductChange:
    if entry.draft.kind is not there.draft.kind:
        raise wanted.configuration.refusal(
            entry.place,
            f"The kind of a product cannot change from {there.draft.kind.value} to {entry.draft.kind.value}. "
            "Use another code.",
        )
    changed = tuple(_changed_fields(there.draft, entry.draft))
    selling = {price.stripe_price_id: price.label for price in there.selling}
    prices = _prices(wanted, entry, selling)
    act = Act.RESTORE if there.archived else Act.CHANGE if changed or prices else Act.UNCHANGED
    for_holders = entry.for_holders and any(each.key in HOLDER_KEYS for each in changed)
    return ProductChange(act, entry.code, there.id, changed, prices, entry, for_holders)


def _changed_fields(before: Draft, after: Draft) -> Iterator[KeyChange]:
    old, new = written_fields(before), written_fields(after)
    for each in fields_of(after.kind):
        if old.get(each.key) != new.get(each.key):
            yield KeyChange(each.key, old.get(each.key), new.get(each.key))


def _prices(wanted: WantedState, entry: ProductEntry, selling: Mapping[str, str]) -> tuple[PriceChange, ...]:
    """What is done with the prices of a product that is sold at `selling`: ID in Stripe -> label."""
    ids = {price.label: wanted.price_ids[entry.code, price.label] for price in entry.prices}
    _refuse_doubled(wanted, entry, ids)
    kept = {price_id for price_id in ids.values() if price_id in selling}
    leaving = {label: price_id for price_id, label in selling.items() if price_id not in kept}
    changes = []
    for price in sorted(entry.prices, key=lambda each: each.label):
        price_id = ids[price.label]
        former = selling.get(price_id) if price_id is not None else None
        if former == price.label:
            continue
        if former is not None:
            changes.append(PriceChange(PriceAct.LABEL, price.label, price_id, former_label=former))
            continue
        act = PriceAct.CREATE if price_id is None else PriceAct.ADD
        retires = leaving.pop(price.label, None)
        changes.append(PriceChange(act, price.label, price_id, retires=retires, entry=price))
    ended = sorted(label for label in leaving if wanted.prune or label in ids)
    return (*changes, *(PriceChange(PriceAct.RETIRE, label, leaving[label]) for label in ended))


def _refuse_doubled(wanted: WantedState, entry: ProductEntry, ids: Mapping[str, str | None]) -> None:
    labels: dict[str, str] = {}
    for label, price_id in ids.items():
        if price_id is None:
            continue
        if price_id in labels:
            raise wanted.configuration.refusal(
                entry.place,
                f"The prices {labels[price_id]} and {label} are the same one in Stripe. Remove one of them.",
            )
        labels[price_id] = label


def _endpoints(wanted: WantedState, installed: Sequence[InstalledEndpoint]) -> Iterator[EndpointChange]:
    left = sorted(installed, key=lambda each: (each.disabled, each.id))
    entries = sorted(
        wanted.configuration.endpoints, key=lambda each: (each.url, each.types, each.description)
    )
    pairs: dict[int, InstalledEndpoint] = {}
    # Several endpoints may have one address: those that are the same in all else belong together first.
    for exact in (True, False):
        for n, entry in enumerate(entries):
            found = next((each for each in left if n not in pairs and _match(entry, each, exact)), None)
            if found is not None:
                pairs[n] = found
                left.remove(found)
    for n, entry in enumerate(entries):
        yield _endpoint(wanted, entry, pairs.get(n))
    for each in left if wanted.prune else ():
        if not each.disabled:
            yield EndpointChange(Act.DISABLE, each.url, each.id)


def _match(entry: EndpointEntry, there: InstalledEndpoint, exact: bool) -> bool:
    if entry.url != there.url:
        return False
    return not exact or (
        not there.disabled and (entry.types, entry.description) == (in_order(there.types), there.description)
    )


def _endpoint(wanted: WantedState, entry: EndpointEntry, there: InstalledEndpoint | None) -> EndpointChange:
    new = {"types": list(entry.types), "description": entry.description or None}
    if there is None:
        given = tuple(KeyChange(key, None, value) for key, value in new.items() if value is not None)
        return EndpointChange(Act.CREATE, entry.url, None, given, entry.secret_env is not None, entry)
    old = {"types": list(in_order(there.types)), "description": there.description or None}
    changed = tuple(KeyChange(key, old[key], new[key]) for key in new if old[key] != new[key])
    new_secret = _is_new(wanted.secrets, entry, there)
    differs = bool(changed) or new_secret
    act = Act.RESTORE if there.disabled else Act.CHANGE if differs else Act.UNCHANGED
    return EndpointChange(act, entry.url, there.id, changed, new_secret, entry)


def _is_new(secrets: Mapping[str, str], entry: EndpointEntry, there: InstalledEndpoint) -> bool:
    if entry.secret_env is None:
        return False
    return there.secret is None or not compare_digest(secrets[entry.secret_env], there.secret)


def label_order(changes: Iterable[PriceChange], selling: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The order in which prices get other labels, and those whose label another one waits for in a circle.

    `selling` is what the product is sold at once the retired prices are gone: ID in Stripe -> label. The
    second list is of prices to retire first and to add again under their new labels.
    """
    waiting = {each.stripe_price_id: each.label for each in changes if each.stripe_price_id is not None}
    labels, order, circle = dict(selling), [], []
    while waiting:
        taken = set(labels.values())
        free = next((price_id for price_id, label in sorted(waiting.items()) if label not in taken), None)
        if free is not None:
            labels[free] = waiting.pop(free)
            order.append(free)
        else:
            first = min(waiting)
            del labels[first], waiting[first]
            circle.append(first)
    return order, circle
