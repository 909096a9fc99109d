"""What the facts of one subscription say, in order: its states, paid invoices, periods and terms. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from licenzy.entitlements.ordering import latest
from licenzy.entitlements.periods import PaidInvoice, Period, paid_invoices, periods_by_item
from licenzy.entitlements.projected import SETTLED, FactLike
from licenzy.entitlements.sold import SoldTerms, Terms
from licenzy.kit.clock import from_unix

Item = Mapping[str, Any]
"""An item of a subscription, as a state has it."""

SAME_MOMENT = timedelta(seconds=60)
"""Within this much Stripe reports a change of a subscription and the payment of its invoice, in any order."""

_UNPAID = frozenset({"past_due", "unpaid"})
_BEGUN = frozenset({"active", "canceled", "paused", *_UNPAID})


@dataclass(frozen=True, slots=True)
class SubscriptionHistory:
    """The facts of one subscription that has at least one state."""

    facts: Sequence[FactLike]
    states: Sequence[FactLike]
    current: FactLike
    """The state that holds."""
    invoices: Sequence[PaidInvoice]
    """In order of payment."""
    periods: Mapping[str, Sequence[Period]]
    """The paid ones by item, the latest last."""
    terms: SoldTerms

    @classmethod
    def of(cls, states: Sequence[FactLike], facts: Sequence[FactLike]) -> SubscriptionHistory:
        invoices = paid_invoices(facts)
        periods = periods_by_item(states, invoices)
        return cls(facts, states, latest(states), invoices, periods, SoldTerms(states))

    # --- what was paid --------------------------------------------------------------------------------

    def was_granted(self) -> bool:
        """Whether access ever began: a trial, or something of the subscription paid or free."""
        statuses = {state.data["status"] for state in self.states}
        if "trialing" in statuses or "paused" in statuses:
            return True
        if any(state.data["status"] in _UNPAID and is_early(state) for state in self.states):
            # Its status was taken for proof that access had begun.
            return True
        return bool(statuses & _BEGUN) and (self._session_is_paid() or any(self.periods.values()))

    def was_paid_for(self) -> bool:
        """Whether anything beyond a trial's zero invoice was paid, or free of charge after it."""
        if any(invoice.amount_paid for invoice in self.invoices):
            return self._session_is_paid() or any(self.periods.values())
        trials = {state.data.get("trial_end") for state in self.states} - {None}
        return any(period.end not in trials for periods in self.periods.values() for period in periods)

    def _session_is_paid(self) -> bool:
        sessions = (fact for fact in self.facts if fact.kind == "session")
        return any(fact.data["payment_status"] in SETTLED for fact in sessions)

    def state_last_paid(self) -> FactLike | None:
        """The state in force when the subscription was last paid; None where no payment is known."""
        if not self.invoices:
            return None
        until = self.invoices[-1].paid_at + SAME_MOMENT
        by_then = [
            state
            for state in self.states
            if state.occurred_at <= until and state.data["status"] not in _UNPAID
        ]
        return latest(by_then) if by_then else None

    def last_paid_for(self, item: Item, terms: Terms) -> tuple[Item, Terms]:
        """The item and its terms as they were last paid for: a change that is not paid gives nothing yet."""
        state = self.state_last_paid()
        before = item_in(state, item["id"]) if state is not None else None
        if before is None:
            return item, terms
        prices = (line["price"] for line in self._lines_last_paid(item["id"]))
        named = next((price for price in prices if self.terms.at_price(item["id"], price)), before["price"])
        paid_terms = self.terms.at_price(item["id"], named)
        return (before, paid_terms) if paid_terms is not None else (item, {**terms, "grace_days": 0})

    def _lines_last_paid(self, item_id: str) -> list[Mapping[str, Any]]:
        """The lines for the item on the last invoice paid, those that cost something, the latest first."""
        lines = [
            line
            for line in self.invoices[-1].lines or ()
            if line["item"] == item_id and (line["amount"] or 0) > 0 and line["start"] is not None
        ]
        return sorted(lines, key=lambda line: -line["start"])

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

    # --- what was sold --------------------------------------------------------------------------------

    def terms_in(self, state: FactLike, item_id: str) -> Terms | None:
        """What an item gave in a state; None where it was not there, or its price no product's."""
        item = item_in(state, item_id)
        return self.terms.of(item) if item is not None else None

    def mapped_before(self, item_id: str) -> tuple[FactLike, Terms] | None:
        """The last state in which the item had a price of a product's, and what it gave then."""
        states = [state for state in self.states if self.terms_in(state, item_id) is not None]
        if not states:
            return None
        last = latest(states)
        terms = self.terms_in(last, item_id)
        assert terms is not None
        return last, terms

    def replaced_product_codes(self) -> set[str]:
        """What the items gave that the subscription no longer has."""
        here = {item["id"] for item in self.current.data["items"]}
        gone = (item for state in self.states for item in state.data["items"] if item["id"] not in here)
        return {terms["product_code"] for item in gone if (terms := self.terms.of(item)) is not None}

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
