"""Lives of purchases as Stripe would tell them, made from a seed: the events in order, and how it ended."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.invoice_lines import period_line

START = 1_790_000_000
DAY = 86_400
MONTH = 30 * DAY
PRICE = 1200
GRACE_DAYS = 3
NEW, OLD = "2026-10-28.endive", "2020-03-02"
OPEN_DISPUTE = {"needs_response", "under_review"}


@dataclass(frozen=True)
class Names:
    """What the objects of one purchase are called, and the prices that are mapped to products."""

    tag: str
    attempt: str
    session: str
    prices: tuple[str, ...]
    quantity: int = 1

    @property
    def subscription(self) -> str:
        return f"sub_{self.tag}"


@dataclass
class Life:
    """One purchase: what Stripe told of it, and what is true in the end."""

    names: Names
    shape: str
    events: list[dict[str, Any]] = field(default_factory=list)
    snapshots: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    """Second, number of events by then, and the subscription with its latest invoice."""
    ended_at: int = START
    entitled: dict[str, bool] = field(default_factory=dict)
    """By item, whether a fair judge would let the buyer in at `ended_at`; none when nothing was granted."""

    @property
    def has_tie(self) -> bool:
        """Whether two events of the subscription share a second."""
        seconds = [e["created"] for e in self.events if e["type"].startswith("customer.subscription.")]
        return len(seconds) > len(set(seconds))

    @property
    def takes_back(self) -> bool:
        return any(e["type"].startswith(("charge.", "refund.")) for e in self.events)

    @property
    def deleted(self) -> dict[str, Any] | None:
        found = (e for e in self.events if e["type"] == "customer.subscription.deleted")
        return next(found, None)


class _Emitter:
    """Stripe's clock and voice. With `spread`, no two events share a second."""

    def __init__(self, chance: random.Random, names: Names, *, spread: bool) -> None:
        self.chance, self.names, self.spread = chance, names, spread
        self.life = Life(names, chance.choice((NEW, OLD)))
        self.now = START + chance.randrange(DAY)
        self.paid_back: dict[int, int] = {}
        self.disputes: dict[int, str] = {}

    @property
    def newer(self) -> bool:
        return self.life.shape == NEW

    def emit(self, kind: str, obj: dict[str, Any], previous: dict[str, Any] | None = None) -> None:
        if self.spread or self.chance.random() < 0.2:
            self.now += 1
        data: dict[str, Any] = {"object": obj}
        if previous is not None:
            data["previous_attributes"] = previous
        number = len(self.life.events)
        # Stripe's ids say nothing of the order.
        event_id = f"evt_{self.chance.getrandbits(40):010x}{self.names.tag}{number}"
        self.life.events.append(
            {
                "id": event_id,
                "object": "event",
                "api_version": self.life.shape,
                "created": self.now,
                "livemode": False,
                "type": kind,
                "data": data,
            }
        )

    def wait(self, most: int) -> None:
        self.now += self.chance.randrange(1, most)

    # --- money back: of payment number n ---------------------------------------------------------

    def payment(self, n: int) -> dict[str, str]:
        return {"payment_intent": f"pi_{self.names.tag}_{n}", "charge": f"ch_{self.names.tag}_{n}"}

    def give_back(self, n: int, whole: int) -> None:
        """One refund, or two that come to the whole, of which any may fail later."""
        part = self.chance.choice((whole, whole, whole // 2))
        parts = [part] if part == whole or self.chance.random() < 0.5 else [part, whole - part]
        for number, amount in enumerate(parts):
            self.wait(DAY)
            made = self.now + (1 if self.spread else 0)
            self.paid_back[n] = self.paid_back.get(n, 0) + amount
            self._emit_refund(n, number, amount, "succeeded", made)
            if self.chance.random() < 0.8:
                self._emit_charge(n, whole)
            if self.chance.random() < 0.25:
                self.wait(3 * DAY)
                self.paid_back[n] -= amount
                self._emit_refund(n, number, amount, "failed", made)

    def _emit_refund(self, n: int, number: int, amount: int, status: str, made: int) -> None:
        obj = {
            "id": f"re_{self.names.tag}_{n}_{number}",
            "object": "refund",
            "amount": amount,
            "status": status,
            "created": made,
            **self.payment(n),
        }
        kinds = ["refund.created"] if status == "succeeded" else ["refund.failed", "refund.updated"]
        for kind in [*(kinds if self.newer else []), "charge.refund.updated"]:
            self.emit(kind, obj)

    def _emit_charge(self, n: int, whole: int) -> None:
        named = self.payment(n)
        obj = {
            "id": named["charge"],
            "object": "charge",
            "payment_intent": named["payment_intent"],
            "amount": whole,
            "amount_refunded": self.paid_back[n],
        }
        self.emit("charge.refunded", obj)

    def dispute(self, n: int) -> None:
        course = self.chance.choice(
            (
                ("needs_response",),
                ("needs_response", "under_review", "won"),
                ("needs_response", "lost"),
                ("warning_needs_response", "warning_closed"),
                ("warning_needs_response", "needs_response", "lost"),
            )
        )
        for step, status in enumerate(course):
            self.wait(5 * DAY)
            self.disputes[n] = status
            obj = {
                "id": f"dp_{self.names.tag}_{n}",
                "object": "dispute",
                "amount": PRICE,
                "status": status,
                **self.payment(n),
            }
            closed = status in {"won", "lost", "warning_closed"}
            kind = "created" if step == 0 else "closed" if closed else "updated"
            self.emit(f"charge.dispute.{kind}", obj)

    def taken(self, n: int, whole: int) -> bool:
        return (whole > 0 and self.paid_back.get(n, 0) >= whole) or self.disputes.get(n, "") in {
            *OPEN_DISPUTE,
            "lost",
        }

    def session(
        self, *, paid: str = "paid", event_name: str = "completed", subscription: bool = False
    ) -> None:
        obj = {
            "id": self.names.session,
            "object": "checkout.session",
            "mode": "subscription" if subscription else "payment",
            "status": "complete",
            "payment_status": paid,
            "subscription": self.names.subscription if subscription else None,
            "payment_intent": None if subscription else self.payment(1)["payment_intent"],
            "customer": f"cus_{self.names.tag}",
            "amount_total": PRICE * self.names.quantity,
            "currency": "usd",
            "metadata": {"licenzy_attempt": self.names.attempt},
        }
        self.emit(f"checkout.session.{event_name}", obj)


def one_time_life(chance: random.Random, names: Names, *, spread: bool, lasts: int | None = None) -> Life:
    """A pack or a pass: paid at once or by a slow debit, perhaps given back. A pass lasts some seconds."""
    emitter = _Emitter(chance, names, spread=spread)
    whole = PRICE * names.quantity
    settled = True
    if chance.random() < 0.25:
        emitter.session(paid="unpaid")
        emitter.wait(4 * DAY)
        settled = chance.random() < 0.7
        kind = "async_payment_succeeded" if settled else "async_payment_failed"
        emitter.session(paid="paid" if settled else "unpaid", event_name=kind)
    else:
        emitter.session()
    paid_at = emitter.now
    if settled and chance.random() < 0.5:
        emitter.give_back(1, whole)
    if settled and chance.random() < 0.4:
        emitter.dispute(1)
    emitter.life.ended_at = emitter.now
    if settled:
        over = lasts is not None and emitter.now >= paid_at + lasts * names.quantity
        emitter.life.entitled[""] = not over and not emitter.taken(1, whole)
    return emitter.life


def subscription_life(chance: random.Random, names: Names, *, spread: bool) -> Life:
    """A subscription from its first second through a handful of things that happen to one."""
    return _Subscription(_Emitter(chance, names, spread=spread)).lived()


class _Subscription:
    def __init__(self, emitter: _Emitter) -> None:
        self.emitter, self.chance, self.names = emitter, emitter.chance, emitter.names
        self.period = 1
        self.begins = self.anchor = emitter.now
        self.ends = self.begins + MONTH
        self.state: dict[str, Any] = {
            "status": "incomplete",
            "items": {"si": self.names.prices[0]},
            "quantity": self.names.quantity,
            "cancel_at": None,
            "cancel_at_period_end": False,
            "pause_collection": None,
            "trial_end": None,
            "ended_at": None,
        }
        self.billed: dict[int, dict[str, str]] = {}
        """The items and prices on the invoice of each period."""
        self.end_of: dict[int, int] = {}
        self.unmapped: dict[str, int] = {}
        """Items that were changed to a price of no product, and until when they were paid for by then."""
        self.last: dict[str, Any] | None = None
        self.paid: set[int] = set()
        self.zero: set[int] = set()
        self.failed_at: int | None = None

    def lived(self) -> Life:
        if self.begin():
            for _ in range(self.chance.randrange(1, 6)):
                if self.state["status"] in {"canceled", "unpaid"}:
                    break
                self.chance.choice(self.what_may_happen())()
                if self.chance.random() < 0.15:
                    self.snapshot()
            if self.chance.random() < 0.4:
                self.delete()
            elif self.state["status"] == "active":
                self.chance.choice((self.flurry, self.back_and_forth, lambda: None))()
        if self.chance.random() < 0.5:
            self.emitter.wait(5 * DAY)
        self.snapshot()
        self.judge()
        return self.emitter.life

    def begin(self) -> bool:
        """Created and paid for, in trial, or never paid: whether it lives."""
        start = self.chance.random()
        if start < 0.05:
            self.emit("created")
            self.emitter.wait(DAY)
            self.change("updated", status="incomplete_expired")
            return False
        if start < 0.2:
            self.state |= {"status": "trialing", "trial_end": self.ends}
            self.zero.add(1)
            self.emit("created")
        else:
            self.emit("created")
            self.change("updated", status="active")
        self.pay()
        self.emitter.session(subscription=True)
        return True

    def what_may_happen(self) -> list[Callable[[], None]]:
        if self.state["status"] == "past_due":
            return [self.recover, self.recover, self.fail_again, self.fail_again, self.give_up]
        if self.state["status"] == "paused":
            return [self.resume]
        always = [self.renew, self.renew, self.fail, self.plan, self.items, self.flurry, self.collect]
        money = [] if self.period in self.zero else [self.money_back, self.money_back, self.old_money_back]
        return [*always, self.pause, self.call_off if self.leaving else self.leave, *money]

    @property
    def leaving(self) -> bool:
        return self.state["cancel_at"] is not None or self.state["cancel_at_period_end"]

    # --- what happens ---------------------------------------------------------------------------

    def renew(self) -> None:
        if self.leaving:
            self.emitter.now = max(self.emitter.now, self.state["cancel_at"] or self.ends)
            return self.delete()
        self.roll_over()
        self.emitter.wait(7200)
        self.pay()
        return None

    def fail(self) -> None:
        if self.leaving:
            return
        self.roll_over()
        self.emitter.wait(7200)
        self.failed_at = self.emitter.now + (1 if self.emitter.spread else 0)
        self.emit_invoice("payment_failed")
        self.failed_at = self.emitter.now
        self.change("updated", status="past_due")

    def fail_again(self) -> None:
        self.emitter.wait(2 * DAY)
        self.emit_invoice("payment_failed")

    def recover(self) -> None:
        self.emitter.wait(2 * DAY)
        self.pay()
        self.change("updated", status="active")

    def give_up(self) -> None:
        self.emitter.wait(9 * DAY)
        if self.chance.random() < 0.5:
            self.change("updated", status="unpaid")
        else:
            self.delete()

    def pause(self) -> None:
        self.emitter.wait(DAY)
        self.change("updated", status="paused")
        self.emit("paused")

    def resume(self) -> None:
        self.emitter.wait(DAY)
        self.change("updated", status="active")
        self.emit("resumed")

    def collect(self) -> None:
        self.emitter.wait(DAY)
        behavior = self.chance.choice(("void", "keep_as_draft"))
        self.change("updated", pause_collection={"behavior": behavior, "resumes_at": None})
        if self.chance.random() < 0.7:
            if self.chance.random() < 0.5:
                self.emitter.wait(DAY)
            self.change("updated", pause_collection=None)

    def leave(self) -> None:
        self.emitter.wait(DAY)
        if self.chance.random() < 0.5:
            self.change("updated", cancel_at_period_end=True)
        else:
            self.change("updated", cancel_at=self.emitter.now + 9 * DAY)
        if self.chance.random() < 0.3:
            self.call_off()

    def call_off(self) -> None:
        self.change("updated", cancel_at=None, cancel_at_period_end=False)

    def plan(self) -> None:
        self.emitter.wait(DAY)
        self.change("updated", items={**self.state["items"], "si": self.chance.choice(self.prices)})

    def items(self) -> None:
        self.emitter.wait(DAY)
        items = dict(self.state["items"])
        if "sx" in items:
            del items["sx"]
        else:
            items["sx"] = self.names.prices[-1]
        self.change("updated", items=items)

    def back_and_forth(self) -> None:
        """A change and its opposite in one second: nothing that is told orders the two."""
        self.emitter.wait(DAY)
        self.change("updated", cancel_at_period_end=not self.state["cancel_at_period_end"])
        self.change("updated", cancel_at_period_end=not self.state["cancel_at_period_end"])
        if self.chance.random() < 0.5:
            self.change("updated", cancel_at_period_end=not self.state["cancel_at_period_end"])

    def flurry(self) -> None:
        """Two changes in one second, as a script of the merchant's makes them."""
        self.emitter.wait(DAY)
        self.change("updated", quantity=self.chance.randrange(1, 9))
        self.change("updated", items={**self.state["items"], "si": self.chance.choice(self.prices)})

    def money_back(self) -> None:
        self._money_back(self.period)

    def old_money_back(self) -> None:
        """Of a period that has passed; the present one where there is none."""
        self._money_back(self.chance.choice(sorted(self.paid - self.zero)))

    def _money_back(self, n: int) -> None:
        if n in self.emitter.paid_back or n in self.emitter.disputes or n not in self.paid:
            return
        if self.chance.random() < 0.6:
            self.emitter.give_back(n, PRICE)
        else:
            self.emitter.dispute(n)

    def delete(self) -> None:
        if self.state["status"] == "canceled":
            return
        self.emitter.wait(DAY)
        at = self.emitter.now + (1 if self.emitter.spread else 0)
        self.state |= {"status": "canceled", "ended_at": at}
        self.emit("deleted")

    # --- how it is told -------------------------------------------------------------------------

    @property
    def prices(self) -> tuple[str, ...]:
        return (*self.names.prices, *self.names.prices, "price_of_nothing")

    def roll_over(self) -> None:
        self.emitter.now = max(self.emitter.now + 1, self.ends)
        self.period += 1
        self.begins, self.ends = self.emitter.now, self.emitter.now + MONTH
        self.change("updated", status="active")

    def change(self, event_name: str, **changes: Any) -> None:
        before = self.last or {}
        self.note_unmapped(changes.get("items", {}))
        self.state |= changes
        now = self.obj()
        previous = {name: value for name, value in before.items() if now[name] != value}
        if previous:
            self.emit(event_name, previous)

    def note_unmapped(self, items: dict[str, str]) -> None:
        for name, price in items.items():
            if price in self.names.prices:
                self.unmapped.pop(name, None)
            elif name not in self.unmapped:
                self.unmapped[name] = self.end_of[max(self.paid_periods(name), default=self.period)]

    def paid_periods(self, name: str) -> set[int]:
        return {n for n in self.paid if name in self.billed[n]}

    def emit(self, event_name: str, previous: dict[str, Any] | None = None) -> None:
        self.last = self.obj()
        self.emitter.emit(f"customer.subscription.{event_name}", self.last, previous)

    def pay(self) -> None:
        self.paid.add(self.period)
        self.failed_at = None
        self.emit_invoice("paid")
        if self.chance.random() < 0.5:
            self.emit_invoice("payment_succeeded")
        if self.emitter.newer:
            payment = {"type": "payment_intent", **self.emitter.payment(self.period)}
            obj = {
                "id": f"inpay_{self.names.tag}_{self.period}",
                "object": "invoice_payment",
                "invoice": self.invoice_id(),
                "payment": payment,
                "status": "paid",
            }
            self.emitter.emit("invoice_payment.paid", obj)

    def emit_invoice(self, outcome: str) -> None:
        self.emitter.emit(f"invoice.{outcome}", self.invoice_obj())

    def invoice_id(self) -> str:
        return f"in_{self.names.tag}_{self.period}"

    def lines(self, amount: int) -> list[dict[str, Any]]:
        items = self.billed.setdefault(self.period, dict(self.state["items"]))
        self.end_of.setdefault(self.period, self.ends)
        span, newer = (self.begins, self.ends), self.emitter.newer
        return [
            period_line(f"{name}_{self.names.tag}", price, *span, newer=newer, amount=amount)
            for name, price in items.items()
        ]

    def invoice_obj(self) -> dict[str, Any]:
        paid = self.period in self.paid
        amount = 0 if self.period in self.zero else PRICE
        obj = {
            "id": self.invoice_id(),
            "object": "invoice",
            "status": "paid" if paid else "open",
            "billing_reason": "subscription_create" if self.period == 1 else "subscription_cycle",
            "amount_due": amount,
            "amount_paid": amount if paid else 0,
            "currency": "usd",
            "customer": f"cus_{self.names.tag}",
            "lines": {"object": "list", "has_more": False, "data": self.lines(amount)},
        }
        if self.emitter.newer:
            details = {"subscription": self.names.subscription, "metadata": {}}
            return {**obj, "parent": {"subscription_details": details}}
        return {**obj, "subscription": self.names.subscription, **self.emitter.payment(self.period)}

    def obj(self) -> dict[str, Any]:
        bounds = {"current_period_start": self.begins, "current_period_end": self.ends}
        on_item, on_top = (bounds, {}) if self.emitter.newer else ({}, bounds)
        rows = [
            {
                "id": f"{name}_{self.names.tag}",
                "price": {"id": price},
                "quantity": self.state["quantity"],
                **on_item,
            }
            for name, price in self.state["items"].items()
        ]
        told = {name: value for name, value in self.state.items() if name not in {"items", "quantity"}}
        return {
            "id": self.names.subscription,
            "object": "subscription",
            "customer": f"cus_{self.names.tag}",
            "items": {"object": "list", "data": rows},
            "canceled_at": self.state["ended_at"],
            "start_date": self.anchor,
            "latest_invoice": self.invoice_id(),
            "metadata": {"licenzy_attempt": self.names.attempt},
            **on_top,
            **told,
        }

    def snapshot(self) -> None:
        read = {**self.obj(), "latest_invoice": self.invoice_obj()}
        self.emitter.life.snapshots.append((self.emitter.now, len(self.emitter.life.events), read))
        self.emitter.life.ended_at = self.emitter.now

    def judge(self) -> None:
        """What a person who knows everything would say, item by item, at the end."""
        if self.state["status"] in {"incomplete", "incomplete_expired"}:
            return
        at, state = self.emitter.now, self.state
        until = state["cancel_at"] or (self.ends if state["cancel_at_period_end"] else None)
        good = state["status"] in {"active", "trialing"} and (until is None or at < until)
        if state["status"] == "past_due":
            assert self.failed_at is not None
            good = at < self.failed_at + GRACE_DAYS * DAY
        if (state["pause_collection"] or {}).get("behavior") == "void":
            good = False
        for name in state["items"]:
            item = f"{name}_{self.names.tag}"
            self.emitter.life.entitled[item] = good and self.is_good(name, at)

    def is_good(self, name: str, at: int) -> bool:
        """Whether an item gives access in a subscription that does."""
        if name in self.unmapped and at >= self.unmapped[name]:
            return False
        if self.state["status"] == "past_due":
            # A trial was never paid for, and neither was what was added since the last payment.
            last = max(self.paid)
            if self.state["trial_end"] == self.end_of[last]:
                return False
            if self.billed[last].get(name) not in self.names.prices:
                return False
        current = max(self.paid_periods(name), default=0)
        return not current or not self.emitter.taken(current, 0 if current in self.zero else PRICE)
