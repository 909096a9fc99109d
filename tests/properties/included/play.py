"""Plays cases on the plain model."""

from __future__ import annotations

from tests.properties.included.case import Called, Case, Remaining, Shown
from tests.properties.included.model import Model


def differences(case: Case) -> list[str]:
    """Where the model says something else than the figures of a case."""
    model, wrong = Model(case.account), []
    for each in case.expected:
        found: object
        match each:
            case Called(call=call, answer=expected):
                found = model.perform(call)
            case Shown(at=at, item=item, balance=expected, unit=unit, purchase=purchase):
                found = model.balances(unit, at).get((purchase, item))
            case Remaining(at=at, left=expected, unit=unit):
                found = model.left(unit, at)
        if found != expected:
            wrong.append(f"{each}: {found}")
    return wrong
