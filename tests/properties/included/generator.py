"""Histories made at random, of the kinds in the abuse table, with calls on them."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from tests.properties.included.model_windows import months_after, roots, windows
from tests.properties.included.purchase import (
    DAY,
    Account,
    Add,
    Begin,
    Bill,
    Call,
    Cancel,
    Change,
    Commit,
    Consume,
    Included,
    KeepOn,
    Pack,
    Pause,
    Price,
    Prices,
    Purchase,
    Release,
    Remove,
    Renew,
    Reserve,
    Reset,
    Step,
    Swap,
    TrialUntil,
    utc,
)

HOUR = 3600
MONTHS = {"month": 1, "year": 12}


@dataclass
class Made:
    """A customer, and what is called and asked for, in order: an instant alone is one to show balances at."""

    account: Account
    script: list[Call | int]
    kinds: set[str]


def make(seed: str) -> Made:
    """The same for the same seed, on every machine."""
    chance = random.Random(seed)
    kinds: set[str] = set()
    prices = _prices(chance, kinds)
    start = utc("2027-01-01") + chance.randrange(90) * DAY + chance.choice((0, chance.randrange(DAY)))
    first = _Life(chance, prices, kinds, start)
    first.live()
    purchases = [Purchase("sub", tuple(first.steps))]
    course = chance.random()
    if course < 0.3:
        again = first.ended_at is not None
        kinds.add("cancel and resubscribe" if again else "two at once")
        at = (first.ended_at if again else None) or start
        second = _Life(chance, prices, kinds, at + chance.randrange(3 * DAY))
        second.live(trial=chance.random() < (0.9 if first.began_with_trial else 0.3))
        purchases.append(Purchase("again", tuple(second.steps)))
        if first.began_with_trial and second.began_with_trial and not again:
            kinds.add("two trials at once")
    packs = tuple(
        Pack(
            f"pack_{number}",
            chance.randrange(1, 400),
            start + chance.randrange(60 * DAY),
            chance.choice((None, start + chance.randrange(60, 120) * DAY)),
        )
        for number in range(chance.choice((0, 0, 1, 2)))
    )
    account = Account(prices, tuple(purchases), packs)
    return Made(account, _script(account, chance), kinds)


def _prices(chance: random.Random, kinds: set[str]) -> Prices:
    """Three monthly and two yearly prices whose windows have one step, and perhaps a second unit."""
    every = chance.choice(("period", "day", "week", "month", "month", "month"))
    rolls_over, at_most = chance.choice(((False, None), (False, None), (True, None), (True, 150)))
    kinds |= {f"every {every}", *({"rollover"} if rolls_over else set())}
    has_videos = chance.random() < 0.25
    grace_days = chance.choice((0, 3, 10))

    def price(code: str, units: int, interval: str) -> Price:
        trial_units = chance.choice((None, 30))
        images = Included(units, every, rolls_over, at_most, trial_units)
        videos = Included(units // 50 or 1, "month", unit="videos")
        included = (images, videos) if has_videos else (images,)
        return Price(included, code.upper(), interval, 20 * units, grace_days)

    monthly = {f"p{units}": price(f"p{units}", units, "month") for units in (100, 300, 1000)}
    yearly = {f"y{units}": price(f"y{units}", units, "year") for units in (100, 300)}
    for code, each in yearly.items():
        yearly[code] = replace(each, amount=each.amount * 10)
    return {**monthly, **yearly}


# --- a subscription --------------------------------------------------------------------------------------


@dataclass
class _Life:
    chance: random.Random
    prices: Prices
    kinds: set[str]
    now: int
    steps: list[Step] = field(default_factory=list)
    item: str = "a"
    price: str = ""
    quantity: int = 1
    had: int = 1
    """The quantity on the last invoice: one that follows on an invoice of nothing never fails."""
    extra: str | None = None
    anchor: int = 0
    number: int = 0
    """How many intervals after the anchor the running period begins."""
    span: tuple[int, int] = (0, 0)
    clear_at: int = 0
    """From when on nothing of the invoices that were made is open."""
    waiting: bool = False
    """Whether prorations wait for the next invoice."""
    mixed: set[int] = field(default_factory=set)
    """The steps whose invoice has prorations of other changes as well."""
    pause: str | None = None
    leaves: bool = False
    ended_at: int | None = None
    began_with_trial: bool = False
    given_back: bool = False

    @property
    def interval(self) -> str:
        return self.prices[self.price].interval

    def period_from(self, at: int, *, anew: bool) -> int:
        """The end of a period that begins at an instant: the anchor's next one, or one of a new anchor."""
        if anew:
            self.anchor, self.number = at, 0
        self.number += MONTHS[self.interval]
        self.span = (at, months_after(self.anchor, self.number))
        return self.span[1]

    def live(self, *, trial: bool | None = None) -> None:
        chance = self.chance
        self.price = chance.choice([code for code in self.prices if chance.random() < 0.8] or ["p300"])
        self.had = self.quantity = chance.choice((1, 1, 2, 5))
        if chance.random() < 0.25 if trial is None else trial:
            self._begin_with_trial()
        else:
            self._begin()
        for _ in range(chance.randrange(2, 7)):
            if self.ended_at is not None:
                return
            self._within_period()
            if self.ended_at is None:
                self._next_period()

    def _begin(self) -> None:
        at, late = self.now, self.chance.random()
        until = self.period_from(at, anew=True)
        bill = Bill(paid=at)
        if late < 0.1:
            bill = Bill(paid=at + self.chance.randrange(HOUR, 5 * DAY))
        elif late < 0.15:
            bill = Bill(free=True)
        self.steps.append(Begin(at, until, ((self.item, self.price, self.quantity),), bill))
        self.clear_at = max(at, bill.paid or at)

    def _begin_with_trial(self) -> None:
        at, chance = self.now, self.chance
        self.kinds.add("a trial")
        self.began_with_trial = True
        until = at + chance.randrange(3, 31) * DAY
        self.steps.append(
            Begin(at, until, ((self.item, self.price, self.quantity),), Bill(free=True), trial=True)
        )
        if chance.random() < 0.3:
            self.had = self.quantity = chance.choice((1, 3, 50))
            changed = at + chance.randrange(1, until - at)
            self.steps.append(Change(changed, self.item, quantity=self.quantity))
            self.kinds.add("seats in a trial")
            at = changed
        if chance.random() < 0.3:
            self.kinds.add("a trial ends at another time")
            moved = chance.randrange(at + 1, until + 1)
            until = chance.choice((moved, moved + chance.randrange(1, 10) * DAY))
            self.steps.append(TrialUntil(moved, until))
        end = self.period_from(until, anew=True)
        if chance.random() < 0.2:
            self.kinds.add("a trial that nobody pays for")
            failed = until + HOUR
            self.steps.append(Renew(until, end, Bill(failed=failed)))
            self._cancel(failed + chance.randrange(1, 9) * DAY)
            return
        paid = until + chance.choice((0, HOUR, HOUR))
        self.steps.append(Renew(until, end, Bill(paid=paid)))
        self.clear_at = paid

    # --- the next period ------------------------------------------------------------------------

    def _next_period(self) -> None:
        chance, at = self.chance, self.span[1]
        if self.leaves:
            self._cancel(at)
            return
        if chance.random() < 0.15 and self.extra is None:
            self.kinds.add("a scheduled change")
            self.price = chance.choice(self._same_interval())
            self.steps.append(Change(at, self.item, price=self.price, proration="none"))
        until = self.period_from(at, anew=False)
        self._note_invoice()
        self.waiting = self.given_back = False
        bill, course = self._bill_of_period(at, until), chance.random()
        self.had = self.quantity
        if bill.paid is None and self.pause is None:
            self.steps.append(Renew(at, until, bill))
            assert bill.failed is not None
            self._cancel(bill.failed + chance.randrange(1, 15) * DAY)
            return
        self.steps.append(Renew(at, until, bill))
        self.clear_at = max(at, bill.paid or at)
        if self.pause is not None and course < 0.6:
            resumed = chance.randrange(at + 1, until)
            self.steps.append(Pause(resumed, None))
            self.pause, self.clear_at = None, resumed

    def _bill_of_period(self, at: int, until: int) -> Bill:
        chance, course = self.chance, self.chance.random()
        if self.pause == "void":
            return Bill(voided=at)
        if self.pause is not None:
            return Bill()
        if course < 0.6 or not self.quantity or not self.had:
            return Bill(paid=at + HOUR)
        if course < 0.75:
            return Bill(paid=at)
        if course < 0.82:
            self.kinds.add("a late payment")
            return Bill(paid=at + chance.randrange(HOUR, 4 * DAY))
        if course < 0.93:
            self.kinds.add("a failed payment")
            return Bill(failed=at + HOUR, paid=at + HOUR + chance.randrange(1, 20 * DAY))
        if course < 0.96:
            self.kinds.add("paid in the next period")
            return Bill(paid=until + chance.randrange(HOUR, 5 * DAY))
        self.kinds.add("nobody pays")
        return Bill(failed=at + HOUR)

    def _cancel(self, at: int) -> None:
        self.kinds.add("a cancel")
        self.steps.append(Cancel(at))
        self.ended_at = at

    # --- within a period ------------------------------------------------------------------------

    def _within_period(self) -> None:
        chance = self.chance
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
            begun = max(self.clear_at, self.span[0]) + 1
            last_day = chance.random() < 0.1
            begun = max(begun, self.span[1] - DAY) if last_day else begun
            if begun >= self.span[1] - 1 or self.ended_at is not None or self.given_back:
                return
            at = chance.randrange(begun, self.span[1])
            if self.pause is not None:
                return
            self.clear_at = at
            step = chance.choices(
                (
                    self._seats,
                    self._plan,
                    self._swap,
                    self._reset,
                    self._extra,
                    self._pause,
                    self._leave,
                    self._refund,
                    self._to_and_fro,
                ),
                (5, 5, 3, 4, 2, 2, 2, 4, 2),
            )[0]
            if last_day:
                self.kinds.add("on the last day")
            step(at)

    def _seats(self, at: int) -> None:
        self.quantity = self.chance.choice([each for each in (0, 1, 2, 3, 5, 20) if each != self.quantity])
        self.kinds.add("other seats")
        self._changed(at, lambda **how: Change(at, self.item, quantity=self.quantity, **how))

    def _to_and_fro(self, at: int) -> None:
        """1 → 100 → 1."""
        before, self.quantity = self.quantity, 100
        self.kinds.add("1 to 100 to 1")
        self._changed(at, lambda **how: Change(at, self.item, quantity=100, **how))
        back = self.clear_at + self.chance.randrange(1, 2 * DAY)
        if back < self.span[1]:
            self.clear_at, self.quantity = back, before
            self._changed(back, lambda **how: Change(back, self.item, quantity=before, **how))

    def _plan(self, at: int) -> None:
        self.price = self.chance.choice(self._same_interval())
        self.kinds.add("another plan")
        self._changed(at, lambda **how: Change(at, self.item, price=self.price, **how))

    def _swap(self, at: int) -> None:
        if self.extra is not None:
            return
        old, self.item = self.item, f"s{len(self.steps)}"
        self.price = self.chance.choice(self._same_interval())
        self.quantity = self.chance.choice((1, 2))
        self.kinds.add("an item swapped")
        new, price, quantity = self.item, self.price, self.quantity
        self._changed(at, lambda **how: Swap(at, old, new, price, quantity, **how))

    def _changed(self, at: int, change: Callable[..., Step]) -> None:
        chance = self.chance
        proration = chance.choice(("none", "create", "create", "always", "always", "always"))
        self.kinds.add(f"proration {proration}")
        bill = None
        if proration == "always":
            bill = Bill(paid=at)
            late = at + chance.randrange(1, 5 * DAY)
            if self.had and chance.random() < 0.2 and late < self.span[1] - 1:
                self.kinds.add("a proration paid late")
                bill = Bill(failed=at, paid=late)
            self.clear_at = max(at, bill.paid or at)
            self.had = self.quantity
            self._note_invoice()
        self.waiting = proration == "create" or (self.waiting and proration == "none")
        self.steps.append(change(proration=proration, bill=bill))

    def _reset(self, at: int) -> None:
        """The interval changes, or the cycle begins anew."""
        if self.extra is not None or not self.quantity:
            return
        chance, before = self.chance, self.interval
        self.price = chance.choice(list(self.prices))
        quantity = chance.choice((None, None, 1, 3))
        self.quantity = self.quantity if quantity is None else quantity
        if self.interval != before:
            self.kinds.add(f"to a {self.interval}")
        credit = chance.random() < 0.7
        self.kinds.add("a reset with credit" if credit else "a reset without credit")
        until = self.period_from(at, anew=True)
        bill = Bill(paid=at)
        if self.had and chance.random() < 0.15:
            bill = Bill(failed=at, paid=at + chance.randrange(1, 4 * DAY))
        self.waiting, self.had = False, self.quantity
        self.steps.append(Reset(at, until, bill, credit, self.item, self.price, quantity))
        self.clear_at = max(at, bill.paid or at)

    def _extra(self, at: int) -> None:
        """One more item, or without the one that there is."""
        if self.extra is not None:
            self.steps.append(Remove(at, self.extra))
            self.extra = None
            return
        self.extra = f"x{len(self.steps)}"
        self.kinds.add("one more item")
        extra, price = self.extra, self.chance.choice(self._same_interval())
        self._changed(at, lambda **how: Add(at, extra, price, 2, **how))

    def _pause(self, at: int) -> None:
        behavior = self.chance.choice(("void", "keep_as_draft", "mark_uncollectible"))
        self.kinds.add(f"pause {behavior}")
        self.steps.append(Pause(at, behavior))
        self.pause = behavior
        if self.chance.random() < 0.3:
            resumed = self.chance.randrange(at, self.span[1])
            self.steps.append(Pause(resumed, None))
            self.pause, self.clear_at = None, resumed

    def _leave(self, at: int) -> None:
        if self.chance.random() < 0.3:
            self._cancel(at)
            return
        self.leaves = not self.leaves
        self.steps.append(Cancel(at, at_period_end=True) if self.leaves else KeepOn(at))
        self.kinds.add("a scheduled cancel")

    def _refund(self, at: int) -> None:
        """The latest invoice goes back, where it was of money and of nothing else."""
        index = max(number for number, step in enumerate(self.steps) if getattr(step, "bill", None))
        step: Any = self.steps[index]
        is_period = isinstance(step, Begin | Renew)
        if step.bill.free or step.bill.paid is None or step.bill.refunded is not None:
            return
        if index in self.mixed or (is_period and not (self.quantity and self.had)):
            return
        if not is_period and not self._is_rise(index):
            return
        self.kinds.add("a period given back" if is_period else "a rise given back")
        self.steps[index] = replace(step, bill=replace(step.bill, refunded=at))
        self.given_back = is_period

    def _note_invoice(self) -> None:
        """Note whether prorations wait for the invoice of the step that comes next."""
        if self.waiting:
            self.mixed.add(len(self.steps))

    def _is_rise(self, index: int) -> bool:
        """Whether an invoice is of more seats and of nothing else."""
        step = self.steps[index]
        if not isinstance(step, Change) or not step.quantity:
            return False
        for each in reversed(self.steps[:index]):
            match each:
                case Begin(items=items):
                    return items[0][2] < step.quantity
                case Swap(new=step.item, quantity=before):
                    return before < step.quantity
                case Change(item=step.item, quantity=int(before)) | Reset(quantity=int(before)):
                    return before < step.quantity
        return False

    def _same_interval(self) -> list[str]:
        return [code for code, price in self.prices.items() if price.interval == self.interval]


# --- calls -----------------------------------------------------------------------------------------------


def _script(account: Account, chance: random.Random) -> list[Call | int]:
    """Calls around what happens and at any time; what is reserved is mostly committed or released."""
    instants = sorted({at for purchase in account.purchases for at in _instants(purchase)})
    first, last = instants[0], instants[-1] + 10 * DAY
    edges = [at + more for at in instants for more in (-1, 0, 1, HOUR)]
    times = sorted(
        chance.choice((chance.choice(edges), chance.randrange(first, last)))
        for _ in range(chance.randrange(15, 40))
    )
    openings = _openings(account, last)
    found: list[tuple[int, int, Call | int]] = []
    for number, at in enumerate(times):
        units = chance.choice((1, 20, 90, 150, 400, 1200, chance.randrange(1, 3000)))
        what = chance.random()
        unit = "videos" if chance.random() < 0.1 and _has_videos(account) else "images"
        if what < 0.35:
            found.append((at, number, at))
        elif what < 0.8:
            found.append((at, number, Consume(at, units, unit)))
        else:
            seconds = chance.choice((600, HOUR, DAY))
            found.append((at, number, Reserve(at, f"r{number}", units, seconds, unit)))
            closed = at + chance.randrange(2 * seconds)
            if any(at < opens <= max(closed, at + seconds) for opens in openings):
                # When a release counts for what comes off the next window is left to the calls.
                found.append((at + seconds - 1, number, Commit(at + seconds - 1, f"r{number}", units)))
            elif chance.random() < 0.8:
                part = chance.randrange(units + 1)
                close = (
                    Commit(closed, f"r{number}", part)
                    if chance.random() < 0.6
                    else Release(closed, f"r{number}")
                )
                found.append((closed, number, close))
    return [each for _at, _number, each in sorted(found, key=lambda each: each[:2])]


def _has_videos(account: Account) -> bool:
    return any(price.includes("videos") for price in account.prices.values())


def _openings(account: Account, last: int) -> set[int]:
    """When windows open of subscriptions of which something may come off the next one."""
    found = set()
    for purchase in account.purchases:
        if any(isinstance(step, Change | Swap | Reset) for step in purchase.steps):
            for root in set(roots(purchase, "images", account.prices).values()):
                opened = windows(purchase, root, "images", account.prices, last)
                found |= {window.opens for window in opened}
    return found


def _instants(purchase: Purchase) -> list[int]:
    found = []
    for step in purchase.steps:
        bill: Bill | None = getattr(step, "bill", None)
        found += [step.at, *((bill.paid,) if bill is not None and bill.paid is not None else ())]
    return found
