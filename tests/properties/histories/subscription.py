"""A subscription as Stripe knows it: its items, its invoices, and the events that each change sends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.properties.histories.billing import PAGE, Invoice, InvoiceLine, as_invoice, invoice_id
from tests.properties.histories.catalog import SAME_PRODUCT, Sold
from tests.properties.histories.emitter import Emitter
from tests.properties.histories.life import DAY, MONTH, PRICE, YEAR

FEE = 8700


@dataclass(frozen=True)
class Item:
    """An item with the period that it is in."""

    price: str
    quantity: int
    start: int
    end: int


@dataclass(frozen=True)
class Unmapped:
    """The change of an item to a price of no product."""

    paid_until: int
    before: str | None
    """The price before it; none where the item began with a price of no product."""


class Subscription:
    """The state at Stripe. Every change of it sends its event."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter, self.chance, self.life = emitter, emitter.chance, emitter.life
        self.names, self.catalog = emitter.names, emitter.life.catalog
        self.began = emitter.now
        self.items: dict[str, Item] = {}
        self.state: dict[str, Any] = {
            "status": "incomplete",
            "cancel_at": None,
            "cancel_at_period_end": False,
            "pause_collection": None,
            "trial_end": None,
            "ended_at": None,
            "collection_method": "charge_automatically",
        }
        self.invoices: list[Invoice] = []
        self.latest: Invoice | None = None
        """The last invoice that the subscription made by itself, which manual ones are not."""
        self.sold: dict[tuple[str, str], Sold] = {}
        """What an item means at a price: what the catalog said when it was last changed to that."""
        self.held: dict[str, Sold | None] = {}
        """What each item gave last."""
        self.shown: dict[str, str] = {}
        """The price at which Stripe showed each item last."""
        self.unmapped: dict[str, Unmapped] = {}
        self.last: dict[str, Any] | None = None
        self.is_mixed = False
        self.lines_name = self.chance.choice(("item", "item", "price", "nothing"))
        self.life.kinds.add(f"lines name {'' if self.lines_name == 'nothing' else 'their '}{self.lines_name}")
        self.first_items: set[str] = set()
        self.replaced: dict[str, str] = {}
        """Which item each one took the place of."""

    # --- what is asked --------------------------------------------------------------------------

    @property
    def status(self) -> str:
        return str(self.state["status"])

    @property
    def current_bill(self) -> Invoice:
        assert self.latest is not None
        return self.latest

    @property
    def is_leaving(self) -> bool:
        return self.state["cancel_at"] is not None or self.state["cancel_at_period_end"]

    @property
    def next_billing(self) -> int:
        return min(item.end for item in self.items.values())

    @property
    def was_granted(self) -> bool:
        """Whether there has been a trial, or a period of any item was paid."""
        periods = (line for bill in self.invoices if bill.is_paid for line in bill.lines)
        return self.state["trial_end"] is not None or any(line.begins_period for line in periods)

    def was_granted_to(self, name: str) -> bool:
        """The same for one item: it came later, or was itself in the trial or paid for."""
        lineage = self.lineage(name)
        if lineage[-1] not in self.first_items:
            return self.was_granted
        own = any(bill.is_paid and bill.own(each) for bill in self.invoices for each in lineage)
        return own or self.state["trial_end"] is not None

    def lineage(self, name: str) -> list[str]:
        """An item with those that took each other's place before it."""
        return [name, *(self.lineage(self.replaced[name]) if name in self.replaced else [])]

    @property
    def was_paid_for(self) -> bool:
        """Whether money was paid for a period of any item; a trial costs nothing."""
        lines = (line for bill in self.invoices if bill.is_paid for line in bill.lines)
        return any(line.begins_period and line.amount for line in lines)

    def current_invoice(self, name: str) -> Invoice | None:
        """The paid invoice whose period of this item began last."""
        found = [
            (own.start, bill.number)
            for bill in self.invoices
            for each in self.lineage(name)
            if bill.is_paid and (own := bill.own(each))
        ]
        return self.invoices[max(found)[1] - 1] if found else None

    def current_line(self, name: str) -> InvoiceLine | None:
        """The line that began the period in which an item is."""
        bill = self.current_invoice(name)
        lines = [bill.own(each) for each in self.lineage(name)] if bill else []
        return next((line for line in lines if line is not None), None)

    def interval(self, price: str) -> int:
        return YEAR if self.catalog.is_yearly(price) else MONTH

    def amount(self, price: str, quantity: int = 1) -> int:
        return PRICE * quantity * (10 if self.catalog.is_yearly(price) else 1)

    # --- changes --------------------------------------------------------------------------------

    def change(
        self, event_name: str = "updated", *, items: dict[str, Item] | None = None, **state: Any
    ) -> None:
        """Change it and send that; nothing is sent where nothing is changed."""
        before = self.last or {}
        self.note_prices(items or {})
        self.items = self.items if items is None else items
        self.state |= state
        now = self.as_object()
        previous = {name: value for name, value in before.items() if now[name] != value}
        if previous:
            self.emit(event_name, previous)

    def emit(self, event_name: str, previous: dict[str, Any] | None = None) -> None:
        self.last = self.as_object()
        self._note_sold()
        self.emitter.emit(f"customer.subscription.{event_name}", self.last, previous)

    def with_item(self, name: str, **changes: Any) -> dict[str, Item]:
        """The items with one of them changed."""
        return {**self.items, name: replace(self.items[name], **changes)}

    def note_prices(self, items: dict[str, Item]) -> None:
        """Note what was paid for when an item is changed to a price of no product: now."""
        for name, item in items.items():
            self._note_price(name, item.price)

    def _means(self, name: str, price: str) -> Sold | None:
        """What an item is sold as when it changes to a price."""
        if price != SAME_PRODUCT:
            return self.catalog.now.get(price) or self.sold.get((name, price))
        same, held = self.catalog.same_product(self.emitter.now), self.held.get(name)
        return held if same and held and held["product_code"] == same["product_code"] else None

    def _note_price(self, name: str, price: str) -> None:
        if self._means(name, price) is not None:
            self.unmapped.pop(name, None)
        elif name not in self.unmapped:
            had, own = self.items.get(name), self.current_line(name)
            paid_until = own.end if own else had.end if had else self.emitter.now
            self.unmapped[name] = Unmapped(paid_until, had.price if had else None)

    def _note_sold(self) -> None:
        for name, item in self.items.items():
            at, now = (name, item.price), self._means(name, item.price)
            is_change = self.shown.get(name) != item.price
            if now is None:
                self.sold.pop(at, None)
            if now is not None and (is_change or at not in self.sold):
                if self.sold.get(at, now) != now:
                    self.life.kinds.add("a price again, after an edit")
                self.sold[at] = now
            self.held[name] = self.sold.get(at, self.held.get(name))
            self.shown[name] = item.price
            for bill in self.invoices:
                bill.sold_as.setdefault(name, {}).setdefault(item.price, self.sold.get(at))

    # --- invoices -------------------------------------------------------------------------------

    def own_lines(self, names: list[str], *, free: bool = False) -> list[InvoiceLine]:
        """The lines that begin the periods in which these items are."""
        of_them = ((name, self.items[name]) for name in names)
        return [
            InvoiceLine(
                name,
                item.price,
                item.quantity,
                item.start,
                item.end,
                0 if free else self.amount(item.price, item.quantity),
            )
            for name, item in of_them
        ]

    def fee_line(self) -> InvoiceLine:
        """A setup fee, or an invoice item: its service period is a year."""
        return InvoiceLine(None, "price_of_a_fee", 1, self.emitter.now, self.emitter.now + YEAR, FEE)

    def make_invoice(self, reason: str, lines: list[InvoiceLine], *, of_itself: bool = True) -> Invoice:
        """A new invoice; `of_itself` if the subscription makes it, which its next state shows."""
        invoice = Invoice(len(self.invoices) + 1, reason, self.emitter.now, lines)
        self.invoices.append(invoice)
        if of_itself:
            self.latest = invoice
        return invoice

    def with_other_lines(self, own: list[InvoiceLine], *, fee: float, page: float) -> list[InvoiceLine]:
        """Perhaps with a fee, and perhaps behind prorations: so many that an event does not hold the own."""
        lines, kinds = own, self.life.kinds
        if self.chance.random() < fee:
            kinds.add("a fee on the first invoice" if not self.invoices else "a fee on a later invoice")
            lines = [self.fee_line(), *lines] if self.chance.random() < 0.5 else [*lines, self.fee_line()]
        if self.invoices and self.chance.random() < page:
            kinds.add("an own line behind a page of prorations")
            return [*self._prorations(own, PAGE), *lines]
        if self.invoices and self.chance.random() < 0.1:
            return [*self._prorations(own, 2), *lines]
        return lines

    def _prorations(self, own: list[InvoiceLine], count: int) -> list[InvoiceLine]:
        """Credits and charges of the period before one of these lines, as changes of seats leave them."""
        line = self.chance.choice(own)
        return [
            replace(
                line,
                item=self.chance.choice((line.item, None)),
                quantity=self.chance.randrange(1, 9),
                start=line.start - self.chance.randrange(1, 20 * DAY),
                end=line.start,
                amount=100 if number % 2 == 0 else -100,
                proration=True,
            )
            for number in range(count)
        ]

    def roll_over(self, *, at_once: bool = False) -> None:
        """The next period of the items that are due, or of all, begins; its invoice is open at first."""
        self.emitter.now = max(self.emitter.now + 1, 0 if at_once else self.next_billing)
        now = self.emitter.now
        items = {
            name: replace(item, start=now, end=now + self.interval(item.price))
            if at_once or item.end <= now
            else item
            for name, item in self.items.items()
        }
        due = [name for name, item in items.items() if item.start == now]
        before, self.items = self.items, items
        lines = self.with_other_lines(self.own_lines(due), fee=0.1, page=0.12)
        self.items = before
        self.make_invoice("subscription_cycle", lines)
        self.change(items=items, status="active")

    def pay(self, invoice: Invoice) -> None:
        invoice.status, invoice.paid_at = "paid", self.emitter.next_second
        self.emit_invoice(invoice, "paid")
        if self.chance.random() < 0.5:
            self.emit_invoice(invoice, "payment_succeeded")
        if self.emitter.newer and invoice.amount:
            obj = {
                "id": f"inpay_{self.names.tag}_{invoice.number}",
                "object": "invoice_payment",
                "invoice": invoice_id(self.names.tag, invoice.number),
                "payment": {"type": "payment_intent", **self.emitter.payment(invoice.number)},
                "status": "paid",
            }
            self.emitter.emit("invoice_payment.paid", obj)

    def fail(self, invoice: Invoice, event_name: str = "payment_failed") -> None:
        self.emit_invoice(invoice, event_name)
        invoice.failed_at = invoice.failed_at or self.emitter.now

    def give_up(self, invoice: Invoice) -> None:
        """The merchant voids it, or marks it as one that nobody will pay."""
        invoice.status = self.chance.choice(("void", "uncollectible"))
        event_name = {"void": "voided", "uncollectible": "marked_uncollectible"}[invoice.status]
        self.emit_invoice(invoice, event_name)

    def emit_invoice(self, invoice: Invoice, event_name: str) -> None:
        self.emitter.emit(f"invoice.{event_name}", self._invoice_object(invoice, all_lines=False))

    def _invoice_object(self, invoice: Invoice, *, all_lines: bool) -> dict[str, Any]:
        return as_invoice(
            invoice,
            tag=self.names.tag,
            payment=self.emitter.payment(invoice.number),
            newer=self.emitter.newer,
            all_lines=all_lines,
            names=self.lines_name,
        )

    # --- as Stripe sends it ---------------------------------------------------------------------

    def as_object(self) -> dict[str, Any]:
        rows = []
        top: dict[str, int] = {}
        for name, item in self.items.items():
            bounds = {"current_period_start": item.start, "current_period_end": item.end}
            on_item = bounds if self.emitter.newer else {}
            top = {} if self.emitter.newer else bounds
            price = {"id": item.price}
            rows.append(
                {"id": f"{name}_{self.names.tag}", "price": price, "quantity": item.quantity, **on_item}
            )
        return {
            "id": self.names.subscription,
            "object": "subscription",
            "customer": f"cus_{self.names.tag}",
            "items": {"object": "list", "data": rows},
            "canceled_at": self.state["ended_at"],
            "start_date": self.began,
            "latest_invoice": invoice_id(self.names.tag, self.current_bill.number),
            "metadata": {"licenzy_attempt": self.names.attempt},
            **top,
            **self.state,
        }

    def snapshot(self) -> None:
        """Read it from Stripe now, with its latest invoice: with all lines of that, or the first page."""
        all_lines = self.chance.random() < 0.6
        bill = self._invoice_object(self.current_bill, all_lines=all_lines)
        read = {**self.as_object(), "latest_invoice": bill}
        self.life.snapshots.append((self.emitter.now, len(self.life.events), read))
        self.life.ended_at = self.emitter.now
