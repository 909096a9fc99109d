"""What Stripe sends about a history, as facts: each event in the second in which it happened."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from tests.properties.fixtures_projection import Fact, History, received
from tests.properties.histories.billing import Invoice, InvoiceLine
from tests.properties.histories.catalog import Catalog, Sold
from tests.properties.histories.emitter import Emitter
from tests.properties.histories.life import Life, Names
from tests.properties.histories.subscription import Item, Subscription
from tests.properties.included.purchase import (
    Add,
    Begin,
    Bill,
    Cancel,
    Change,
    Included,
    KeepOn,
    Pause,
    Price,
    Prices,
    Purchase,
    Remove,
    Renew,
    Reset,
    Step,
    Swap,
    TrialUntil,
)

Changing: TypeAlias = Change | Swap | Add


class Action(NamedTuple):
    """What happens at an instant; in one second, what belongs to an earlier step comes first."""

    at: int
    step: int
    number: int
    act: Any


def item_id(purchase: Purchase, item: str) -> str:
    """What Stripe calls an item."""
    return f"{item}_{purchase.name}"


def facts_of(purchase: Purchase, prices: Prices, chance: random.Random | None = None) -> list[Fact]:
    """All facts of a subscription, in their true order; `chance` decides in which shape Stripe sends them."""
    life = life_of(purchase, prices, chance or random.Random(purchase.name))
    return received(life.events, History({}, [life]), life)


def by(facts: Sequence[Fact], now: int) -> list[Fact]:
    """Those that had happened by an instant."""
    return [fact for fact in facts if fact.occurred_at.timestamp() <= now]


def as_sold(code: str, price: Price) -> Sold:
    """The terms of a price, as a fact has them."""
    return {
        "kind": "subscription",
        "product_code": price.product,
        "stripe_price_id": code,
        "units": None,
        "duration_seconds": None,
        "features": [],
        "grace_days": price.grace_days,
        "included": [_as_terms(each) for each in price.included],
        "version": 1,
    }


def _as_terms(included: Included) -> dict[str, Any]:
    terms: dict[str, Any] = {
        "unit": included.unit,
        "units": included.units,
        "every": included.every,
        "rollover": {"at_most": included.at_most} if included.rolls_over else None,
    }
    return terms if included.trial_units is None else terms | {"trial_units": included.trial_units}


def life_of(purchase: Purchase, prices: Prices, chance: random.Random) -> Life:
    """The events of a subscription."""
    sold = {code: as_sold(code, price) for code, price in prices.items()}
    yearly = {code for code, price in prices.items() if price.interval == "year"}
    names = Names(purchase.name, f"att_{purchase.name}", f"cs_{purchase.name}", tuple(prices))
    emitter = _ExactEmitter(chance, names, Catalog(sold, yearly), spread=False)
    emitter.now = purchase.steps[0].at
    writer = _Writer(_Subscription(emitter), prices)
    actions = [
        Action(step.at, number, -1, partial(writer.apply, step)) for number, step in enumerate(purchase.steps)
    ]
    waiting = sorted(actions, key=lambda each: each[:3])
    while waiting:
        action = waiting.pop(0)
        emitter.now = action.at
        for number, (at, act) in enumerate(action.act() or ()):
            waiting.append(Action(at, action.step, number, act))
        waiting.sort(key=lambda each: each[:3])
    return emitter.life


class _ExactEmitter(Emitter):
    def pass_second(self) -> None:
        """Everything is sent in the second of its own."""

    def refund(self, invoice: Invoice) -> None:
        """All that was paid for an invoice goes back."""
        assert invoice.amount > 0
        self.paid_back[invoice.number] = invoice.amount
        self._emit_refund(invoice.number, 0, invoice.amount, "succeeded", self.now)
        self._emit_charge(invoice.number, invoice.amount)


class _Subscription(Subscription):
    """One with an anchor, whose lines name their items."""

    anchor = 0

    def __init__(self, emitter: _ExactEmitter) -> None:
        super().__init__(emitter)
        self.lines_name = "item"

    def as_object(self) -> dict[str, Any]:
        obj = super().as_object()
        for row in obj["items"]["data"]:
            row["price"] = {**row["price"], "product": f"prod_{row['price']['id']}"}
        return {**obj, "billing_cycle_anchor": self.anchor}


@dataclass
class _Writer:
    subscription: _Subscription
    prices: Prices

    def __post_init__(self) -> None:
        self.waiting: list[InvoiceLine] = []
        """Prorations that the next invoice will have."""

    # --- steps ----------------------------------------------------------------------------------

    def apply(self, step: Step) -> list[tuple[int, Any]]:
        """What follows from a step: instants, with what happens then to its invoice."""
        subscription = self.subscription
        match step:
            case Begin():
                return self._begin(step)
            case Renew(items=names):
                due = names or tuple(subscription.items)
                lines = self._new_period(step.at, step.until, due, {})
                return self._invoiced("subscription_cycle", [*self._taken(), *lines], step.bill)
            case Reset():
                return self._reset(step)
            case Change() | Swap() | Add():
                return self._change(step)
            case Remove(item=gone):
                left = {name: item for name, item in subscription.items.items() if name != gone}
                subscription.change(items=left)
            case TrialUntil(until=until):
                subscription.anchor = until
                items = {name: replace(each, end=until) for name, each in subscription.items.items()}
                subscription.change(items=items, trial_end=until)
            case Pause(behavior=behavior):
                paused = None if behavior is None else {"behavior": behavior, "resumes_at": None}
                subscription.change(pause_collection=paused)
            case Cancel(at_period_end=True):
                subscription.change(cancel_at_period_end=True)
            case Cancel():
                subscription.state |= {"status": "canceled", "ended_at": step.at}
                subscription.emit("deleted")
            case KeepOn():
                subscription.change(cancel_at_period_end=False)
        return []

    def _begin(self, step: Begin) -> list[tuple[int, Any]]:
        subscription = self.subscription
        subscription.began = step.at
        subscription.anchor = step.until if step.trial else step.at
        subscription.items = {
            name: Item(price, quantity, step.at, step.until) for name, price, quantity in step.items
        }
        subscription.first_items = set(subscription.items)
        lines = self._lines(tuple(subscription.items), free=step.trial or step.bill.free)
        invoice = subscription.make_invoice("subscription_create", lines)
        if step.trial:
            subscription.state |= {"status": "trialing", "trial_end": step.until}
            subscription.emit("created")
        elif step.bill.is_paid(step.at, made=step.at):
            subscription.emit("created")
            subscription.change(status="active")
        else:
            subscription.state |= {"status": "active", "collection_method": "send_invoice"}
            subscription.emit("created")
        return self._follow(invoice, step.bill)

    def _reset(self, step: Reset) -> list[tuple[int, Any]]:
        subscription = self.subscription
        credits = []
        if step.credit:
            credits = [
                self._share(name, each.price, each.quantity, each, credit=True)
                for name, each in subscription.items.items()
                if each.quantity
            ]
        subscription.anchor = step.at
        changed: dict[str, Any] = {}
        if step.price is not None:
            changed["price"] = step.price
        if step.quantity is not None:
            changed["quantity"] = step.quantity
        names = tuple(subscription.items)
        lines = self._new_period(step.at, step.until, names, {step.item: changed} if step.item else {})
        return self._invoiced("subscription_update", [*self._taken(), *credits, *lines], step.bill)

    def _change(self, step: Changing) -> list[tuple[int, Any]]:
        subscription = self.subscription
        before = dict(subscription.items)
        match step:
            case Change(item=name):
                old, gone = before[name], name
                price = step.price or old.price
                quantity = old.quantity if step.quantity is None else step.quantity
            case Swap(old=gone, new=name):
                old, price, quantity = before[gone], step.price, step.quantity
                subscription.replaced[name] = gone
            case Add(item=name):
                like = next(iter(before.values()))
                old, gone = replace(like, quantity=0), name
                price, quantity = step.price, step.quantity
        items = {each: item for each, item in before.items() if each != gone}
        items[name] = replace(old, price=price, quantity=quantity)
        if step.proration != "none" and subscription.status != "trialing":
            if old.quantity:
                self.waiting.append(self._share(gone, old.price, old.quantity, old, credit=True))
            if quantity:
                self.waiting.append(self._share(name, price, quantity, old, credit=False))
        if step.proration != "always" or step.bill is None:
            subscription.change(items=items)
            return []
        invoice = subscription.make_invoice("subscription_update", self._taken())
        subscription.change(items=items)
        return self._follow(invoice, step.bill)

    # --- invoices -------------------------------------------------------------------------------

    def _new_period(
        self, at: int, until: int, names: tuple[str, ...], changed: dict[str, dict[str, Any]]
    ) -> list[InvoiceLine]:
        """The lines of the periods that begin; the items have them from now on."""
        subscription = self.subscription
        self.items = {
            name: replace(item, start=at, end=until, **changed.get(name, {})) if name in names else item
            for name, item in subscription.items.items()
        }
        before, subscription.items = subscription.items, self.items
        lines = self._lines(names, free=False)
        subscription.items = before
        return lines

    def _invoiced(self, reason: str, lines: list[InvoiceLine], bill: Bill) -> list[tuple[int, Any]]:
        subscription = self.subscription
        if bill.free:
            lines = [replace(line, amount=0) for line in lines]
        invoice = subscription.make_invoice(reason, lines)
        status = "active" if subscription.status == "trialing" else subscription.status
        subscription.change(items=self.items, status=status)
        return self._follow(invoice, bill)

    def _follow(self, invoice: Invoice, bill: Bill) -> list[tuple[int, Any]]:
        made = invoice.created
        follows: list[tuple[int | None, Any]] = [
            (bill.failed, partial(self._fail, invoice)),
            (made if bill.free else bill.paid, partial(self._pay, invoice)),
            (bill.voided, partial(self._void, invoice)),
            (bill.refunded, partial(self._refund, invoice)),
        ]
        return [(at, act) for at, act in follows if at is not None]

    def _pay(self, invoice: Invoice) -> None:
        self.subscription.pay(invoice)
        self._settle(invoice)

    def _fail(self, invoice: Invoice) -> None:
        self.subscription.fail(invoice)
        if self.subscription.current_bill is invoice and self.subscription.status != "canceled":
            self.subscription.change(status="past_due")

    def _void(self, invoice: Invoice) -> None:
        invoice.status = "void"
        self.subscription.emit_invoice(invoice, "voided")
        self._settle(invoice)

    def _settle(self, invoice: Invoice) -> None:
        if self.subscription.current_bill is invoice and self.subscription.status == "past_due":
            self.subscription.change(status="active")

    def _refund(self, invoice: Invoice) -> None:
        emitter = self.subscription.emitter
        assert isinstance(emitter, _ExactEmitter)
        emitter.refund(invoice)

    def _taken(self) -> list[InvoiceLine]:
        taken, self.waiting = self.waiting, []
        return taken

    def _lines(self, names: tuple[str, ...], *, free: bool) -> list[InvoiceLine]:
        items = ((name, self.subscription.items[name]) for name in names)
        return [
            InvoiceLine(
                name,
                item.price,
                item.quantity,
                item.start,
                item.end,
                0 if free else self.prices[item.price].amount * item.quantity,
            )
            for name, item in items
        ]

    def _share(self, name: str, price: str, quantity: int, item: Item, *, credit: bool) -> InvoiceLine:
        """What an item costs for the rest of its period, or is worth."""
        now = self.subscription.emitter.now
        whole = self.prices[price].amount * quantity
        # What is charged for more is more than what is given back, however short the rest is.
        amount = whole * max(0, item.end - now) // (item.end - item.start) + (1 if credit else 2)
        sign = -1 if credit else 1
        return InvoiceLine(name, price, quantity, now, max(item.end, now + 1), sign * amount, proration=True)
