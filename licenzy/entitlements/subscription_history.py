"""What the facts of one subscription say, in order: its states, paid invoices, periods and terms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

from licenzy.entitlements import reversals
from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.imported import assumed_invoices, had_begun
from licenzy.entitlements.ordering import in_order, latest
from licenzy.entitlements.periods import (
    SAME_MOMENT,
    BilledItems,
    PaidInvoice,
    Period,
    merge_paid_invoices,
    periods_by_item,
)
from licenzy.entitlements.projected import SETTLED, FactLike
from licenzy.entitlements.reversals import Reversal
from licenzy.entitlements.sold import SoldTerms, Terms
from licenzy.entitlements.term_versions import TermVersions
from licenzy.kit.clock import from_unix

Item = Mapping[str, Any]
"""An item of a subscription, as a state has it."""

_UNPAID = frozenset({"past_due", "unpaid"})
_BEGUN = frozenset({"active", "canceled", "paused", *_UNPAID})


class LastPaid(NamedTuple):
    """What was last paid for of an item."""

    quantity: int
    terms: Terms
    ends: Sequence[int]
    """The end of the period that lasts whatever fails, in Unix seconds, where there is one."""


@dataclass(frozen=True, slots=True)
class SubscriptionHistory:
    """The facts of one subscription that has at least one state."""

    facts: Sequence[FactLike]
    states: Sequence[FactLike]
    current: FactLike
    """The state that holds."""
    invoices: Sequence[PaidInvoice]
    """In order of payment."""
    billed: BilledItems
    periods: Mapping[str, Sequence[Period]]
    """The paid ones by item, the latest last."""
    terms: SoldTerms

    @classmethod
    def of(cls, states: Sequence[FactLike], facts: Sequence[FactLike]) -> SubscriptionHistory:
        told = [*merge_paid_invoices(facts), *assumed_invoices(facts)]
        invoices = sorted(told, key=lambda invoice: (invoice.paid_at, invoice.id))
        billed = BilledItems(states)
        periods = periods_by_item(billed, invoices)
        terms = SoldTerms(states, ChangedTerms(facts))
        return cls(facts, states, latest(states), invoices, billed, periods, terms)

    def versions(self) -> TermVersions[SubscriptionHistory]:
        """The same facts without terms that an operator gave, and then with those given by each instant."""
        return self.terms.versions().map(lambda terms: replace(self, terms=terms))

    # --- what was paid --------------------------------------------------------------------------------

    def was_granted(self, item_id: str) -> bool:
        """Whether access to an item ever began: a trial, or something paid or free.

        An item that came later belongs to what is billed from then on, so it begins with any of the others.
        """
        if any(state.data["status"] in _UNPAID and is_early(state) for state in self.states):
            # Its status was taken for proof that access had begun.
            return True
        if had_begun(self.facts, item_id):
            return True
        is_first = self.billed[self.billed.lineage(item_id)[-1]].is_first
        others = self.billed if not is_first else ()
        return any(self._is_proven(each) for each in (item_id, *others))

    def _is_proven(self, item_id: str) -> bool:
        """Whether an item itself was in a trial, or paid for: by its own line, or by what began them all."""
        lineage = self.billed.lineage(item_id)
        states = [state for state in self.states if self.in_place_of(state, item_id) is not None]
        statuses = {state.data["status"] for state in states}
        if "trialing" in statuses or "paused" in statuses:
            return True
        if not statuses & _BEGUN:
            return False
        is_first = self.billed[lineage[-1]].is_first
        began_all = is_first and (self._session_is_paid() or self._first_is_paid())
        return began_all or bool(self.periods[item_id])

    def _first_is_paid(self) -> bool:
        """Whether the invoice with which the subscription began was paid: it need not name all its items."""
        return any(invoice.reason == "subscription_create" for invoice in self.invoices)

    def is_of_trial(self, period: Period) -> bool:
        """Whether the item cost nothing in a period because of a trial, whatever else was paid with it."""
        if period.amount and period.invoice.amount_paid:
            return False
        # A trial may have been ended before its time: what was planned before a period began is over then.
        begun = from_unix(period.start) + SAME_MOMENT
        before = [state for state in in_order(self.states) if state.occurred_at <= begun]
        since = [state for state in self.states if state.occurred_at > begun]
        ends = (state.data.get("trial_end") for state in [*before[-1:], *since])
        return any(end is not None and period.start < end <= period.end for end in ends)

    def _session_paid_for_period(self) -> bool:
        """Whether a session was paid that can have been for nothing but the first period: without a trial."""
        was_trial = any(
            state.data.get("trial_end") or state.data["status"] == "trialing" for state in self.states
        )
        sessions = (fact for fact in self.facts if fact.kind == "session")
        return not was_trial and any(fact.data["payment_status"] == "paid" for fact in sessions)

    def _session_is_paid(self) -> bool:
        sessions = (fact for fact in self.facts if fact.kind == "session")
        return any(fact.data["payment_status"] in SETTLED for fact in sessions)

    def last_paid_for(self, item: Item, terms: Terms) -> LastPaid:
        """What was last paid for of an item: a change that is not paid gives nothing yet.

        What was paid at a price of no product gives nothing of ours: then what was paid before it lasts as
        long as it was paid for, without grace.
        """
        item_id = item["id"]
        ends = [period.end for period in self.periods[item_id] if not self.is_of_trial(period)]
        if not self.invoices and self._session_paid_for_period():
            return LastPaid(item["quantity"], terms, ends[-1:])
        paid = self._invoices_paid(item_id)
        for invoice in paid:
            quantity, paid_terms = self._paid_with(invoice, item)
            if paid_terms is None:
                continue
            if invoice is paid[0]:
                return LastPaid(quantity, paid_terms, ends[-1:])
            ours = [each.end for each in self.periods[item_id] if self.is_ours(each, item)]
            return LastPaid(quantity, {**paid_terms, "grace_days": 0}, ours[-1:])
        if had_begun(self.facts, item_id):
            return LastPaid(item["quantity"], terms, [])  # What was paid before the import is not known.
        return LastPaid(item["quantity"], {**terms, "grace_days": 0}, [])

    def _paid_with(self, invoice: PaidInvoice, item: Item) -> tuple[int, Terms | None]:
        """The quantity and terms of an item that an invoice was paid for; none at a price of no product."""
        line, state = self._line_paid(invoice, item["id"]), self.state_with_invoice(invoice)
        before = (self.in_place_of(state, item["id"]) if state is not None else None) or item
        named = line if line is not None and line["price"] is not None else before
        quantity = line["quantity"] if line is not None else None
        terms = self.terms_paid(invoice, state, item["id"], named["price"])
        return before["quantity"] if quantity is None else quantity, terms

    def is_ours(self, period: Period, item: Item) -> bool:
        """Whether a paid period was one of a product: a price that is unknown begins none."""
        state = self.state_with_invoice(period.invoice)
        then = (self.in_place_of(state, item["id"]) if state is not None else None) or item
        price = period.price or then["price"]
        return self.terms_paid(period.invoice, state, item["id"], price) is not None

    def terms_paid(
        self, invoice: PaidInvoice, state: FactLike | None, item_id: str, price: str
    ) -> Terms | None:
        """What an item gave at the price that an invoice was paid for, in the state that the invoice made."""
        then = self.in_place_of(state, item_id) if state is not None else None
        if state is not None and then is not None and then["price"] == price:
            return self.terms.of(state, then["id"])
        at = invoice.made_at + SAME_MOMENT
        meant = (self.terms.at_price(each, price, at=at) for each in self.billed.lineage(item_id))
        return next((terms for terms in meant if terms is not None), None)

    def in_place_of(self, state: FactLike, item_id: str) -> Item | None:
        """The item in a state, or the one whose place it took; None where neither was there."""
        found = (item_in(state, each) for each in self.billed.lineage(item_id))
        return next((item for item in found if item is not None), None)

    def _invoices_paid(self, item_id: str) -> list[PaidInvoice]:
        """The paid invoices of the item's periods after its trial and of its changes, the last first."""
        periods = (period for period in self.periods[item_id] if not self.is_of_trial(period))
        of_periods = {period.invoice.id for period in periods}
        return [
            invoice
            for invoice in reversed(self.invoices)
            if invoice.id in of_periods or self._lines_paid(invoice, item_id)
        ]

    def _lines_paid(self, invoice: PaidInvoice, item_id: str) -> list[Mapping[str, Any]]:
        """The lines of an invoice with which something was paid for an item; that of a trial is none."""
        lineage = set(self.billed.lineage(item_id))
        of_trial = {
            period.start
            for period in self.periods[item_id]
            if period.invoice.id == invoice.id and self.is_of_trial(period)
        }
        return [
            line
            for line in invoice.lines or ()
            if (line["amount"] or 0) > 0
            and line["start"] is not None
            and (line["proration"] or line["start"] not in of_trial)
            and not lineage.isdisjoint(self.billed.of_line(line, invoice))
        ]

    def _line_paid(self, invoice: PaidInvoice, item_id: str) -> Mapping[str, Any] | None:
        """The line of an invoice that says what was paid for of an item: the one that begins last.

        Where the line of the item's period may be among those that nobody has read, none of the others does.
        """
        lines = self._lines_paid(invoice, item_id)
        if invoice.has_more and all(line["proration"] for line in lines):
            return None
        return max(lines, key=lambda line: (line["start"], not line["proration"]), default=None)

    def state_with_invoice(self, invoice: PaidInvoice) -> FactLike | None:
        """The first state with this invoice as its latest; where none has it, the one at its payment."""
        naming = [state for state in self.states if state.data.get("latest_invoice") == invoice.id]
        if naming:
            first = min(state.occurred_at for state in naming)
            return latest([state for state in naming if state.occurred_at == first])
        until = invoice.paid_at + SAME_MOMENT
        by_then = [
            state
            for state in self.states
            if state.occurred_at <= until and state.data["status"] not in _UNPAID
        ]
        return latest(by_then) if by_then else None

    def period_end(self, state: FactLike, item: Item) -> datetime:
        """The item's period end, or that of a later period that was paid after the state was reported.

        Where a state lacks its period, the paid ones tell it, else it ends with the state.
        """
        start, end = item["period_start"], item["period_end"]
        later = [
            period.end
            for period in self.periods[item["id"]]
            if not end
            or (period.invoice.paid_at > state.occurred_at and (start is None or period.start > start))
        ]
        if later:
            return from_unix(later[-1])
        return from_unix(end) if end else state.occurred_at

    def reversal_of(self, invoice: PaidInvoice) -> Reversal | None:
        """What refunds and disputes of an invoice's payment take away; None where they take nothing."""
        payments = set(invoice.payments)
        for fact in self.facts:
            if fact.kind == "invoice_payment" and fact.data["invoice"] == invoice.id:
                payments |= {fact.data["payment_intent"], fact.data["charge"]} - {None}
        of_it = [
            fact
            for fact in self.facts
            if fact.kind in reversals.KINDS
            and (
                payments & {fact.data["payment_intent"], fact.data["charge"]}
                or fact.data.get("invoice") == invoice.id
            )
        ]
        return reversals.reversal(of_it, paid=invoice.amount_paid)

    # --- what was sold --------------------------------------------------------------------------------

    def terms_in(self, state: FactLike, item_id: str) -> Terms | None:
        """What an item gave in a state; None where it was not there, or its price no product's."""
        return self.terms.of(state, item_id) if item_in(state, item_id) is not None else None

    def mapped_before(self, item_id: str) -> tuple[FactLike, Terms] | None:
        """The last state in which the item had a price of a product's, and what it gave then."""
        states = [state for state in self.states if self.terms_in(state, item_id) is not None]
        if not states:
            return None
        last = latest(states)
        terms = self.terms_in(last, item_id)
        assert terms is not None
        return last, terms

    def first_without_product(self, item_id: str, *, since: FactLike) -> FactLike:
        """The state that first had the item at a price of no product; `since` where there is none."""
        changed = [
            state
            for state in self.states
            if state.occurred_at >= since.occurred_at
            and item_in(state, item_id) is not None
            and self.terms_in(state, item_id) is None
        ]
        return min(changed, key=lambda state: (state.occurred_at, state.source_id), default=since)

    def lacks(self, state: FactLike, item_id: str) -> bool:
        """Whether the item is gone in a state; in an early one also when its price was no product's."""
        if is_early(state):
            return self.terms_in(state, item_id) is None
        return item_in(state, item_id) is None

    def session_id(self) -> str | None:
        """The Checkout Session that began the subscription, where one did."""
        return min((fact.object_id for fact in self.facts if fact.kind == "session"), default=None)


def item_in(state: FactLike, item_id: str) -> Item | None:
    """The item as a state has it; None where the subscription did not have it then."""
    return next((item for item in state.data["items"] if item["id"] == item_id), None)


def is_early(state: FactLike) -> bool:
    """Whether a state was recorded before the lines of invoices were: it keeps the meaning it had then."""
    return "anchor" not in state.data
