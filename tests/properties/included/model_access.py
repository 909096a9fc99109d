"""The plain model: whether the entitlement of an item is available at an instant."""

from __future__ import annotations

from tests.properties.included.model_windows import roots
from tests.properties.included.purchase import (
    DAY,
    Add,
    Begin,
    Bill,
    Cancel,
    Change,
    KeepOn,
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

SLACK = 72 * 3600


def is_available(purchase: Purchase, root: str, unit: str, prices: Prices, now: int) -> bool:
    """Whether the entitlement of an item, or of what took its place, is available at `now`."""
    reading = _Reading(purchase, root, unit, prices)
    for step in purchase.steps:
        if step.at <= now:
            reading.read(step)
    return reading.is_available(now)


class _Reading:
    """A subscription as one of its items has it, up to an instant."""

    def __init__(self, purchase: Purchase, root: str, unit: str, prices: Prices) -> None:
        self.names = {name for name, of in roots(purchase, unit, prices).items() if of == root}
        replaced = {step.new: step.old for step in purchase.steps if isinstance(step, Swap)}
        self.lineage = set(self.names)
        while root in replaced:
            root = replaced[root]
            self.lineage.add(root)
        self.prices = prices
        self.items: dict[str, tuple[str, int]] = {}
        self.end = 0
        self.latest: tuple[int, Bill] | None = None
        self.periods: list[tuple[int, int, Bill | None]] = []
        """Start, end and invoice of those of the subscription; a trial has none."""
        self.own: list[tuple[int, int, Bill | None]] = []
        self.changes: list[tuple[int, Bill]] = []
        """The invoices with a charge for the item, within a period."""
        self.waits = False
        self.pause: str | None = None
        self.is_over = self.leaves = False

    def read(self, step: Step) -> None:
        match step:
            case Begin():
                self.items = {name: (price, quantity) for name, price, quantity in step.items}
                self.latest = (step.at, step.bill)
                self._period(step.at, step.until, None if step.trial else step.bill)
            case Renew():
                self._invoice(step.at, step.bill)
                if not step.items or self.lineage & set(step.items):
                    self._period(step.at, step.until, step.bill)
            case Reset():
                self._invoice(step.at, step.bill)
                if step.item is not None:
                    self._change(step.item, step.price, step.quantity)
                self._period(step.at, step.until, step.bill)
            case Change() | Swap() | Add():
                self._changed(step)
            case Remove():
                self.items.pop(step.item)
            case TrialUntil():
                self.end = step.until
            case Pause():
                self.pause = step.behavior
            case Cancel():
                self.is_over = self.is_over or not step.at_period_end
                self.leaves = True
            case KeepOn():
                self.leaves = False

    def _period(self, at: int, until: int, bill: Bill | None) -> None:
        self.end = until
        self.periods.append((at, until, bill))
        if self.lineage & set(self.items):
            self.own.append((at, until, bill))

    def _invoice(self, at: int, bill: Bill) -> None:
        self.latest = (at, bill)
        if self.waits:
            self.changes.append((at, bill))
        self.waits = False

    def _change(self, item: str, price: str | None, quantity: int | None) -> None:
        before = self.items[item]
        self.items[item] = (price or before[0], before[1] if quantity is None else quantity)

    def _changed(self, step: Change | Swap | Add) -> None:
        match step:
            case Change():
                name = step.item
                self._change(name, step.price, step.quantity)
            case Swap():
                name = step.new
                del self.items[step.old]
                self.items[name] = (step.price, step.quantity)
            case Add():
                name = step.item
                self.items[name] = (step.price, step.quantity)
        if step.proration != "none" and name in self.lineage and self.items[name][1]:
            self.waits = True
        if step.bill is not None:
            self._invoice(step.at, step.bill)

    def is_available(self, now: int) -> bool:
        here = [self.items[name] for name in self.names if name in self.items]
        began = [each for each in self.periods if _is_paid(each, now)]
        if not here or self.is_over or self.pause == "void" or not began:
            return False
        ((price, quantity),) = here
        own = [each for each in self.own if _is_paid(each, now)]
        current = own[-1][2] if own else None
        if not quantity or (current is not None and current.is_refunded(now)):
            return False
        if self.leaves and now >= self.end:
            return False
        assert self.latest is not None
        made, bill = self.latest
        settled = bill.is_paid(now, made=made) or (bill.voided is not None and bill.voided <= now)
        if bill.failed is None or bill.failed > now or settled:
            return now < self.end + SLACK
        ends = [until for _start, until, of in own if of is not None]
        is_paid_for = ends or any(of.is_paid(now, made=at) for at, of in self.changes)
        grace_end = bill.failed + self.prices[price].grace_days * DAY
        return bool(is_paid_for) and now < max([grace_end, *ends[-1:]])


def _is_paid(period: tuple[int, int, Bill | None], now: int) -> bool:
    start, _end, bill = period
    return bill is None or bill.is_paid(now, made=start)
