"""Reads configuration files. Pure: bytes in, a description or one sentence out."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog import rules as catalog
from licenzy.catalog.models import DEFAULT_LABEL, Kind
from licenzy.catalog.new_prices import INTERVALS, NewPrice
from licenzy.catalog.rules import Draft
from licenzy.configuration.entries import (
    Configuration,
    EndpointEntry,
    PriceEntry,
    ProductEntry,
    first_problem,
    in_order,
    refusal,
)
from licenzy.configuration.product_fields import (
    FIELDS,
    HOLDERS_NOW,
    NEW_PURCHASES,
    draft_fields,
    fields_of,
)
from licenzy.configuration.values import (
    Invalid,
    InvalidKey,
    choices,
    key_problem,
    only_keys,
    tables,
    text,
    texts,
    whole,
)
from licenzy.deliveries import rules as deliveries
from licenzy.kit.names import clean_name

MAX_BYTES = 1024 * 1024
LOOKUP_KEY_MAX = 200
"""Stripe's own limit."""

_BOM = "\ufeff"
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_PLACE_IN_TEXT = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")

T = TypeVar("T")


def parse(content: bytes, *, source: str, mode: Mode, private_allowed: bool) -> Configuration:
    """What a file describes, checked as far as that goes without Stripe and the database.

    `source` is the name of the file and `private_allowed` whether endpoints may have private addresses.
    Raises ConfigurationRefused, which names the file, the entry or the line, the cause and the fix.
    """
    document = _Entry(_document(content, source), source, "")
    document.check_keys(("product", "endpoint"))
    products = [
        _product(_Entry(table, source, _name(table, "product", "code", n)))
        for n, table in enumerate(document.tables("product", header="product"), start=1)
    ]
    endpoints = [
        _endpoint(_Entry(table, source, _name(table, "endpoint", "url", n)), mode, private_allowed)
        for n, table in enumerate(document.tables("endpoint", header="endpoint"), start=1)
    ]
    for code in _repeated(each.code for each in products):
        raise refusal(source, f"product {code}", "The file has this code twice. Keep one of the entries.")
    _check_lookup_keys(source, products)
    defaults = [each for each in products if each.draft.is_default]
    if len(defaults) > 1:
        problem = f"default: {defaults[0].code} has it too, and one product can be the default. Remove it."
        raise refusal(source, defaults[1].place, problem)
    return Configuration(source, tuple(products), tuple(endpoints))


def _document(content: bytes, source: str) -> dict[str, Any]:
    if len(content) > MAX_BYTES:
        raise refusal(source, "", "The file is larger than 1 MB. Split it into several files.")
    try:
        written = content.decode("utf-8").removeprefix(_BOM)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = f"line {line}: The file is not encoded in UTF-8. Save it as UTF-8."
        raise refusal(source, "", problem) from None
    try:
        return tomllib.loads(written)
    except RecursionError:
        raise refusal(source, "", "The file is nested too deeply. Use fewer brackets.") from None
    except ValueError as error:
        # The number of a line is in the text of the error only.
        found = _PLACE_IN_TEXT.search(str(error))
        last = written.rstrip("\n").count("\n") + 1
        line = int(found[1]) if found is not None and found[1] else last
        cause = _PLACE_IN_TEXT.sub("", str(error)) if found is not None else "a value cannot be read"
        problem = f"line {line}: This is not valid TOML: {cause[:1].lower()}{cause[1:]}. Correct the line."
        raise refusal(source, "", problem) from None


class _Entry:
    """A table of the file with its name; every method raises ConfigurationRefused."""

    def __init__(self, table: Mapping[str, Any], source: str, place: str) -> None:
        self.table, self.source, self.place = table, source, place

    def refuse(self, problem: str) -> NoReturn:
        raise refusal(self.source, self.place, problem)

    def check_keys(self, known: tuple[str, ...], unsupported: tuple[str, ...] = ()) -> None:
        for key in self.table:
            problem = key_problem(key, known, unsupported)
            if problem is not None:
                self.refuse(problem)

    def value(self, key: str, read: Callable[[object], T]) -> T:
        """The value of a key that is there, as `read` takes it."""
        try:
            return read(self.table[key])
        except InvalidKey as problem:
            self.refuse(f"{key}: {problem}")
        except Invalid as problem:
            self.refuse(f"{key} {problem}")

    def optional(self, key: str, read: Callable[[object], T], default: T) -> T:
        return self.value(key, read) if key in self.table else default

    def required(self, key: str, read: Callable[[object], T], *, example: str) -> T:
        if key not in self.table:
            self.refuse(f"{key} is missing. Add it, such as {key} = {example}.")
        return self.value(key, read)

    def tables(self, key: str, *, header: str) -> list[dict[str, Any]]:
        return self.optional(key, lambda value: tables(value, header=header), [])


def _name(table: Mapping[str, Any], kind: str, key: str, number: int) -> str:
    """How sentences name an entry: by what it is known by, else by its number."""
    known = table.get(key)
    shown = isinstance(known, str) and 0 < len(known) <= 100 and known.isprintable()
    return f"{kind} {known if shown else number}"


def _product(entry: _Entry) -> ProductEntry:
    own = ("code", "kind", "holders", "price")
    entry.check_keys((*own, *(each.key for each in FIELDS)))
    code = entry.required("code", text, example='"PRO"')
    kind = _kind(entry)
    of_kind = fields_of(kind)
    for each in FIELDS:
        if each.key in entry.table and each not in of_kind:
            entry.refuse(f"{each.key} has no meaning for kind {kind.value}. Remove it.")
    values = {each.attribute: entry.optional(each.key, each.read, each.default) for each in of_kind}
    for_holders = _is_for_holders(entry)
    draft = Draft(code, kind, "", **draft_fields(values))
    problem = first_problem(catalog.draft_problems(draft, priced=False))
    if problem is not None:
        entry.refuse(problem)
    prices = tuple(
        _price(_Entry(table, entry.source, f"{entry.place}, {_name(table, 'price', 'label', n)}"), kind)
        for n, table in enumerate(entry.tables("price", header="product.price"), start=1)
    )
    if prices and kind is Kind.FREE:
        entry.refuse("A free product has no price. Remove price, or use another kind.")
    for label in _repeated(each.label for each in prices):
        entry.refuse(f"Two prices are labelled {label}. Give one of them another label.")
    return ProductEntry(draft, prices, for_holders)


def _check_lookup_keys(source: str, products: Sequence[ProductEntry]) -> None:
    """Two entries cannot mean one price: a price belongs to one product, under one label."""
    places: dict[str, str] = {}
    for product in products:
        for price in product.prices:
            if price.lookup_key is None:
                continue
            place = product.place_of(price)
            other = places.setdefault(price.lookup_key, place)
            if other != place:
                problem = f"Its lookup key stands at {other} too. Use another price for one of them."
                raise refusal(source, place, problem)


def _kind(entry: _Entry) -> Kind:
    kind = entry.required("kind", text, example='"subscription"')
    if kind not in set(Kind):
        entry.refuse(f"kind must be {choices(Kind)}.")
    return Kind(kind)


def _is_for_holders(entry: _Entry) -> bool:
    holders = entry.optional("holders", text, NEW_PURCHASES)
    if holders not in {NEW_PURCHASES, HOLDERS_NOW}:
        entry.refuse(f'holders must be "{NEW_PURCHASES}" or "{HOLDERS_NOW}". Use one of them.')
    return holders == HOLDERS_NOW


def _price(entry: _Entry, kind: Kind) -> PriceEntry:
    entry.check_keys(("label", "lookup_key", "stripe_price", "create"))
    label = entry.optional("label", text, DEFAULT_LABEL)
    lookup_key: str | None = entry.optional("lookup_key", text, None)
    stripe_price: str | None = entry.optional("stripe_price", text, None)
    if lookup_key is None and stripe_price is None:
        entry.refuse("lookup_key or stripe_price is missing. Add one of them.")
    if lookup_key is not None and stripe_price is not None:
        entry.refuse("lookup_key and stripe_price cannot stand together. Remove one of them.")
    if lookup_key is not None and not 1 <= len(lookup_key) <= LOOKUP_KEY_MAX:
        entry.refuse(f"lookup_key must have 1 to {LOOKUP_KEY_MAX} characters.")
    problems = catalog.mapping_problems("by lookup key" if stripe_price is None else stripe_price, label)
    if "price_id" in problems:
        entry.refuse("stripe_price must be the ID of a price in Stripe, such as price_1Pq….")
    if (problem := first_problem(problems)) is not None:
        entry.refuse(problem)
    create = _new_price(entry, kind) if "create" in entry.table else None
    if create is not None and lookup_key is None:
        entry.refuse("create needs lookup_key, by which the price is found again. Add it.")
    return PriceEntry(label, lookup_key, stripe_price, create)


def _new_price(entry: _Entry, kind: Kind) -> NewPrice:
    example = '{ amount = 2000, currency = "usd" }'
    known = ("amount", "currency", "interval", "interval_count")
    table = entry.value("create", lambda value: only_keys(value, known, example=example))
    inner = _Entry(table, entry.source, f"{entry.place}, create")
    amount = inner.required("amount", whole, example="2000")
    currency = inner.required("currency", text, example='"usd"')
    interval: str | None = inner.optional("interval", text, None)
    count = inner.optional("interval_count", whole, 1)
    if not 0 <= amount < 10**12:
        inner.refuse("amount must be 0 or more, in the currency's smallest unit.")
    if not re.fullmatch(r"[a-z]{3}", currency):
        inner.refuse('currency must be a code of three lower-case letters, such as "usd".')
    if interval is not None and interval not in INTERVALS:
        inner.refuse(f"interval must be {choices(INTERVALS)}.")
    if count != 1 and interval is None:
        inner.refuse("interval_count needs interval. Add it.")
    if not 1 <= count <= 1095:
        inner.refuse("interval_count must be 1 or more, and at most three years.")
    if problem := shape_problem(kind, recurring=interval is not None, metered=False):
        inner.refuse(f"{problem} {'Add' if interval is None else 'Remove'} interval.")
    return NewPrice(amount, currency, interval, count)


def _endpoint(entry: _Entry, mode: Mode, private_allowed: bool) -> EndpointEntry:
    if "secret" in entry.table:
        entry.refuse("secret cannot stand in the file. Name an environment variable that has it: secret_env.")
    entry.check_keys(("url", "types", "description", "secret_env"))
    url = entry.required("url", text, example='"https://example.com/hooks"').strip()
    types = entry.required("types", texts, example='["entitlement.updated"]')
    description = clean_name(entry.optional("description", text, ""))
    secret_env: str | None = entry.optional("secret_env", text, None)
    problems = deliveries.endpoint_problems(
        url, types, description, mode=mode, private_allowed=private_allowed
    )
    if (problem := first_problem(problems)) is not None:
        entry.refuse(problem)
    if secret_env is not None and not _ENVIRONMENT_NAME.fullmatch(secret_env):
        entry.refuse("secret_env must be the name of an environment variable, such as HOOK_SECRET.")
    return EndpointEntry(url, in_order(types), description, secret_env)


def _repeated(names: Iterator[str]) -> Iterator[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield name
        seen.add(name)
