"""What units a subscription's item includes in which windows, by its states and paid invoices. Pure.

`windows` computes the windows of time that is paid for. Here stands which time that is, and what the item
gave in it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile

from licenzy.entitlements.item_states import IncludedLine, ItemState, item_states, line_of, lines_of
from licenzy.entitlements.operators import adjusted_windows
from licenzy.entitlements.periods import SAME_MOMENT, PaidInvoice
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.subscription_history import SubscriptionHistory
from licenzy.entitlements.windows import (
    FOR_GOOD,
    Level,
    Stretch,
    UnitWindows,
    carried_by,
    whole_seconds,
    windows_of,
)
from licenzy.kit.clock import from_unix

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
    terms: Terms | None
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
    terms: Terms | None
    paid_at: int | None
    """When the invoice that bills it was paid; None while none is."""


def included_units(history: SubscriptionHistory, item_id: str) -> list[UnitWindows]:
    """The included units of an item; none where its product includes none."""
    states = list(item_states(history, item_id))
    if not any(lines_of(state.terms) for state in states):
        return []
    periods = _paid_periods(history, item_id, states)
    trial = _trial(states)
    terms = [*(state.terms for state in states), *(period.terms for period in periods)]
    lines = [line for each in terms for line in lines_of(each)]
    adjusted = adjusted_windows(history.facts, history.billed.lineage(item_id))
    found: list[UnitWindows] = []
    for unit in sorted({line["unit"] for line in lines}):
        items = _items_with(unit, states, history.billed.lineage(item_id))
        if not items:
            continue
        stretches = sorted(
            [*_trial_stretches(trial, unit), *_stretches(periods, unit, items)],
            key=lambda each: each.starts_at,
        )
        low_units = [line.get("low_units") for line in lines if line["unit"] == unit][-1]
        windows = windows_of(unit, low_units, stretches, adjusted.get(unit, {}))
        if windows is not None:
            found.append(windows)
    return found


def _items_with(unit: str, states: Sequence[ItemState], lineage: Sequence[str]) -> set[str]:
    """The item and those before it that had this unit, one after the other: they share their windows."""
    having = {state.item["id"] for state in states if line_of(state.terms, unit) is not None}
    return set(takewhile(having.__contains__, lineage))


# --- the periods -------------------------------------------------------------------------------------------


def _paid_periods(history: SubscriptionHistory, item_id: str, states: Sequence[ItemState]) -> list[_Paid]:
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
            terms=history.terms_paid(invoice, made, item_id, price),
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
        terms=None,
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


# --- the trial ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Trial:
    start: int
    end: int
    changes: Sequence[tuple[int, int, Terms | None]]
    """From when on the item had which quantity and terms."""


def _trial(states: Sequence[ItemState]) -> _Trial | None:
    trialing = [state for state in states if state.fact.data["status"] == "trialing"]
    if not trialing:
        return None
    first, last = trialing[0], trialing[-1]
    ends = [state.fact.data["trial_end"] for state in states if state.fact.data.get("trial_end") is not None]
    end = ends[-1] if ends else last.span[1] if last.span is not None else None
    start = first.span[0] if first.span is not None else first.fact.data["started_at"] or first.at
    if end is None or end <= start:
        return None
    changes = [(state.at, state.item["quantity"], state.terms) for state in trialing]
    return _Trial(start, min(end, FOR_GOOD), changes)


def _trial_stretches(trial: _Trial | None, unit: str) -> list[Stretch]:
    """One window until the trial's end. More counts once it is paid for, and in a trial nothing is."""
    if trial is None:
        return []
    levels: list[Level] = []
    for at, quantity, terms in trial.changes:
        line = line_of(terms, unit)
        units = 0
        if line is not None:
            in_trial = line.get("trial_units")
            units = (line["units"] if in_trial is None else in_trial) * quantity
        if not levels:
            levels.append(Level(trial.start, units))
        elif units < levels[-1].units:
            levels.append(Level(at, units))
    return [Stretch(trial.start, trial.end, trial.start, "period", trial.start, 0, levels, is_trial=True)]


# --- one unit ----------------------------------------------------------------------------------------------


def _stretches(periods: Sequence[_Paid], unit: str, items: Collection[str]) -> list[Stretch]:
    found: list[Stretch] = []
    for period in periods:
        line = line_of(period.terms, unit) if period.item in items else None
        # A unit that comes within the period rises from nothing, in the windows that it then has.
        later = (
            line_of(change.terms, unit)
            for change in period.changes
            if change.paid_at is not None and change.item in items
        )
        rule = line or next((each for each in later if each is not None), None)
        stretch = _stretch(period, rule, period.start, period.opens_at, _units(line, period.quantity))
        stretch.is_fresh, stretch.credits_before = period.is_early, period.gives_back
        found.append(stretch)
        for change in period.changes:
            after = line_of(change.terms, unit) if change.item in items else None
            units, level = _units(after, change.quantity), stretch.levels[-1]
            is_other_rule = after is not None and rule is not None and after["every"] != rule["every"]
            is_paid = change.paid_at is not None and change.at < period.end
            # What is less counts at once, also in a window that runs on beyond the period.
            if not is_paid and (is_other_rule or units > level.units):
                continue
            if is_other_rule:
                assert change.paid_at is not None
                stretch = _stretch(period, after, change.at, change.paid_at, units)
                stretch.is_fresh = stretch.credits_before = True
                found.append(stretch)
            else:
                if change.paid_at is not None and line is None and len(stretch.levels) == 1:
                    stretch.opens_at = max(stretch.opens_at, change.paid_at)
                stretch.levels.append(Level(change.at, units))
                stretch.carries_at_most = carried_by(after) if after is not None else 0
            rule = after or rule
    return found


def _stretch(period: _Paid, line: IncludedLine | None, start: int, opens_at: int, units: int) -> Stretch:
    return Stretch(
        start,
        period.end,
        opens_at,
        line["every"] if line is not None else "period",
        period.anchor,
        carried_by(line) if line is not None else 0,
        [Level(start, units)],
    )


def _units(line: IncludedLine | None, quantity: int) -> int:
    return line["units"] * quantity if line is not None else 0
