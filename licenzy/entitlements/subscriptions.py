"""What a subscription grants, item by item, out of its states and invoices. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.entitlements import reversals
from licenzy.entitlements.grace import unpaid_since
from licenzy.entitlements.models import State
from licenzy.entitlements.operators import canceled, lifted_at
from licenzy.entitlements.ordering import latest
from licenzy.entitlements.periods import (
    SAME_MOMENT,
    PaidInvoice,
    Period,
    line_paid,
    paid_invoices,
    periods_by_item,
    scheduled_cancel,
)
from licenzy.entitlements.projected import SETTLED, FactLike, Projected
from licenzy.entitlements.sold import SoldTerms, Terms
from licenzy.kit.clock import from_unix

RENEWAL_SLACK = timedelta(hours=72)
"""How long access outlasts an unconfirmed period: Stripe retries webhooks for three days."""

KNOWN_STATUSES = frozenset(
    {"active", "trialing", "past_due", "unpaid", "paused", "incomplete", "incomplete_expired", "canceled"}
)
"""Stripe's own words; a state with another one changes nothing."""

_UNPAID = frozenset({"past_due", "unpaid"})
_BEGUN = frozenset({"active", "canceled", "paused", *_UNPAID})


def of_subscription(facts: Sequence[FactLike]) -> list[Projected]:
    """One entitlement for each item that is or was mapped, once access has begun; none before."""
    states = [f for f in facts if f.kind == "subscription" and f.data["status"] in KNOWN_STATUSES]
    if not states:
        return []
    subscription = _Subscription.of(states, facts)
    return subscription.entitlements() if subscription.was_granted() else []


@dataclass(frozen=True, slots=True)
class _Subscription:
    """Everything that the facts of one subscription say, put in order."""

    facts: Sequence[FactLike]
    states: Sequence[FactLike]
    current: FactLike
    """The state that holds."""
    invoices: Sequence[PaidInvoice]
    periods: Mapping[str, Sequence[Period]]
    """By item."""
    terms: SoldTerms

    @classmethod
    def of(cls, states: Sequence[FactLike], facts: Sequence[FactLike]) -> _Subscription:
        invoices = paid_invoices(facts)
        return cls(
            facts, states, latest(states), invoices, periods_by_item(states, invoices), SoldTerms(states)
        )

    # --- whether anything is granted ------------------------------------------------------------------

    def was_granted(self) -> bool:
        """Whether access ever began: a trial, or something of the subscription paid or free."""
        statuses = {state.data["status"] for state in self.states}
        if "trialing" in statuses or "paused" in statuses:
            return True
        if any(state.data["status"] in _UNPAID and "anchor" not in state.data for state in self.states):
            # A state recorded before lines were: its status was taken for proof that access had begun.
            return True
        return bool(statuses & _BEGUN) and (self._session_is_paid() or self._has_paid_period())

    def _session_is_paid(self) -> bool:
        sessions = (fact for fact in self.facts if fact.kind == "session")
        return any(fact.data["payment_status"] in SETTLED for fact in sessions)

    def _has_paid_period(self) -> bool:
        return any(self.periods.values())

    def _was_paid_for(self) -> bool:
        """Whether a payment beyond a trial's zero invoice, or a free period after it, is known."""
        if any(invoice.amount_paid and invoice.reason != "manual" for invoice in self.invoices):
            return self._has_paid_period() or self._session_is_paid()
        return any(not self._is_of_trial(period) for periods in self.periods.values() for period in periods)

    def _is_of_trial(self, period: Period) -> bool:
        trials = {state.data.get("trial_end") for state in self.states} - {None}
        return period.end in trials and not period.invoice.amount_paid

    # --- the items ------------------------------------------------------------------------------------

    def entitlements(self) -> list[Projected]:
        here = {item["id"]: item for item in self.current.data["items"]}
        gone = {
            item["id"]
            for state in self.states
            for item in state.data["items"]
            if item["id"] not in here and self.terms.of(item) is not None
        }
        kept = (self._of_item(item) for item in here.values())
        return [
            *(self._less_reversals(each) for each in kept if each is not None),
            *(self._removed(item_id) for item_id in sorted(gone)),
        ]

    def _of_item(self, item: Mapping[str, Any]) -> Projected | None:
        """What an item of the present state gives; None where its price never was a product's here."""
        terms = self.terms.of(item)
        if terms is not None:
            return self._with_status(self.current, item, terms)
        before = self._mapped_before(item)
        same = self.terms.of_same_product(item)
        if same is not None and same["product_code"] in self._product_codes(before):
            return self._with_status(self.current, item, before[1] if before else same)
        return self._until_paid_period_ends(item, *before) if before is not None else None

    def _mapped_before(self, item: Mapping[str, Any]) -> tuple[FactLike, Terms] | None:
        """The last state in which the item had a price of a product's, and what it gave then."""
        states = [state for state in self.states if self._terms_in(state, item["id"]) is not None]
        if not states:
            return None
        last = latest(states)
        terms = self._terms_in(last, item["id"])
        assert terms is not None
        return last, terms

    def _terms_in(self, state: FactLike, item_id: str) -> Terms | None:
        item = _item_in(state, item_id)
        return self.terms.of(item) if item is not None else None

    def _product_codes(self, before: tuple[FactLike, Terms] | None) -> set[str]:
        """What an item gave before; of an item that is new, what the items that it replaces gave."""
        if before is not None:
            return {before[1]["product_code"]}
        here = {item["id"] for item in self.current.data["items"]}
        replaced = (item for state in self.states for item in state.data["items"] if item["id"] not in here)
        return {terms["product_code"] for item in replaced if (terms := self.terms.of(item)) is not None}

    def _until_paid_period_ends(self, item: Mapping[str, Any], last: FactLike, terms: Terms) -> Projected:
        """An item that was changed to a price of no product: it lasts as long as was paid for by then."""
        entitlement = self._with_status(self.current, item, terms)
        if entitlement.state is State.CANCELED:
            return entitlement
        changed_at = min(
            (
                state.occurred_at
                for state in self.states
                if state.occurred_at >= last.occurred_at
                and _item_in(state, item["id"]) is not None
                and self._terms_in(state, item["id"]) is None
            ),
            default=last.occurred_at,
        )
        paid = [
            period
            for period in self.periods[item["id"]]
            if period.invoice.paid_at <= changed_at + SAME_MOMENT and from_unix(period.start) <= changed_at
        ]
        mapped = _item_in(last, item["id"])
        known_end = mapped["period_end"] if mapped is not None else None
        end = from_unix(paid[-1].end) if paid else from_unix(known_end) if known_end else changed_at
        if entitlement.ends_at is not None and entitlement.ends_at < end:
            return entitlement
        return replace(entitlement, valid_until=end, ends_at=end, ends_as="product_changed")

    def _removed(self, item_id: str) -> Projected:
        """An item that the subscription no longer has."""
        last = latest([state for state in self.states if self._terms_in(state, item_id) is not None])
        since = [state for state in self.states if state.occurred_at > last.occurred_at]
        in_that_second = [state for state in self.states if state.occurred_at == last.occurred_at]
        if _item_in(latest(in_that_second), item_id) is not None:
            without = (state.occurred_at for state in since if _item_in(state, item_id) is None)
            at = min(without, default=last.occurred_at)
        else:
            at = last.occurred_at
        item, terms = _item_in(last, item_id), self._terms_in(last, item_id)
        assert item is not None
        assert terms is not None
        return replace(
            self._with_status(last, item, terms),
            state=State.CANCELED,
            reason=None,
            cancel_at=None,
            valid_until=at,
            ends_at=at,
            ends_as="canceled",
            canceled_at=at,
        )

    # --- one item in one state ------------------------------------------------------------------------

    def _with_status(self, state: FactLike, item: Mapping[str, Any], terms: Terms) -> Projected:
        data, status, quantity = state.data, self._status(state), item["quantity"]
        paid_terms: Terms | None = terms
        if status == "past_due":
            quantity, paid_terms = self._last_paid_for(item, terms)
            terms = paid_terms or terms
        started = from_unix(data["started_at"]) if data["started_at"] else state.occurred_at
        entitlement = Projected(
            item_key=item["id"],
            product_code=terms["product_code"],
            kind=Kind.SUBSCRIPTION,
            features=list(terms["features"]),
            # Of no seats nothing is left, whatever was paid for.
            quantity=quantity if item["quantity"] else 0,
            state=State.ACTIVE,
            starts_at=started,
            granted_at=started,
            cancel_at=scheduled_cancel(data, item),
            canceled_at=from_unix(data["canceled_at"]) if data["canceled_at"] else None,
            stripe_subscription_id=state.object_id,
            stripe_checkout_session_id=self._session_id(),
        )
        return _without_quantity(self._ending(entitlement, status, state, item, paid_terms))

    def _ending(
        self,
        entitlement: Projected,
        status: str,
        state: FactLike,
        item: Mapping[str, Any],
        terms: Terms | None,
    ) -> Projected:
        if status == "canceled":
            ended = state.data["ended_at"] or state.data["canceled_at"]
            at = from_unix(ended) if ended else state.occurred_at
            return replace(
                entitlement,
                state=State.CANCELED,
                valid_until=at,
                ends_at=at,
                ends_as="canceled",
                canceled_at=at,
            )
        end, cancel = self._period_end(state, item), entitlement.cancel_at
        if status == "past_due":
            until = self._grace_end(state, item, terms)
            in_grace = replace(
                entitlement, state=State.PAST_DUE, valid_until=until, ends_at=until, ends_as="past_due"
            )
            return _until_cancel(in_grace, cancel)
        if status == "unpaid":
            return replace(entitlement, state=State.SUSPENDED, reason="past_due", valid_until=end)
        if status in {"paused", "incomplete", "incomplete_expired"}:
            return replace(entitlement, state=State.PAUSED, valid_until=end)
        running = replace(
            entitlement,
            state=State.TRIALING if status == "trialing" else State.ACTIVE,
            valid_until=end,
            ends_at=end + RENEWAL_SLACK,
            ends_as="renewal_unconfirmed",
        )
        return _until_cancel(running, cancel)

    def _status(self, state: FactLike) -> str:
        """The subscription's status; a collection paused with behavior `void` counts as paused.

        `past_due` says that the latest invoice is not paid: its payment ends that, reported first or not.
        """
        status = str(state.data["status"])
        if state.data["pause"] == "void" and status in {"active", "trialing", "past_due"}:
            return "paused"
        latest_invoice = state.data.get("latest_invoice")
        if status == "past_due" and any(invoice.id == latest_invoice for invoice in self.invoices):
            return "active"
        return status

    def _period_end(self, state: FactLike, item: Mapping[str, Any]) -> datetime:
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

    # --- a payment that failed ------------------------------------------------------------------------

    def _last_paid_for(self, item: Mapping[str, Any], terms: Terms) -> tuple[int, Terms | None]:
        """The quantity and terms that were last paid for: a change that is not paid gives nothing yet.

        The terms are none where that was a price of no product.
        """
        invoice = self._invoice_last_paid(item["id"])
        if invoice is None:
            return item["quantity"], {**terms, "grace_days": 0}
        line, state = line_paid(invoice, item["id"]), self._state_with_invoice(invoice)
        before = (_item_in(state, item["id"]) if state is not None else None) or item
        named = line if line is not None and line["price"] is not None else before
        quantity = line["quantity"] if line is not None else None
        paid_terms = self.terms.at_price(item["id"], named["price"])
        return before["quantity"] if quantity is None else quantity, paid_terms

    def _invoice_last_paid(self, item_id: str) -> PaidInvoice | None:
        """The last paid invoice of a period of the item after its trial, or of a change within one."""
        periods = (period for period in self.periods[item_id] if not self._is_of_trial(period))
        of_periods = {period.invoice.id for period in periods}
        billed = (
            invoice
            for invoice in reversed(self.invoices)
            if invoice.id in of_periods or line_paid(invoice, item_id) is not None
        )
        return next(billed, None)

    def _state_with_invoice(self, invoice: PaidInvoice) -> FactLike | None:
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

    def _grace_end(self, state: FactLike, item: Mapping[str, Any], terms: Terms | None) -> datetime:
        """Until when an item has access although a payment failed.

        Its grace begins with the failure; what was paid before lasts as long as it was paid for. Without
        terms, no product was.
        """
        since = unpaid_since(state, item, self.states, self.facts)
        if terms is None:
            return since
        until = since + timedelta(days=terms["grace_days"] if self._was_paid_for() else 0)
        paid = [from_unix(period.end) for period in self.periods[item["id"]]]
        return max([until, *paid[-1:]])

    # --- refunds and disputes -------------------------------------------------------------------------

    def _less_reversals(self, entitlement: Projected) -> Projected:
        """Less what refunds and disputes of the item's current period take; of earlier ones, nothing."""
        periods = self.periods[entitlement.item_key]
        if not periods or entitlement.state is State.CANCELED:
            return entitlement
        invoice = periods[-1].invoice
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
        taken = reversals.reversal(of_it, paid=invoice.amount_paid)
        lifted = lifted_at(self.facts, entitlement.item_key)
        if taken is None or (lifted is not None and taken.at <= lifted):
            return entitlement
        if taken.final and taken.reason == "disputed":
            return canceled(entitlement, taken.at, reason=taken.reason)
        return replace(entitlement, state=State.SUSPENDED, reason=taken.reason)

    def _session_id(self) -> str | None:
        return min((fact.object_id for fact in self.facts if fact.kind == "session"), default=None)


def _item_in(state: FactLike, item_id: str) -> Mapping[str, Any] | None:
    return next((item for item in state.data["items"] if item["id"] == item_id), None)


def _until_cancel(entitlement: Projected, cancel: datetime | None) -> Projected:
    """The earlier of its end and the scheduled cancel."""
    valid_until, ends_at = entitlement.valid_until, entitlement.ends_at
    assert valid_until is not None
    assert ends_at is not None
    if cancel is None or cancel > ends_at:
        return entitlement
    return replace(entitlement, valid_until=min(valid_until, cancel), ends_at=cancel, ends_as="canceled")


def _without_quantity(entitlement: Projected) -> Projected:
    """Of no seats nobody has access, while the subscription itself goes on."""
    if entitlement.quantity or entitlement.state in {State.CANCELED, State.PAUSED}:
        return entitlement
    return replace(entitlement, state=State.SUSPENDED, reason="quantity_zero")
