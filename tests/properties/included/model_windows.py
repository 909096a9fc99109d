"""The plain model: which windows the items of a subscription had by an instant, and how large they are."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from tests.properties.included import choices
from tests.properties.included.purchase import (
    DAY,
    WEEK,
    Add,
    Begin,
    Bill,
    Change,
    Included,
    Pause,
    Prices,
    Purchase,
    Remove,
    Renew,
    Reset,
    Step,
    Swap,
    TrialUntil,
)


@dataclass(frozen=True)
class Period:
    """A period of an item for which windows open."""

    start: int
    end: int
    opens: int
    anchor: int
    is_trial: bool = False
    is_early: bool = False
    credits: bool = False
    """Whether its invoice gives back time of the period before."""


@dataclass(frozen=True)
class Mark:
    """From an instant on, the units that count for an item, each step of its windows."""

    at: int
    included: Included | None
    size: int
    known: int
    """When it began to count."""


@dataclass(frozen=True)
class Window:
    start: int
    end: int
    opens: int
    included: Included
    size: int
    period: Period
    is_first: bool
    """Whether it is the first that opens of its period."""


# --- which items there are -------------------------------------------------------------------------------


def roots(purchase: Purchase, unit: str, prices: Prices) -> dict[str, str]:
    """Each item with the one whose windows it has: its own, or those of the item whose place it took."""
    found: dict[str, str] = {}
    price_of: dict[str, str] = {}
    for step in purchase.steps:
        match step:
            case Begin(items=items):
                found |= {name: name for name, _price, _quantity in items}
                price_of |= {name: price for name, price, _quantity in items}
            case Add(item=name, price=price):
                found[name], price_of[name] = name, price
            case Change(item=name, price=str(price)) | Reset(item=str(name), price=str(price)):
                price_of[name] = price
            case Swap(old=old, new=new, price=price):
                both = all(prices[each].includes(unit) for each in (price_of[old], price))
                found[new], price_of[new] = found[old] if both else new, price
    return found


# --- the windows of one item -----------------------------------------------------------------------------


def windows(purchase: Purchase, root: str, unit: str, prices: Prices, now: int) -> list[Window]:
    """The windows of an item that opened by `now`, with the sizes that they have then, in order."""
    periods, marks = _Reading(purchase, root, unit, prices, now).result()
    in_force: list[Period] = []
    for period in sorted(periods, key=lambda each: (each.opens, each.start)):
        if not in_force or period.start > in_force[-1].start:
            in_force.append(period)
    found: list[Window] = []
    for index, period in enumerate(in_force):
        following = in_force[index + 1] if index + 1 < len(in_force) else None
        # What an early period brings is its own: the windows before it keep what they were begun with.
        early = min((each.start for each in in_force[index + 1 :] if each.is_early), default=None)
        own = [mark for mark in marks if early is None or mark.at < early]
        before = in_force[index - 1] if index else None
        follows = before is not None and _follows(before, period, own)
        is_first = True
        for start, end in _steps(period, own, follows=follows):
            opens = max(start, period.opens)
            if opens > now or (following is not None and opens >= following.opens):
                break
            if found and found[-1].start == start and not (period.is_early or period.is_trial):
                found[-1] = replace(found[-1], size=_size(start, end, own, found[-1].included.every))
                is_first = False
                continue
            terms = _terms(start, end, own)
            if terms is None:
                continue
            included, known = terms
            opens = max(opens, known)
            if opens > now or (following is not None and opens >= following.opens):
                continue
            every = None if period.is_trial else included.every
            size = _size(start, end, own, every)
            found.append(Window(start, end, opens, included, size, period, is_first))
            is_first = False
    return found


def _follows(before: Period, period: Period, marks: list[Mark]) -> bool:
    """Whether windows may run from one period into the next."""
    return (
        _every(before, [mark for mark in marks if mark.at < period.start]) == _every(period, marks)
        and before.end == period.start
        and before.anchor == period.anchor
        and not before.is_trial
        and not period.is_early
    )


def _steps(period: Period, marks: list[Mark], *, follows: bool) -> Iterator[tuple[int, int]]:
    """The steps of a period from the one on in which it opens."""
    if period.is_trial:
        yield period.start, period.end
        return
    every = _every(period, marks)
    first = choices.first_instant(period.opens, period.end)
    if every == "period":
        yield period.start, period.end
    elif every == "month":
        yield from _month_steps(period, first)
    elif every is not None:
        seconds = {"day": DAY, "week": WEEK}[every]
        start = period.anchor + (first - period.anchor) // seconds * seconds
        while start < period.end:
            cut = choices.start_of_running_step(start, period.start, follows_paid=follows)
            yield cut, start + seconds
            start += seconds


def _month_steps(period: Period, first: int) -> Iterator[tuple[int, int]]:
    number = (first - period.anchor) // (31 * DAY) - 1
    while (end := months_after(period.anchor, number + 1)) <= first:
        number += 1
    while (start := months_after(period.anchor, number)) < period.end:
        end = months_after(period.anchor, number + 1)
        yield max(start, period.start), min(end, period.end)
        number += 1


def months_after(anchor: int, months: int) -> int:
    """So many months after an instant, at its day and time, or on the month's last day."""
    at = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(at.year * 12 + at.month - 1 + months, 12)
    day = min(at.day, monthrange(year, month + 1)[1])
    return int(at.replace(year=year, month=month + 1, day=day).timestamp())


def _every(period: Period, marks: list[Mark]) -> str | None:
    at_start = [mark for mark in marks if mark.at <= period.start][-1:]
    within = [mark for mark in marks if period.start < mark.at < period.end]
    found = [mark.included.every for mark in [*at_start, *within] if mark.included is not None]
    for each in found:
        choices.check_same_step(found[0], each)
    return found[0] if found else None


def _terms(start: int, end: int, marks: list[Mark]) -> tuple[Included, int] | None:
    """What a window is of, and since when that counts."""
    at_start = [mark for mark in marks if mark.at <= start][-1:]
    within = [mark for mark in marks if start < mark.at < end]
    found = ((mark.included, mark.known) for mark in [*at_start, *within] if mark.included is not None)
    return next(found, None)


def _size(start: int, end: int, marks: list[Mark], every: str | None) -> int:
    """Second by second what counted, in the share of the window that it had.

    What is counted by another step is of the windows that follow.
    """
    marks = [mark for mark in marks if mark.included is None or every in {None, mark.included.every}]
    edges = sorted({start, end, *(mark.at for mark in marks if start < mark.at < end)})
    weighted = 0
    for left, right in pairwise(edges):
        last = [mark for mark in marks if mark.at <= left][-1:]
        weighted += sum(mark.size for mark in last) * (right - left)
    return choices.rounded_up(weighted, end - start)


# --- what happened, as one item has it -------------------------------------------------------------------


class _Reading:
    """Reads the steps of a subscription up to an instant, for the windows of one item."""

    def __init__(self, purchase: Purchase, root: str, unit: str, prices: Prices, now: int) -> None:
        self.steps = [step for step in purchase.steps if step.at <= now]
        self.names = {name for name, of in roots(purchase, unit, prices).items() if of == root}
        self.unit, self.prices, self.now = unit, prices, now
        self.periods: list[Period] = []
        self.marks: list[Mark] = []
        self.price: str | None = None
        self.quantity = 0
        self.span: tuple[int, int] = (0, 0)
        """The running period of the subscription's items."""
        self.anchor = 0
        self.pause: str | None = None
        self.trialing = False

    def result(self) -> tuple[list[Period], list[Mark]]:
        for number, step in enumerate(self.steps):
            self._read(number, step)
        return self.periods, self.marks

    def _read(self, number: int, step: Step) -> None:
        match step:
            case Begin():
                self._begin(step)
            case Renew(items=items):
                if not items or self.names & set(items):
                    self._new_period(step.at, step.until, step.bill, is_early=False, credits=False)
            case Reset():
                self.anchor = step.at
                if step.item in self.names:
                    self.price, self.quantity = step.price or self.price, _or(step.quantity, self.quantity)
                self._new_period(step.at, step.until, step.bill, is_early=True, credits=step.credit)
            case Change(item=item):
                if item in self.names and self.price is not None:
                    had = self.price, self.quantity
                    self.price, self.quantity = step.price or self.price, _or(step.quantity, self.quantity)
                    if (self.price, self.quantity) != had:
                        self._change(step.at, self._invoice(number))
            case Swap(old=old, new=new):
                if new in self.names:
                    self.price, self.quantity = step.price, step.quantity
                    if old not in self.names:
                        self._add(step.at, self._invoice(number))
                    else:
                        self._change(step.at, self._invoice(number))
                elif old in self.names:
                    self.price = None
            case Add(item=item):
                if item in self.names:
                    self.price, self.quantity = step.price, step.quantity
                    self._add(step.at, self._invoice(number))
            case Remove(item=item):
                if item in self.names:
                    self.price = None
            case TrialUntil():
                self.span = (self.span[0], step.until)
                self.anchor = step.until
                trials = [period for period in self.periods if period.is_trial]
                for trial in trials:
                    self.periods[self.periods.index(trial)] = replace(
                        trial, end=step.until, anchor=step.until
                    )
            case Pause():
                self.pause = step.behavior

    # --- periods --------------------------------------------------------------------------------

    def _begin(self, step: Begin) -> None:
        self.trialing = step.trial
        self.anchor = step.until if step.trial else step.at
        self.span = (step.at, step.until)
        own = [(price, quantity) for name, price, quantity in step.items if name in self.names]
        if not own:
            return
        ((self.price, self.quantity),) = own
        if step.trial:
            self.periods.append(Period(step.at, step.until, step.at, self.anchor, is_trial=True))
            self._mark(step.at, self._wanted(), step.at)
        else:
            self._new_period(step.at, step.until, step.bill, is_early=False, credits=False)

    def _new_period(self, at: int, until: int, bill: Bill, *, is_early: bool, credits: bool) -> None:
        self.trialing, self.span = False, (at, until)
        if self.price is None:
            return
        if choices.counts_as_paid(self.pause):
            opens = at
        elif bill.is_paid(self.now, made=at) and not self._is_overtaken(at, bill):
            opens = _opens(at, bill)
        else:
            self._mark(at, min(self._counted(), self._wanted()), at)
            return
        paid_before = [each for each in self.periods if not each.is_trial and each.start < at < each.end]
        is_early = is_early and bool(paid_before)
        self.periods.append(
            Period(at, until, opens, self.anchor, is_early=is_early, credits=is_early and credits)
        )
        self._mark(at, self._wanted(), at)

    def _is_overtaken(self, at: int, bill: Bill) -> bool:
        """Whether a later period was paid for before this one: it opens nothing then, nor counts."""
        later = (step for step in self.steps if isinstance(step, Renew | Reset) and step.at > at)
        return any(
            step.bill.is_paid(self.now, made=step.at) and _opens(step.at, step.bill) < _opens(at, bill)
            for step in later
        )

    # --- changes within a period ----------------------------------------------------------------

    def _change(self, at: int, bill: Bill | None) -> None:
        is_paid = self._pays(bill, at)
        size = choices.counted_after_change(self._counted(), self._wanted(), is_paid=is_paid)
        if bill is None or not is_paid or size <= self._counted():
            self._mark(at, size, at)
        else:
            paid = at if bill.paid is None else bill.paid
            # Where the unit is of this period, if only for no seats, windows open whenever more is paid for.
            opened = any(mark.included is not None for mark in self.marks if mark.at >= self.span[0])
            self._mark(choices.rise_counts_from(at, paid), size, at if opened else paid)

    def _add(self, at: int, bill: Bill | None) -> None:
        if bill is None or not self._pays(bill, at):
            return
        paid = at if bill.paid is None else bill.paid
        start, end = self.span
        self.marks.append(Mark(start, None, choices.added_size_before(), start))
        self.periods.append(Period(start, end, max(at, paid), self.anchor))
        self._mark(at, self._wanted(), max(at, paid))

    def _pays(self, bill: Bill | None, at: int) -> bool:
        """Whether an invoice with a line for a change pays for it, as far as is known now."""
        if bill is None or (self.trialing and not choices.rise_counts_in_trial()):
            return False
        taken_back = choices.is_taken_back(is_refunded=bill.is_refunded(self.now))
        return bill.is_paid(self.now, made=at) and not taken_back

    def _invoice(self, number: int) -> Bill | None:
        """The invoice with the proration line of a change; none where that is of a period on time."""
        change = self.steps[number]
        assert isinstance(change, Change | Swap | Add)
        if change.proration == "none":
            return None
        if change.proration == "always":
            return change.bill
        for step in self.steps[number + 1 :]:
            match step:
                case Renew():
                    return None
                case Reset(bill=bill):
                    return bill
                case Change(proration="always") | Swap(proration="always") | Add(proration="always"):
                    return step.bill
        return None

    # --- what counts ----------------------------------------------------------------------------

    def _included(self) -> Included | None:
        return self.prices[self.price].includes(self.unit) if self.price is not None else None

    def _wanted(self) -> int:
        included = self._included()
        if included is None:
            return 0
        if self.trialing:
            return choices.trial_size(included.units, included.trial_units, self.quantity)
        return included.units * self.quantity

    def _counted(self) -> int:
        return self.marks[-1].size if self.marks else 0

    def _mark(self, at: int, size: int, known: int) -> None:
        """Note what counts from an instant on; where it is not the item as it is, of what it was."""
        included = self._included()
        if size != self._wanted() and self.marks:
            included = self.marks[-1].included
        self.marks.append(Mark(at, included, size, known))


def _or(value: int | None, other: int) -> int:
    return other if value is None else value


def _opens(at: int, bill: Bill) -> int:
    return at if bill.paid is None else max(at, bill.paid)
