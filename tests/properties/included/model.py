"""The plain model: what each call gets, and what is left, of all windows and packs of one customer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tests.properties.included import choices
from tests.properties.included.model_access import is_available
from tests.properties.included.model_windows import Window, roots, windows
from tests.properties.included.purchase import (
    Account,
    Answer,
    Balance,
    Call,
    Commit,
    Consume,
    Purchase,
    Release,
    Reserve,
)


class Item(NamedTuple):
    """The windows of one unit of an item: of the purchase, and the item at the root."""

    purchase: str
    root: str
    unit: str


class Source(NamedTuple):
    """What units are drawn from: the window of an item that starts at an instant, or a pack."""

    of: Item | str
    start: int


Ties: TypeAlias = Mapping[Source, str]


@dataclass(frozen=True)
class Entry:
    """A change of the counters of a source."""

    at: int
    used: int
    reserved: int


@dataclass
class Reservation:
    unit: str
    expires: int
    draws: list[tuple[Source, int]]


@dataclass(frozen=True)
class Standing:
    """A window with what the windows before it leave."""

    window: Window
    closed_at: int | None
    overdrawn: int
    credited_at: int | None
    """Where the window after it was opened by a period that credits this one: the start of that."""
    carried: int
    """How many units of the window before it are usable in it, in all."""


@dataclass
class Model:
    """Plays calls in the order of their instants."""

    account: Account
    entries: dict[Source, list[Entry]] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    written: dict[Source, int] = field(default_factory=dict)
    """What came off a window, since the first call that met it."""
    ties: Ties = field(default_factory=dict)
    """Which of two windows that begin and end together is drawn first, which no rule says."""
    opened: dict[tuple[Item, int], list[Window]] = field(default_factory=dict)
    """The windows of an item by an instant, computed once."""

    # --- calls ----------------------------------------------------------------------------------

    def perform(self, call: Call) -> Answer:
        self._expire(call.at)
        match call:
            case Consume(unit=unit):
                draws = self._draw(call.at, unit, call.units)
                for source, units in draws or ():
                    self._note(source, Entry(call.at, units, 0))
                return Answer(draws is not None, self.left(unit, call.at))
            case Reserve(unit=unit):
                draws = self._draw(call.at, unit, call.units)
                for source, units in draws or ():
                    self._note(source, Entry(call.at, 0, units))
                if draws is not None:
                    self.reservations[call.name] = Reservation(unit, call.at + call.seconds, draws)
                return Answer(draws is not None, self.left(unit, call.at))
            case Commit(name=name, units=units):
                return self._close(call.at, name, units)
            case Release(name=name):
                return self._close(call.at, name, 0)

    def left(self, unit: str, now: int) -> int:
        """What may be drawn of a unit, of all windows and packs."""
        self._expire(now)
        return sum(left for _source, left in self._sources(unit, now))

    def balances(self, unit: str, now: int) -> dict[tuple[str, str], Balance]:
        """By purchase and item, the window in force of each that is available."""
        self._expire(now)
        found = {}
        for item in self._items(unit):
            balance = self._balance(item, now)
            if balance is not None and self._is_available(item, now):
                found[item.purchase, item.root] = balance
        return found

    def worth(self, unit: str, now: int) -> dict[Item, tuple[int, int]]:
        """What was used of each item's windows in all, and what they gave, with what the last one owes."""
        self._expire(now)
        found = {}
        for item in self._items(unit):
            used = units = debt = 0
            standings = self._standings(item, now)
            for standing in standings:
                window = standing.window
                spent = self._spent(Source(item, window.start))
                used += spent
                size = window.size if standing.credited_at is None else _earned(standing)
                units += max(size, spent) if window.period.is_trial else size
                debt = max(0, self._own_spent(item, standing) - window.size)
            found[item] = (used, units + debt)
        return found

    def items_of(self, purchase: Purchase, unit: str) -> set[str]:
        """The items whose windows of a unit are their own."""
        return set(roots(purchase, unit, self.account.prices).values())

    def _close(self, at: int, name: str, units: int) -> Answer:
        """Consume so much of a reservation, its first windows first, and give back the others."""
        reservation = self.reservations.pop(name, None)
        if reservation is None:
            return Answer(False, 0)
        for source, reserved in reservation.draws:
            share = min(units, reserved)
            units -= share
            self._note(source, Entry(at, share, -reserved))
        return Answer(True, self.left(reservation.unit, at))

    def _expire(self, now: int) -> None:
        """A reservation counts up to its own end, whoever sweeps it when."""
        for name, reservation in list(self.reservations.items()):
            if reservation.expires <= now:
                del self.reservations[name]
                for source, reserved in reservation.draws:
                    self._note(source, Entry(reservation.expires, 0, -reserved))

    def _note(self, source: Source, entry: Entry) -> None:
        self.entries.setdefault(source, []).append(entry)

    def _draw(self, now: int, unit: str, wanted: int) -> list[tuple[Source, int]] | None:
        self._write(unit, now)
        sources = self._sources(unit, now)
        if sum(left for _source, left in sources) < wanted:
            return None
        draws = []
        for source, left in sources:
            share = min(left, wanted)
            wanted -= share
            if share:
                draws.append((source, share))
        return draws

    def _write(self, unit: str, now: int) -> None:
        """What comes off a window is fixed by the first call that draws, or would draw, of it."""
        for item in self._items(unit):
            for standing in self._standings(item, now):
                source = Source(item, standing.window.start)
                self.written.setdefault(source, standing.overdrawn)

    # --- what is there --------------------------------------------------------------------------

    def _sources(self, unit: str, now: int) -> list[tuple[Source, int]]:
        """What may be drawn from, in order: what ends soonest first, then what began first."""
        found: list[tuple[tuple[bool, int, int, str], Source, int]] = []
        for item in self._items(unit):
            if not self._is_available(item, now):
                continue
            standings = self._standings(item, now)
            if not standings:
                continue
            last = standings[-1].window
            first = self.ties.get(Source(item, last.start), f"{item.purchase}.{item.root}")
            place = (False, last.end, last.start, first)
            found.append((place, Source(item, last.start), self._left(item, standings[-1])))
        for pack in self.account.packs:
            if pack.unit == unit and pack.bought <= now and (pack.ends is None or now < pack.ends):
                source = Source(pack.name, pack.bought)
                left = pack.units - self._spent(source)
                found.append(((pack.ends is None, pack.ends or 0, pack.bought, pack.name), source, left))
        return [(source, left) for _place, source, left in sorted(found, key=lambda each: each[0])]

    def _items(self, unit: str) -> list[Item]:
        return [
            Item(purchase.name, root, unit)
            for purchase in self.account.purchases
            for root in sorted(self.items_of(purchase, unit))
        ]

    def _is_available(self, item: Item, now: int) -> bool:
        purchase = next(each for each in self.account.purchases if each.name == item.purchase)
        return is_available(purchase, item.root, item.unit, self.account.prices, now)

    def _standings(self, item: Item, now: int) -> list[Standing]:
        """The windows that opened, each with what the one before took of it."""
        opened = self._opened(item, now)
        found: list[Standing] = []
        for number, window in enumerate(opened):
            following = opened[number + 1] if number + 1 < len(opened) else None
            credits = following is not None and following.is_first and following.period.credits
            overdrawn = self.written.get(Source(item, window.start))
            if overdrawn is None:
                overdrawn = self._owed(item, found[-1]) if found else 0
            closed_at = following.opens if following is not None else None
            credited_at = following.period.start if following is not None and credits else None
            carried = self._carried_out_of(item, found[-1], closed_at) if found else 0
            found.append(Standing(window, closed_at, overdrawn, credited_at, carried))
        return found

    def _opened(self, item: Item, now: int) -> list[Window]:
        if (item, now) not in self.opened:
            purchase = next(each for each in self.account.purchases if each.name == item.purchase)
            self.opened[item, now] = windows(purchase, item.root, item.unit, self.account.prices, now)
        return self.opened[item, now]

    def _owed(self, item: Item, before: Standing) -> int:
        """What comes off the window after one."""
        window, own = before.window, self._own_spent(item, before)
        if window.period.is_trial and not choices.trial_leaves_debts():
            return 0
        if before.credited_at is not None:
            return choices.owed_after_credit(_earned(before), 0, own)
        return choices.owed_by_next(window.size, 0, own)

    def _left(self, item: Item, last: Standing) -> int:
        """What is left of the window in force, with what is carried into it."""
        spent = self._spent(Source(item, last.window.start))
        return max(0, last.window.size + last.carried - last.overdrawn - spent)

    def _own_spent(self, item: Item, standing: Standing) -> int:
        """What is taken of a window's own units: of those carried into it, they are taken first."""
        spent = self._spent(Source(item, standing.window.start))
        return max(0, spent + standing.overdrawn - standing.carried)

    def _carried_out_of(self, item: Item, before: Standing, until: int | None) -> int:
        """How many units of a window are usable in the one after it, in all.

        What comes back once that one is over, at `until`, is of no use any more.
        """
        window = before.window
        if window.period.is_trial or not window.included.rolls_over:
            return 0
        is_credited = before.credited_at is not None
        share = _earned(before) if is_credited else 0
        size = choices.size_to_carry(window.size, share, credited=is_credited)
        spent = self._spent(Source(item, window.start), until)
        own = max(0, spent + before.overdrawn - before.carried)
        return choices.carried(size - own, 0, window.included.at_most)

    def _balance(self, item: Item, now: int) -> Balance | None:
        standings = self._standings(item, now)
        if not standings:
            return None
        last, window = standings[-1], standings[-1].window
        taken = self._spent(Source(item, window.start))
        carried = last.carried
        own = max(0, taken - carried)
        forfeited = 0
        if len(standings) > 1:
            before = standings[-2].window
            left = max(0, before.size - self._own_spent(item, standings[-2]))
            forfeited = left - carried
        return Balance(
            starts=window.start,
            ends=window.end,
            granted=max(window.size - last.overdrawn, own),
            used=own,
            reserved=0,
            carried=max(0, carried - taken),
            left=self._left(item, last),
            overdrawn=last.overdrawn,
            forfeited=forfeited,
        )

    def _spent(self, source: Source, until: int | None = None) -> int:
        """What is used and reserved of a source, by all entries or by those before an instant."""
        mine = self.entries.get(source, ())
        return sum(each.used + each.reserved for each in mine if until is None or each.at < until)


def _earned(standing: Standing) -> int:
    assert standing.credited_at is not None
    window = standing.window
    return choices.earned(window.size, standing.credited_at - window.start, window.end - window.start)
