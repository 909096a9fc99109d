"""What a buyer of a product pays and gets, as one sentence. Pure.

A new term of products gets a function in `_GIVES`, for what follows “and gets”, or in `_CONDITIONS`, for what
follows after a semicolon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from licenzy.catalog.included import Every, IncludedUnits, Renewing, interval_text
from licenzy.catalog.models import Kind
from licenzy.catalog.rules import Draft, duration_text
from licenzy.kit.money import format_amount

FEATURES_NAMED = 3
LIMITS_NAMED = 3
PRICES_NAMED = 4
"""How many are named before the others are counted."""


class Priced(Renewing, Protocol):
    """A price, as far as a buyer sees it."""

    @property
    def unit_amount(self) -> int | None: ...

    @property
    def currency(self) -> str: ...


def offer_sentence(draft: Draft, prices: Sequence[Priced]) -> str:
    """What a purchase of this product gives, at these prices. `draft` has no problems."""
    gives = [part for add in _GIVES for part in add(draft, prices)]
    conditions = [part for add in _CONDITIONS for part in add(draft)]
    if not gives:
        return ""  # A free product that gives nothing yet.
    who = "customer" if draft.kind is Kind.FREE else "buyer"
    pays = f"pays {_listed(_costs(prices), 'or')} and " if prices else ""
    return "; ".join([f"A {who} {pays}gets {_listed(gives, 'and')}", *conditions]) + "."


def grant_text(line: IncludedUnits, prices: Sequence[Renewing] = ()) -> str:
    """What a line grants: `1,000 images each month`. The prices say what a billing period is."""
    return f"{line.units:,} {line.unit} {_each(line.every, prices)}"


def _costs(prices: Sequence[Priced]) -> list[str]:
    named = [_cost(price) for price in prices[:PRICES_NAMED]]
    others = len(prices) - len(named)
    return [*named, f"one of {_counted(others, 'other price')}"] if others else named


def _cost(price: Priced) -> str:
    amount = "a varying amount"
    if price.unit_amount is not None:
        amount = format_amount(price.unit_amount, price.currency)
    if price.interval is None:
        return amount
    often = "every" if (price.interval_count or 1) > 1 else "a"
    return f"{amount} {often} {interval_text(price)}"


def _access(draft: Draft, _prices: Sequence[Priced]) -> Iterable[str]:
    if draft.kind is Kind.TIME_PASS:
        yield f"access for {duration_text(draft.duration_seconds or 0)}"
    elif draft.kind is Kind.SUBSCRIPTION and not draft.included:
        yield "access while it is paid"


def _units(draft: Draft, prices: Sequence[Priced]) -> Iterable[str]:
    if draft.kind is Kind.USAGE_PACK:
        yield f"{draft.units or 0:,} {draft.unit}"
    yield from (grant_text(line, prices) for line in draft.included)


def _each(every: Every, prices: Sequence[Renewing]) -> str:
    if every is not Every.PERIOD:
        return f"each {every}"
    intervals = {interval_text(price) for price in prices if price.interval is not None}
    if len(intervals) != 1:
        return "each billing period"
    interval = intervals.pop()
    return f"every {interval}" if " " in interval else f"each {interval}"


def _features(draft: Draft, _prices: Sequence[Priced]) -> Iterable[str]:
    named = [*draft.features[:FEATURES_NAMED]]
    others = len(draft.features) - len(named)
    if others:
        named.append(f"{others} more")
    if named:
        yield f"the {'feature' if len(named) == 1 else 'features'} {_listed(named, 'and')}"


def _limits(draft: Draft, _prices: Sequence[Priced]) -> Iterable[str]:
    named = sorted(draft.limits.items())[:LIMITS_NAMED]
    for code, value in named:
        if value is None:
            yield f"{code} without a limit"
        else:
            yield f"{value:,} more {code}" if draft.adds else f"{code} up to {value:,}"
    if others := len(draft.limits) - len(named):
        yield _counted(others, "other limit")


def _expiry(draft: Draft) -> Iterable[str]:
    if draft.kind is Kind.USAGE_PACK:
        seconds = draft.duration_seconds
        yield "they never expire" if seconds is None else f"they expire after {duration_text(seconds)}"


def _rollover(draft: Draft) -> Iterable[str]:
    for line in draft.included:
        if line.rollover is None or line.rollover.at_most == 0:
            continue
        at_most = line.rollover.at_most
        bound = "" if at_most is None else f"up to {at_most:,} "
        yield f"{bound}unused {line.unit} carry over once"


def _trial(draft: Draft) -> Iterable[str]:
    if draft.trial_days is None:
        return
    days = "1 day’s" if draft.trial_days == 1 else f"{draft.trial_days} days’"
    had = [
        f"{line.units if line.trial_units is None else line.trial_units:,} {line.unit}"
        for line in draft.included
    ]
    yield f"{days} trial with {_listed(had, 'and')}" if had else f"{days} trial"


def _grace(draft: Draft) -> Iterable[str]:
    if draft.grace_days:
        yield f"{_counted(draft.grace_days, 'day')} of access after a failed payment"


def _quantity(draft: Draft) -> Iterable[str]:
    if draft.adjustable_quantity:
        multiplied = "price and units" if draft.included else "the price"
        yield f"buyers choose a quantity, which multiplies {multiplied}"


_GIVES: tuple[Callable[[Draft, Sequence[Priced]], Iterable[str]], ...] = (
    _access,
    _units,
    _features,
    _limits,
)
_CONDITIONS: tuple[Callable[[Draft], Iterable[str]], ...] = (_expiry, _rollover, _trial, _grace, _quantity)


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _listed(parts: Sequence[str], conjunction: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *most, last = parts
    return f"{', '.join(most)} {conjunction} {last}" if most else last
