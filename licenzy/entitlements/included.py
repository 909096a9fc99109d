"""What units a subscription's item includes in which windows, by its states and paid invoices. Pure.

`windows` computes the windows of time that is paid for. Here stands which time that is, and what the item
gave in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from licenzy.entitlements.included_lines import IncludedLine, carried_by, units_of
from licenzy.entitlements.item_states import ItemState, item_states, lines_for, lines_of
from licenzy.entitlements.operators import adjusted_windows
from licenzy.entitlements.periods import SAME_MOMENT, PaidInvoice
from licenzy.entitlements.projected import FactLike
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.subscription_history import SubscriptionHistory
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.trial_windows import stretches_of_trial, trial_of
from licenzy.entitlements.windows import FOR_GOOD, Level, Stretch, UnitWindows, whole_seconds, windows_of
from licenzy.kit.clock import from_unix

_NO_TERMS: TermVersions[Terms | None] = TermVersions(None)
_MOMENT = int(SAME_MOMENT.total_seconds())
_KEPT_OPEN = frozenset({"keep_as_draft", "mark_uncollectible"})
"""Behaviors of a paused collection under which a period is given without being paid."""


@dataclass(slots=True)
class _Paid:
    """A period that was paid, or is given without being paid, with what the item gave when it began."""

    start: int
    end: int
    opens_at: int
    item: str
    price: str
    quantity: int
    terms: TermVersions[Terms | None]
    invoice: PaidInvoice | None
    anchor: int
    is_early: bool = False
    """Whether it began before the period that was paid before it was over."""
    gives_back: bool = False
    """Whether its invoice gave back time of that one."""
    changes: list[_Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Change:
    """Another price or quantity within a period."""

    at: int
    item: str
    quantity: int
    terms: TermVersions[Terms | None]
    paid_at: int | None
    """When the invoice that bills it was paid; None while none is."""


def included_units(history: SubscriptionHistory, item_id: str) -> list[UnitWindows]:
    """The included units of an item; none where its product includes none."""
    versions = history.versions()
    states = list(item_states(history, versions, item_id))
    if not any(lines_of(each) for state in states for each in state.terms.values):
        return []
    periods = _paid_periods(history, versions, item_id, states)
    trial = trial_of(states)
    terms = [*(state.terms for state in states), *(period.terms for period in periods)]
    lines = [line for each in terms for version in each.values for line in lines_of(version)]
    adjusted = adjusted_windows(history.facts, history.billed.lineage(item_id))
    found: list[UnitWindows] = []
    for unit in sorted({line["unit"] for line in lines}):
        items = _items_with(unit, states, history.billed.lineage(item_id))
        if not items:
            continue
        stretches = sorted(
            [*stretches_of_trial(trial, unit), *_stretches(periods, unit, items)],
            key=lambda each: each.starts_at,
        )
        low_units = [line.get("low_units") for line in lines if line["unit"] == unit][-1]
        windows = windows_of(unit, low_units, stretches, adjusted.get(unit, {}))
        if windows is not None:
            found.append(windows)
    return found


def _items_with(unit: str, states: Sequence[ItemState], lineage: Sequence[str]) -> set[str]:
    """The item and those before it that had this unit, one after the other: they share their windows."""
    having = {state.item["id"] for state in states if any(lines_for(state.terms, unit).values)}
    return set(takewhile(having.__contains__, lineage))


# --- the periods -------------------------------------------------------------------------------------------


def _paid_periods(
    history: SubscriptionHistory,
    versions: TermVersions[SubscriptionHistory],
    item_id: str,
    states: Sequence[ItemState],
) -> list[_Paid]:
    by_start: dict[int, _Paid] = {}
    for period in history.periods[item_id]:
        if history.is_of_trial(period) or period.end <= period.start:
            continue
        invoice = period.invoice
        made = history.state_with_invoice(invoice)
        then = history.in_place_of(made, item_id) if made is not None else None
        then = then or states[-1].item
        price = period.price or then["price"]
        by_start[period.start] = _Paid(
            start=period.start,
            end=min(period.end, FOR_GOOD),
            opens_at=whole_seconds(invoice.paid_at),
            item=then["id"],
            price=price,
            quantity=then["quantity"] if period.quantity is None else period.quantity,
            terms=versions.map(_terms_paid(invoice, made, item_id, price)),
            invoice=invoice,
            anchor=period.start,
        )
    was_paused, began_paused, running = False, False, None
    for state in states:
        data, span = state.fact.data, state.span
        if span is not None and span[0] != running:
            # A pause counts for the periods that begin in it, however many states there are of each.
            began_paused, running = was_paused, span[0]
        was_paused = data["pause"] in _KEPT_OPEN
        is_kept_open = was_paused and data["status"] == "active"
        if is_kept_open and span is not None and (began_paused or span[0] + _MOMENT >= state.at):
            start, end = span
            kept = _Paid(
                start=start,
                end=min(end, FOR_GOOD),
                opens_at=state.at,
                item=state.item["id"],
                price=state.item["price"],
                quantity=state.item["quantity"],
                terms=state.terms,
                invoice=None,
                anchor=start,
            )
            by_start.setdefault(start, kept)
    added = _added(history, item_id, states)
    if added is not None:
        by_start.setdefault(added.start, added)
    periods: list[_Paid] = []
    for each in sorted(by_start.values(), key=lambda paid: (max(paid.opens_at, paid.start), paid.start)):
        # One that is paid for when a later one has begun opens nothing any more.
        if not periods or each.start > periods[-1].start:
            periods.append(each)
    _mark_early(history, item_id, states, periods)
    for each, until in zip(periods, [*(each.start for each in periods[1:]), FOR_GOOD], strict=False):
        each.anchor = _anchor(states, each, periods[0])
        each.changes = list(_changes(history, item_id, states, periods, each, until))
    return periods


def _terms_paid(
    invoice: PaidInvoice, made: FactLike | None, item_id: str, price: str
) -> Callable[[SubscriptionHistory], Terms | None]:
    return lambda history: history.terms_paid(invoice, made, item_id, price)


def _added(history: SubscriptionHistory, item_id: str, states: Sequence[ItemState]) -> _Paid | None:
    """The rest of the period in which an item was added, which rises from nothing when that is paid for."""
    first = states[0]
    root = history.billed.lineage(item_id)[-1]
    if history.billed[root].is_first or first.span is None or first.item["id"] != root:
        return None
    start, end = first.span
    if first.at <= start:
        return None
    return _Paid(
        start=start,
        end=min(end, FOR_GOOD),
        opens_at=start,
        item=root,
        price="",
        quantity=0,
        terms=TermVersions(None),
        invoice=None,
        anchor=start,
    )


def _mark_early(
    history: SubscriptionHistory, item_id: str, states: Sequence[ItemState], periods: Sequence[_Paid]
) -> None:
    lineage = set(history.billed.lineage(item_id))
    for before, each in pairwise(periods):
        each.is_early = each.start < before.end
        if not each.is_early or each.invoice is None:
            continue
        prorated = [
            line
            for line in each.invoice.lines or ()
            if line["proration"] and not lineage.isdisjoint(history.billed.of_line(line, each.invoice))
        ]
        # What a change within the old period gave back is of that change, and mostly has a charge beside it.
        changed = [state.at for state in states if before.start < state.at < each.start - _MOMENT]
        changed += [line["start"] for line in prorated if line["start"] and (line["amount"] or 0) > 0]
        each.gives_back = any(
            (line["amount"] or 0) < 0 and not any(abs(at - (line["start"] or 0)) <= _MOMENT for at in changed)
            for line in prorated
        )


def _anchor(states: Sequence[ItemState], period: _Paid, first: _Paid) -> int:
    """From when Stripe counts the periods: as the states of this one say, else as any of the others does."""
    named = [state for state in states if state.fact.data.get("anchor") is not None]
    of_it = [state for state in named if state.span is not None and state.span[0] == period.start]
    before = [state for state in named if state.at <= period.start]
    said = of_it[:1] or before[-1:] or named[:1]
    return int(said[0].fact.data["anchor"]) if said else first.start


def _changes(
    history: SubscriptionHistory,
    item_id: str,
    states: Sequence[ItemState],
    periods: Sequence[_Paid],
    period: _Paid,
    until: int,
) -> Iterator[_Change]:
    """How the item changed in a period, and until the next one begins."""
    had, latest_invoice = (period.price, period.quantity), None
    for state in states:
        invoice_before, latest_invoice = latest_invoice, state.fact.data.get("latest_invoice")
        has = state.item["price"], state.item["quantity"]
        if not period.start < state.at < until or has == had:
            continue
        had = has
        made_invoice = latest_invoice if latest_invoice != invoice_before else None
        billed = (
            whole_seconds(invoice.paid_at)
            for invoice in _invoices_of_changes(history, periods)
            if _bills(history, item_id, invoice, state, made_invoice)
        )
        yield _Change(
            state.at, state.item["id"], state.item["quantity"], state.terms, min(billed, default=None)
        )


def _invoices_of_changes(history: SubscriptionHistory, periods: Sequence[_Paid]) -> Iterator[PaidInvoice]:
    """The paid invoices that bill changes: not those of periods that begin on time."""
    of_periods = {
        period.invoice.id for period in periods if period.invoice is not None and not period.is_early
    }
    for invoice in history.invoices:
        if invoice.id in of_periods or invoice.reason == "subscription_cycle":
            continue
        if history.reversal_of(invoice) is None:
            yield invoice


def _bills(
    history: SubscriptionHistory,
    item_id: str,
    invoice: PaidInvoice,
    state: ItemState,
    made_invoice: str | None,
) -> bool:
    """Whether a paid invoice has a line for the rest of a period after this change."""
    if invoice.lines is None:
        return invoice.id == made_invoice
    lineage = set(history.billed.lineage(item_id))
    at = state.fact.occurred_at
    for line in invoice.lines:
        if not line["proration"] or (line["amount"] or 0) < 0 or line["start"] is None:
            continue
        if line["price"] not in {None, state.item["price"]}:
            continue
        if line.get("quantity") not in {None, state.item["quantity"]}:
            continue
        made_then = invoice.id == made_invoice or abs(from_unix(line["start"]) - at) <= SAME_MOMENT
        if made_then and not lineage.isdisjoint(history.billed.of_line(line, invoice)):
            return True
    return invoice.has_more and invoice.id == made_invoice


# --- one unit ----------------------------------------------------------------------------------------------


def _stretches(periods: Sequence[_Paid], unit: str, items: Collection[str]) -> list[Stretch]:
    found: list[Stretch] = []
    for period, until in zip(periods, [*(each.start for each in periods[1:]), FOR_GOOD], strict=False):
        lines = lines_for(period.terms if period.item in items else _NO_TERMS, unit)
        quantity, comes_later = period.quantity, lines.at(period.start) is None
        # A unit that comes within the period rises from nothing, in the windows that it then has.
        changes = (
            lines_for(change.terms, unit).at(change.at)
            for change in period.changes
            if change.paid_at is not None and change.item in items
        )
        coming = (lines.at(period.start), *lines.before(period.end), *changes)
        rule = next((each for each in coming if each is not None), None)
        stretch = _stretch(period, rule, period.start, period.opens_at, lines, quantity)
        stretch.is_fresh, stretch.credits_before = period.is_early, period.gives_back
        found.append(stretch)
        for at, change in _in_time(period, unit, min(period.end, until)):
            if change is None:
                given = lines.at(at)
                if given is not None and (rule is None or given["every"] != rule["every"]):
                    opens_at = max(at, period.opens_at)
                    stretch = _stretch(period, given, at, opens_at, lines, quantity, is_other_rule=True)
                    found.append(stretch)
                    rule = given
                continue
            changed = lines_for(change.terms if change.item in items else _NO_TERMS, unit)
            after, had = changed.at(at), stretch.levels[-1].units.at(at)
            is_other_rule = after is not None and rule is not None and after["every"] != rule["every"]
            is_paid = change.paid_at is not None and at < period.end
            # What is less counts at once, also in a window that runs on beyond the period.
            if not is_paid and (is_other_rule or units_of(after) * change.quantity > had):
                continue
            lines, quantity = changed, change.quantity
            if is_other_rule:
                assert change.paid_at is not None
                stretch = _stretch(period, after, at, change.paid_at, lines, quantity, is_other_rule=True)
                found.append(stretch)
            else:
                if change.paid_at is not None and comes_later and len(stretch.levels) == 1:
                    stretch.opens_at = max(stretch.opens_at, change.paid_at)
                stretch.levels.append(_level(at, lines, quantity))
                stretch.carries_at_most = lines.map(carried_by)
            rule = after or rule
    return found


def _in_time(period: _Paid, unit: str, until: int) -> list[tuple[int, _Change | None]]:
    """The changes of a period, and None where terms of the unit were given, in their order."""
    terms = [period.terms, *(change.terms for change in period.changes)]
    instants = (since for each in terms for since, _ in lines_for(each, unit).given)
    given = {since for since in instants if period.start < since < until}
    changes = [(change.at, change) for change in period.changes]
    return sorted([*changes, *((since, None) for since in given)], key=lambda each: (each[0], not each[1]))


def _stretch(
    period: _Paid,
    rule: IncludedLine | None,
    start: int,
    opens_at: int,
    lines: TermVersions[IncludedLine | None],
    quantity: int,
    *,
    is_other_rule: bool = False,
) -> Stretch:
    return Stretch(
        start,
        period.end,
        opens_at,
        rule["every"] if rule is not None else "period",
        period.anchor,
        lines.map(carried_by),
        [_level(start, lines, quantity)],
        is_fresh=is_other_rule,
        credits_before=is_other_rule,
    )


def _level(since: int, lines: TermVersions[IncludedLine | None], quantity: int) -> Level:
    return Level(since, lines.map(units_of).map(quantity.__mul__))
