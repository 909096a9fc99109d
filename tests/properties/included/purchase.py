"""What really happened at Stripe to a subscription, and what was called. Instants are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

DAY, WEEK = 86_400, 604_800


def utc(text: str) -> int:
    """The second of an instant such as `2027-01-31` or `2027-01-31 10:00:05`, in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Included:
    """Units that a product includes; of `rollover`, None is none, and at most None is without a limit."""

    units: int
    every: str
    """`period`, `day`, `week` or `month`."""
    rolls_over: bool = False
    at_most: int | None = None
    trial_units: int | None = None
    unit: str = "images"


@dataclass(frozen=True)
class Price:
    """A price that is mapped to a product, with the product's terms."""

    included: tuple[Included, ...]
    product: str
    interval: str = "month"
    """`week`, `month` or `year`."""
    amount: int = 2000
    """Per period and piece, in cents."""
    grace_days: int = 3

    def includes(self, unit: str) -> Included | None:
        return next((each for each in self.included if each.unit == unit), None)


Prices: TypeAlias = Mapping[str, Price]


@dataclass(frozen=True)
class Bill:
    """An invoice that the subscription makes: what happened to it, and when."""

    paid: int | None = None
    failed: int | None = None
    """When a payment of it failed first."""
    voided: int | None = None
    refunded: int | None = None
    """When all that was paid for it was given back."""
    free: bool = False
    """Whether it is of nothing, so that it is paid when it is made."""

    def is_paid(self, now: int, *, made: int) -> bool:
        return (self.free and made <= now) or (self.paid is not None and self.paid <= now)

    def is_refunded(self, now: int) -> bool:
        return self.refunded is not None and self.refunded <= now


@dataclass(frozen=True)
class Begin:
    """The subscription is created; its items are a name with price and quantity.

    Where it begins with a trial, `until` is the trial's end, and the bill is of nothing.
    """

    at: int
    until: int
    items: tuple[tuple[str, str, int], ...]
    bill: Bill = Bill()
    trial: bool = False


@dataclass(frozen=True)
class Renew:
    """The next period of the named items, or of all, begins as scheduled."""

    at: int
    until: int
    bill: Bill
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Change:
    """An item has another price or quantity; None is the one it had."""

    at: int
    item: str
    price: str | None = None
    quantity: int | None = None
    proration: str = "create"
    """`none`; `create`, on the next invoice; or `always`, on an invoice of its own, with what waits."""
    bill: Bill | None = None
    """That of `always`."""


@dataclass(frozen=True)
class Swap:
    """In one change an item goes and a new one comes, in the running period."""

    at: int
    old: str
    new: str
    price: str
    quantity: int = 1
    proration: str = "create"
    bill: Bill | None = None


@dataclass(frozen=True)
class Add:
    """One more item, in the running period."""

    at: int
    item: str
    price: str
    quantity: int = 1
    proration: str = "create"
    bill: Bill | None = None


@dataclass(frozen=True)
class Remove:
    at: int
    item: str


@dataclass(frozen=True)
class Reset:
    """A new period of all items begins now, before its time; an item may change with it."""

    at: int
    until: int
    bill: Bill
    credit: bool = True
    """Whether the invoice gives back what is left of the old period."""
    item: str | None = None
    price: str | None = None
    quantity: int | None = None


@dataclass(frozen=True)
class TrialUntil:
    """The trial ends at another instant than was set before."""

    at: int
    until: int


@dataclass(frozen=True)
class Pause:
    """Collection is paused with one of Stripe's behaviors, or with None goes on."""

    at: int
    behavior: str | None


@dataclass(frozen=True)
class Cancel:
    """It ends now, or is to end with its period."""

    at: int
    at_period_end: bool = False


@dataclass(frozen=True)
class KeepOn:
    """The scheduled end is called off."""

    at: int


Step: TypeAlias = Begin | Renew | Change | Swap | Add | Remove | Reset | TrialUntil | Pause | Cancel | KeepOn


@dataclass(frozen=True)
class Purchase:
    """One subscription: what happened to it, in order."""

    name: str
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Pack:
    """Units that were bought once."""

    name: str
    units: int
    bought: int
    ends: int | None = None
    unit: str = "images"


# --- calls -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Consume:
    at: int
    units: int
    unit: str = "images"


@dataclass(frozen=True)
class Reserve:
    at: int
    name: str
    units: int
    seconds: int = 3600
    unit: str = "images"


@dataclass(frozen=True)
class Commit:
    """So many of the reserved units are consumed, and the others returned."""

    at: int
    name: str
    units: int


@dataclass(frozen=True)
class Release:
    at: int
    name: str


Call: TypeAlias = Consume | Reserve | Commit | Release


@dataclass(frozen=True)
class Answer:
    allowed: bool
    left: int
    """Of the unit, over all windows and packs, after the call."""


@dataclass(frozen=True)
class Balance:
    """The window of an item that is in force, with what is carried into it."""

    starts: int
    ends: int
    granted: int
    """What may be used in it in all, without what is carried: at least what is used and reserved."""
    used: int
    reserved: int
    carried: int
    """What is left of the window before."""
    left: int
    """Of its own units and of the carried ones."""
    overdrawn: int = 0
    """What the windows before took of it."""
    forfeited: int = 0
    """Units of the window before that nobody can use any more."""


@dataclass(frozen=True)
class Account:
    """All that one customer has, with the prices that are sold."""

    prices: Prices
    purchases: tuple[Purchase, ...]
    packs: tuple[Pack, ...] = field(default=())
