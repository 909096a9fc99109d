"""Which paid invoice began which period of a subscription's item. Pure.

A period belongs to an item: it is the span of a paid line that bills the item itself. Prorations, setup
fees and other invoice items, and the lines of other items begin none, and neither does a manual invoice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from licenzy.entitlements.ordering import in_order
from licenzy.entitlements.projected import FactLike, is_paid_invoice, payment_refs
from licenzy.kit.clock import from_unix

SAME_MOMENT = timedelta(seconds=60)
"""Within this much Stripe reports a change of a subscription and the payment of its invoice, in any order."""

_BEGINS_PERIODS = frozenset({"subscription_create", "subscription_cycle", "subscription", None})


@dataclass(frozen=True, slots=True)
class PaidInvoice:
    """A paid invoice, as all facts of it together have it."""

    id: str
    paid_at: datetime
    created: int | None
    """When Stripe made it, in Unix seconds; None where that is not told."""
    reason: str | None
    """Stripe's `billing_reason`."""
    amount_paid: int | None
    """In the currency's smallest unit."""
    payments: frozenset[str]
    """The payment intent and charge that it names itself."""
    lines: Sequence[Mapping[str, Any]] | None
    """None where it was recorded before lines were."""
    has_more: bool
    """Whether it has lines that nobody has read."""
    period_end: int | None
    """The furthest end of its lines, in Unix seconds."""

    @property
    def made_at(self) -> datetime:
        """When Stripe made it; where that is not told, when it was paid."""
        return from_unix(self.created) if self.created is not None else self.paid_at


class Period(NamedTuple):
    """A span of an item, in Unix seconds, with the invoice that was paid for it."""

    start: int
    end: int
    price: str | None
    invoice: PaidInvoice
    amount: int | None
    """What the item itself cost in it; of an invoice whose line is not known, the whole."""
    quantity: int | None = None
    """How many of the price it was paid for; None where its line is not known."""


def merge_paid_invoices(facts: Iterable[FactLike]) -> list[PaidInvoice]:
    """The paid invoices of a purchase, each made of all facts about it, in order of payment."""
    by_id: dict[str, list[FactLike]] = {}
    for fact in facts:
        if fact.kind == "invoice":
            by_id.setdefault(fact.object_id, []).append(fact)
    paid = [_together(group) for group in by_id.values() if any(map(is_paid_invoice, group))]
    return sorted(paid, key=lambda invoice: (invoice.paid_at, invoice.id))


def _together(group: Sequence[FactLike]) -> PaidInvoice:
    paid = min(filter(is_paid_invoice, group), key=lambda fact: (fact.occurred_at, fact.source_id))
    best = max(group, key=_completeness)
    lines = best.data.get("lines")
    return PaidInvoice(
        id=paid.object_id,
        paid_at=paid.occurred_at,
        created=min((fact.data["created"] for fact in group if fact.data.get("created")), default=None),
        reason=paid.data["billing_reason"],
        amount_paid=paid.data["amount_paid"],
        payments=frozenset(ref for fact in group for ref in payment_refs(fact.data)),
        lines=lines,
        has_more=bool(best.data.get("more_lines")),
        period_end=max((fact.data["period_end"] or 0 for fact in group), default=0) or None,
    )


def _completeness(fact: FactLike) -> tuple[bool, bool, int, str]:
    lines = fact.data.get("lines")
    return (lines is not None, not fact.data.get("more_lines"), len(lines or ()), fact.source_id)


@dataclass(slots=True)
class _Item:
    """What all states of a subscription say of one of its items."""

    since: datetime
    """When a state had it first."""
    is_first: bool
    """Whether the first state that is known had it: it may be older than that."""
    replaces: str | None = None
    """The item whose place it took in one change, with which no other came or went."""
    prices: set[str] = field(default_factory=set)
    spans: set[tuple[int, int]] = field(default_factory=set)
    span_of_invoice: dict[str, tuple[int, int]] = field(default_factory=dict)
    """The item's period while an invoice was the subscription's latest."""
    changed_with: set[str] = field(default_factory=set)
    """The invoices with which the item came, or had another price or quantity."""
    changes: list[tuple[datetime, str]] = field(default_factory=list)
    """When that was, and the price that it had from then on."""

    def came_after(self, invoice: PaidInvoice) -> bool:
        """Whether an invoice was made when the item was not there yet: then none of its lines bills it."""
        return not self.is_first and self.since > invoice.made_at + SAME_MOMENT

    def was_changed(self, invoice: PaidInvoice, at: datetime) -> bool:
        """Whether it came, or had another price or quantity, with an invoice or about an instant."""
        return invoice.id in self.changed_with or any(
            abs(changed - at) <= SAME_MOMENT for changed, _price in self.changes
        )

    def had(self, price: str | None, at: datetime) -> bool:
        """Whether a price was the item's at an instant."""
        return next((had == price for changed, had in reversed(self.changes) if changed <= at), False)

    def fit_of(self, line: Mapping[str, Any]) -> int:
        """How well a line fits into a period of the item: 2 up to its end, 1 within it, else 0."""
        around = [end for start, end in self.spans if start <= line["start"] and line["end"] <= end]
        return 2 if line["end"] in around else 1 if around else 0


class BilledItems:
    """The items that a subscription ever had, and which of them each line of an invoice bills."""

    def __init__(self, states: Sequence[FactLike]) -> None:
        self._items = _items(states)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __getitem__(self, item_id: str) -> _Item:
        return self._items[item_id]

    def lineage(self, item_id: str) -> list[str]:
        """The item, and those before it that took each other's place."""
        found = [item_id]
        while (before := self._items[found[-1]].replaces) is not None:
            found.append(before)
        return found

    def of_line(self, line: Mapping[str, Any], invoice: PaidInvoice) -> list[str]:
        """The item that a line names; where it names none that is known, those that it must be about.

        A line that is neither of a period nor a proration bills something else than an item.
        """
        if line["item"] in self._items:
            return [line["item"]]
        there = {name: item for name, item in self._items.items() if not item.came_after(invoice)}
        if line["start"] is None or line["end"] is None:
            return []
        if line["proration"]:
            return _of_proration(line, invoice, there)
        return _of_period(line, there) if line["recurring"] else []


def _of_period(line: Mapping[str, Any], items: Mapping[str, _Item]) -> list[str]:
    """Those whose period or price it has."""
    same_span = [item_id for item_id, item in items.items() if (line["start"], line["end"]) in item.spans]
    same_price = [item_id for item_id, item in items.items() if line["price"] in item.prices]
    if same_span or same_price or line["item"] is not None:
        both = [item_id for item_id in same_span if item_id in same_price]
        return _with_price(line, both or same_span or same_price, items)
    return list(items) if len(items) == 1 else []


def _of_proration(line: Mapping[str, Any], invoice: PaidInvoice, items: Mapping[str, _Item]) -> list[str]:
    """Those with its price; where it names none, those with a period around it.

    Of several, it is about those that were changed with the invoice or when its time begins, else about
    those that had its price then.
    """
    fits = {item_id: item.fit_of(line) for item_id, item in items.items()}
    best = max(fits.values(), default=0)
    around = [item_id for item_id, fit in fits.items() if fit == best > 0]
    if line["price"] is None:
        found = around or (list(items) if len(items) == 1 else [])
    else:
        same_price = [item_id for item_id, item in items.items() if line["price"] in item.prices]
        found = [item_id for item_id in same_price if item_id in around] or same_price
    if len(found) < 2:
        return found
    begins = from_unix(line["start"])
    changed = [each for each in found if items[each].was_changed(invoice, begins)]
    return changed or _with_price(line, found, items)


def _with_price(line: Mapping[str, Any], found: list[str], items: Mapping[str, _Item]) -> list[str]:
    """Of several items, those that had the line's price when its time begins, where any did."""
    begun = from_unix(line["start"]) + SAME_MOMENT
    return [each for each in found if items[each].had(line["price"], begun)] or found


def periods_by_item(items: BilledItems, invoices: Sequence[PaidInvoice]) -> Mapping[str, Sequence[Period]]:
    """The paid periods of every item that the subscription ever had, the latest last.

    A fact recorded before lines were stands for all items, and so does, for the items it does not name, an
    invoice whose lines nobody has read to the end: with the period that the state has beside it. An item
    that takes another's place in one change goes on with its periods.
    """
    found: dict[str, list[Period]] = {item_id: [] for item_id in items}
    furthest = 0
    for invoice in invoices:
        billed = _billed(invoice, items)
        for item_id, line in billed.items():
            span = line["start"], line["end"]
            found[item_id].append(Period(*span, line["price"], invoice, line["amount"], line.get("quantity")))
        further = (invoice.period_end or 0) > furthest
        furthest = max(furthest, invoice.period_end or 0)
        begins = invoice.reason in _BEGINS_PERIODS
        if invoice.lines is None and (begins or further):
            for item_id in items:
                found[item_id].append(_implied(items[item_id], invoice, end=invoice.period_end))
        elif invoice.has_more and (begins or invoice.reason == "subscription_update"):
            for item_id in found.keys() - billed.keys():
                item = items[item_id]
                period = _implied(item, invoice, end=None)
                known = any(period.start == other.start for other in found[item_id])
                if not known and _may_begin(period, item):
                    found[item_id].append(period)
    for item_id in items:
        if (before := items[item_id].replaces) is not None:
            own = {period.invoice.id for period in found[item_id]}
            found[item_id] += [period for period in found[before] if period.invoice.id not in own]
    for periods in found.values():
        periods.sort(key=lambda period: (period.start, period.invoice.paid_at, period.invoice.id))
    return found


def _items(states: Sequence[FactLike]) -> dict[str, _Item]:
    items: dict[str, _Item] = {}
    before: dict[str, tuple[str, int]] = {}
    invoice_before: str | None = None
    is_first = True
    for state in in_order(states):
        invoice = state.data.get("latest_invoice")
        came = [each["id"] for each in state.data["items"] if each["id"] not in items]
        went = before.keys() - {each["id"] for each in state.data["items"]}
        for each in state.data["items"]:
            item = items.setdefault(each["id"], _Item(state.occurred_at, is_first))
            item.prices.add(each["price"])
            if before.get(each["id"]) != (each["price"], each["quantity"]):
                item.changes.append((state.occurred_at, each["price"]))
                if invoice and invoice != invoice_before:
                    item.changed_with.add(invoice)
            if each["period_start"] is None or each["period_end"] is None:
                continue
            span = (each["period_start"], each["period_end"])
            item.spans.add(span)
            if invoice:
                item.span_of_invoice[invoice] = span
        if len(came) == len(went) == 1:
            items[came[0]].replaces = next(iter(went))
        before = {each["id"]: (each["price"], each["quantity"]) for each in state.data["items"]}
        invoice_before, is_first = invoice, False
    return items


def _billed(invoice: PaidInvoice, items: BilledItems) -> dict[str, Mapping[str, Any]]:
    """The line that bills each item's own period; of several, the one that begins last."""
    billed: dict[str, Mapping[str, Any]] = {}
    if invoice.reason == "manual":
        return billed
    for line in invoice.lines or ():
        if not line["recurring"] or line["proration"] or line["start"] is None or line["end"] is None:
            continue
        for item_id in items.of_line(line, invoice):
            if item_id not in billed or line["start"] > billed[item_id]["start"]:
                billed[item_id] = line
    return billed


def _implied(item: _Item, invoice: PaidInvoice, *, end: int | None) -> Period:
    span = item.span_of_invoice.get(invoice.id)
    if span is None:
        paid = int(invoice.paid_at.timestamp())
        fitting = [each for each in item.spans if (each[1] == end if end else each[0] <= paid < each[1])]
        span = max(fitting, default=(paid, end or paid))
    return Period(span[0], end or span[1], None, invoice, invoice.amount_paid)


def _may_begin(period: Period, item: _Item) -> bool:
    """Whether a period may be on a line that nobody has read: one that begins when its invoice is made.

    The first invoice of a subscription has the period of a start that may lie in the past.
    """
    invoice = period.invoice
    was_shown = not item.spans or (period.start, period.end) in item.spans
    if item.came_after(invoice) or not was_shown:
        return False
    if invoice.reason == "subscription_update":
        # Most changes begin no period: this one did where the state that it made shows so.
        made = int(invoice.made_at.timestamp())
        return invoice.id in item.span_of_invoice and abs(period.start - made) <= _MADE_WITHIN
    if invoice.created is None or invoice.reason == "subscription_create":
        return True
    return abs(period.start - invoice.created) <= _MADE_WITHIN


_MADE_WITHIN = 3600
