"""The plain model finds what it is there to find: one planted mistake for each rule of subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from licenzy.entitlements import grace, periods, subscription_history, subscriptions
from licenzy.entitlements.changed_terms import ChangedTerms
from licenzy.entitlements.periods import PaidInvoice, Period
from licenzy.entitlements.projection import project
from licenzy.entitlements.sold import SoldTerms
from licenzy.entitlements.subscription_history import LastPaid, SubscriptionHistory
from tests.properties.fixtures_projection import in_true_order, make_history, misjudged
from tests.properties.test_histories import SEED

MOST = 6_000
Plant = Callable[[pytest.MonkeyPatch], None]


def is_misjudged() -> bool:
    """Whether the plain model contradicts the product in one of some histories, in their true order."""
    histories = (make_history(f"{SEED}:{number}") for number in range(MOST))
    return any(
        misjudged(project(in_true_order(life, history)), life)
        for history in histories
        for life in history.lives
    )


# --- a period belongs to an item, and its own paid line begins it -----------------------------------------


def every_line_begins_a_period(patch: pytest.MonkeyPatch) -> None:
    """Prorations too, and what the invoice bills for nothing of the subscription."""
    _change_invoices(
        patch, lambda bill: replace(bill, lines=_with_lines(bill, recurring=True, proration=False))
    )


def prorations_begin_periods(patch: pytest.MonkeyPatch) -> None:
    _change_invoices(patch, lambda bill: replace(bill, lines=_with_lines(bill, proration=False)))


def lines_without_an_item_bill_nothing(patch: pytest.MonkeyPatch) -> None:
    own = periods.BilledItems.of_line

    def named(self: Any, line: Any, invoice: Any) -> Any:
        return [each for each in own(self, line, invoice) if each == line["item"]]

    patch.setattr(periods.BilledItems, "of_line", named)


def prorations_without_an_item_bill_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(periods, "_of_proration", lambda line, invoice, items: [])


def a_line_without_an_item_bills_what_came_later(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(periods._Item, "came_after", lambda self, invoice: False)


def an_unmapped_price_never_keeps_the_product(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SoldTerms, "_kept", lambda self, item_id, stretch: None)


def fees_begin_periods(patch: pytest.MonkeyPatch) -> None:
    _change_invoices(patch, lambda bill: replace(bill, lines=_with_lines(bill, recurring=True)))


def manual_invoices_begin_periods(patch: pytest.MonkeyPatch) -> None:
    def as_others(bill: PaidInvoice) -> PaidInvoice:
        return replace(bill, reason="subscription_cycle", lines=None) if bill.reason == "manual" else bill

    _change_invoices(patch, as_others)


def items_share_their_periods(patch: pytest.MonkeyPatch) -> None:
    own = periods.periods_by_item

    def shared(states: Any, invoices: Any) -> Mapping[str, Sequence[Period]]:
        found = own(states, invoices)
        everything = sorted(each for of_item in found.values() for each in of_item)
        return dict.fromkeys(found, everything)

    patch.setattr(subscription_history, "periods_by_item", shared)


def an_item_in_another_s_place_begins_anew(patch: pytest.MonkeyPatch) -> None:
    own = periods._items

    def unrelated(states: Sequence[Any]) -> Any:
        items = own(states)
        for item in items.values():
            item.replaces = None
        return items

    patch.setattr(periods, "_items", unrelated)


def the_invoice_paid_last_is_the_current_one(patch: pytest.MonkeyPatch) -> None:
    own = periods.periods_by_item

    def by_payment(states: Any, invoices: Any) -> Mapping[str, Sequence[Period]]:
        found = own(states, invoices)
        return {name: sorted(each, key=lambda p: p.invoice.paid_at) for name, each in found.items()}

    patch.setattr(subscription_history, "periods_by_item", by_payment)


def a_page_is_taken_for_all_lines(patch: pytest.MonkeyPatch) -> None:
    _change_invoices(patch, lambda bill: replace(bill, has_more=False))


def only_creation_and_cycles_begin_periods(patch: pytest.MonkeyPatch) -> None:
    """A change of the interval begins none, then."""

    def without_changes(bill: PaidInvoice) -> PaidInvoice:
        return replace(bill, lines=[]) if bill.reason == "subscription_update" else bill

    _change_invoices(patch, without_changes)


# --- what was sold stays as sold --------------------------------------------------------------------------


def the_present_catalog_decides(patch: pytest.MonkeyPatch) -> None:
    class Latest(SoldTerms):
        def of(self, state: Any, item_id: str) -> Any:
            price = next(item["price"] for item in state.data["items"] if item["id"] == item_id)
            return self._last[item_id, price]

        def __init__(self, states: Sequence[Any], changed: ChangedTerms) -> None:
            super().__init__(states, changed)
            self._last: dict[tuple[str, str], Any] = {}
            for state in sorted(states, key=lambda state: state.occurred_at):
                for item in state.data["items"]:
                    self._last[item["id"], item["price"]] = item["sold"]

    patch.setattr(subscription_history, "SoldTerms", Latest)


def a_price_means_for_ever_what_it_meant_first(patch: pytest.MonkeyPatch) -> None:
    """Also to an item that left it and comes back."""

    class First(SoldTerms):
        def __init__(self, states: Sequence[Any], changed: ChangedTerms) -> None:
            super().__init__(states, changed)
            for stretches in self._of_item.values():
                for stretch in stretches:
                    first = next(each for each in stretches if each.price == stretch.price)
                    stretch.sold = first.sold

    patch.setattr(subscription_history, "SoldTerms", First)


# --- grace ------------------------------------------------------------------------------------------------


def grace_begins_with_the_last_failure(patch: pytest.MonkeyPatch) -> None:
    _begin_grace(patch, lambda facts, latest: max(_failures(facts, latest), default=None))


def failures_of_other_invoices_count(patch: pytest.MonkeyPatch) -> None:
    """Of those that are void or uncollectible too."""
    _begin_grace(patch, lambda facts, latest: min(_failures(facts), default=None))


def an_overdue_invoice_has_not_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(grace, "_FAILED", {"invoice.payment_failed"})


def a_trial_counts_as_paid(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SubscriptionHistory, "is_of_trial", lambda self, period: False)


def a_fee_at_the_start_of_a_trial_pays_for_it(patch: pytest.MonkeyPatch) -> None:
    def by_the_whole_invoice(self: SubscriptionHistory, period: Period) -> bool:
        return not period.invoice.amount_paid and not period.amount

    patch.setattr(SubscriptionHistory, "is_of_trial", by_the_whole_invoice)


def what_was_never_paid_for_is_granted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SubscriptionHistory, "was_granted", lambda self, item_id: True)


def the_payment_of_one_item_grants_all(patch: pytest.MonkeyPatch) -> None:
    own = SubscriptionHistory.was_granted

    def any_of_them(self: SubscriptionHistory, item_id: str) -> bool:
        return any(own(self, each) for each in self.billed)

    patch.setattr(SubscriptionHistory, "was_granted", any_of_them)


def an_unpaid_change_counts_in_grace(patch: pytest.MonkeyPatch) -> None:
    own = SubscriptionHistory.last_paid_for

    def present(self: Any, item: Any, terms: Any) -> LastPaid:
        return own(self, item, terms)._replace(quantity=item["quantity"], terms=terms)

    patch.setattr(SubscriptionHistory, "last_paid_for", present)


def an_unpaid_quantity_counts_in_grace(patch: pytest.MonkeyPatch) -> None:
    own = SubscriptionHistory.last_paid_for

    def with_present_quantity(self: Any, item: Any, terms: Any) -> LastPaid:
        return own(self, item, terms)._replace(quantity=item["quantity"])

    patch.setattr(SubscriptionHistory, "last_paid_for", with_present_quantity)


def a_fee_pays_for_the_subscription(patch: pytest.MonkeyPatch) -> None:
    """On a manual invoice too."""
    own = periods.BilledItems.of_line

    def fees_too(self: Any, line: Any, invoice: Any) -> Any:
        is_fee = line["item"] is None and not line["recurring"] and not line["proration"]
        return list(self) if is_fee else own(self, line, invoice)

    patch.setattr(periods.BilledItems, "of_line", fees_too)


def grace_cuts_what_was_paid_for(patch: pytest.MonkeyPatch) -> None:
    own = subscriptions._grace_end

    def days_alone(history: Any, state: Any, item: Any, terms: Any, paid_ends: Any) -> datetime:
        return own(history, state, item, terms, ())

    patch.setattr(subscriptions, "_grace_end", days_alone)


# --- the end of access ------------------------------------------------------------------------------------


def there_is_no_slack(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions, "RENEWAL_SLACK", timedelta(0))


def a_scheduled_cancel_is_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions, "_until_cancel", lambda entitlement, cancel: entitlement)


def a_far_cancel_outlasts_the_period(patch: pytest.MonkeyPatch) -> None:
    def until_then(entitlement: Any, cancel: datetime | None) -> Any:
        return entitlement if cancel is None else replace(entitlement, ends_at=cancel, ends_as="canceled")

    patch.setattr(subscriptions, "_until_cancel", until_then)


# --- prices of no product, quantities and items -----------------------------------------------------------


def an_unmapped_price_goes_on(patch: pytest.MonkeyPatch) -> None:
    def as_before(history: SubscriptionHistory, item: Any, last: Any, terms: Any) -> Any:
        return subscriptions._in_state(history, history.current, item, terms)

    patch.setattr(subscriptions, "_until_paid_period_ends", as_before)


def an_unmapped_price_ends_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions, "_until_paid_period_ends", lambda history, item, last, terms: None)


def an_unmapped_price_begins_a_period(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SubscriptionHistory, "is_ours", lambda self, period, item: True)


def no_seats_are_some(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions, "_without_quantity", lambda entitlement: entitlement)


def a_removed_item_stays(patch: pytest.MonkeyPatch) -> None:
    def as_last_seen(history: SubscriptionHistory, item_id: str) -> Any:
        before = history.mapped_before(item_id)
        assert before is not None
        state, terms = before
        item = next(each for each in state.data["items"] if each["id"] == item_id)
        return subscriptions._in_state(history, state, item, terms)

    patch.setattr(subscriptions, "_removed", as_last_seen)


@pytest.mark.parametrize(
    "plant",
    [
        every_line_begins_a_period,
        prorations_begin_periods,
        lines_without_an_item_bill_nothing,
        prorations_without_an_item_bill_nothing,
        a_line_without_an_item_bills_what_came_later,
        an_unmapped_price_never_keeps_the_product,
        fees_begin_periods,
        manual_invoices_begin_periods,
        items_share_their_periods,
        an_item_in_another_s_place_begins_anew,
        the_invoice_paid_last_is_the_current_one,
        a_page_is_taken_for_all_lines,
        only_creation_and_cycles_begin_periods,
        the_present_catalog_decides,
        a_price_means_for_ever_what_it_meant_first,
        grace_begins_with_the_last_failure,
        failures_of_other_invoices_count,
        an_overdue_invoice_has_not_failed,
        a_trial_counts_as_paid,
        a_fee_at_the_start_of_a_trial_pays_for_it,
        what_was_never_paid_for_is_granted,
        the_payment_of_one_item_grants_all,
        an_unpaid_change_counts_in_grace,
        an_unpaid_quantity_counts_in_grace,
        a_fee_pays_for_the_subscription,
        grace_cuts_what_was_paid_for,
        there_is_no_slack,
        a_scheduled_cancel_is_ignored,
        a_far_cancel_outlasts_the_period,
        an_unmapped_price_goes_on,
        an_unmapped_price_ends_at_once,
        an_unmapped_price_begins_a_period,
        no_seats_are_some,
        a_removed_item_stays,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_mistake_is_found(monkeypatch: pytest.MonkeyPatch, plant: Plant) -> None:
    plant(monkeypatch)
    assert is_misjudged()


# --- how they are planted ---------------------------------------------------------------------------------


def _change_invoices(patch: pytest.MonkeyPatch, change: Callable[[PaidInvoice], PaidInvoice]) -> None:
    own = periods.merge_paid_invoices

    def changed(facts: Iterable[Any]) -> list[PaidInvoice]:
        return [change(bill) for bill in own(facts)]

    patch.setattr(subscription_history, "merge_paid_invoices", changed)


def _with_lines(bill: PaidInvoice, **fields: Any) -> list[dict[str, Any]]:
    return [{**line, **fields} for line in bill.lines or ()]


def _begin_grace(patch: pytest.MonkeyPatch, since: Callable[[Sequence[Any], str], datetime | None]) -> None:
    own = grace.unpaid_since

    def changed(state: Any, item: Any, states: Sequence[Any], facts: Sequence[Any]) -> datetime:
        return since(facts, state.data["latest_invoice"]) or own(state, item, states, facts)

    patch.setattr(subscriptions, "unpaid_since", changed)


def _failures(facts: Sequence[Any], invoice: str | None = None) -> list[datetime]:
    """When payments failed or invoices became overdue: of one invoice, or of all."""
    return [
        fact.occurred_at
        for fact in facts
        if fact.kind == "invoice"
        and fact.data["event"] in grace._FAILED
        and invoice in {None, fact.object_id}
    ]
