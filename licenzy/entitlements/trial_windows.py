"""What units an item includes in the trial of its subscription. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from licenzy.entitlements.included_lines import IncludedLine, units_of
from licenzy.entitlements.item_states import ItemState, lines_for
from licenzy.entitlements.sold import Terms
from licenzy.entitlements.term_versions import TermVersions
from licenzy.entitlements.windows import FOR_GOOD, Level, Stretch


@dataclass(frozen=True, slots=True)
class TrialTime:
    """The time of a trial, with what the item gave in it."""

    start: int
    end: int
    changes: Sequence[tuple[int, int, TermVersions[Terms | None]]]
    """From when on the item had which quantity and terms."""


def trial_of(states: Sequence[ItemState]) -> TrialTime | None:
    """The trial that an item was in; None where it was in none, or its end is not known."""
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
    return TrialTime(start, min(end, FOR_GOOD), changes)


def stretches_of_trial(trial: TrialTime | None, unit: str) -> list[Stretch]:
    """One window until the trial's end. More counts once it is paid for, and in a trial nothing is."""
    if trial is None:
        return []
    levels: list[Level] = []
    for at, quantity, terms in trial.changes:
        units = lines_for(terms, unit).map(_units_in_trial).map(quantity.__mul__)
        if not levels:
            levels.append(Level(trial.start, units))
        elif units.at(at) < levels[-1].units.at(at):
            levels.append(Level(at, units))
    carried: TermVersions[int | None] = TermVersions(0)
    return [
        Stretch(trial.start, trial.end, trial.start, "period", trial.start, carried, levels, is_trial=True)
    ]


def _units_in_trial(line: IncludedLine | None) -> int:
    in_trial = line.get("trial_units") if line is not None else None
    return units_of(line) if in_trial is None else int(in_trial)
