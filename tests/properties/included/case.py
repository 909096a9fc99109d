"""A history with calls, and the figures that were worked out by hand for each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from tests.properties.included.purchase import (
    Account,
    Answer,
    Balance,
    Call,
    Commit,
    Consume,
    Pack,
    Prices,
    Purchase,
    Release,
    Reserve,
    utc,
)


@dataclass(frozen=True)
class Called:
    call: Call
    answer: Answer


@dataclass(frozen=True)
class Shown:
    """The window in force of an item; None where nothing is available."""

    at: int
    item: str
    balance: Balance | None
    unit: str = "images"
    purchase: str = "sub"


@dataclass(frozen=True)
class Remaining:
    """What is left of a unit, of everything."""

    at: int
    left: int
    unit: str = "images"


Expected: TypeAlias = Called | Shown | Remaining


@dataclass(frozen=True)
class Case:
    name: str
    prices: Prices
    purchases: tuple[Purchase, ...]
    expected: tuple[Expected, ...]
    packs: tuple[Pack, ...] = field(default=())

    @property
    def account(self) -> Account:
        return Account(self.prices, self.purchases, self.packs)

    def __str__(self) -> str:
        return self.name


# --- as the tables write them ----------------------------------------------------------------------------


def use(at: str, units: int, *, left: int, unit: str = "images") -> Called:
    return Called(Consume(utc(at), units, unit), Answer(True, left))


def refused(at: str, units: int, *, left: int, unit: str = "images") -> Called:
    return Called(Consume(utc(at), units, unit), Answer(False, left))


def reserve(at: str, name: str, units: int, *, left: int, hours: int = 1, unit: str = "images") -> Called:
    return Called(Reserve(utc(at), name, units, hours * 3600, unit), Answer(True, left))


def commit(at: str, name: str, units: int, *, left: int) -> Called:
    return Called(Commit(utc(at), name, units), Answer(True, left))


def release(at: str, name: str, *, left: int) -> Called:
    return Called(Release(utc(at), name), Answer(True, left))


def left(at: str, units: int, *, unit: str = "images") -> Remaining:
    return Remaining(utc(at), units, unit)


def nothing(at: str, *, item: str = "a", purchase: str = "sub", unit: str = "images") -> Shown:
    return Shown(utc(at), item, None, unit, purchase)


def shows(
    at: str,
    starts: str,
    ends: str,
    *,
    granted: int,
    left: int,
    used: int = 0,
    reserved: int = 0,
    carried: int = 0,
    overdrawn: int = 0,
    forfeited: int = 0,
    item: str = "a",
    purchase: str = "sub",
    unit: str = "images",
) -> Shown:
    balance = Balance(utc(starts), utc(ends), granted, used, reserved, carried, left, overdrawn, forfeited)
    return Shown(utc(at), item, balance, unit, purchase)
