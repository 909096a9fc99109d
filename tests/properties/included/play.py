"""Plays cases, and the calls of histories, on the plain model or on the product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

from tests.properties.included.case import Called, Case, Remaining, Shown
from tests.properties.included.model import Model
from tests.properties.included.purchase import Account, Balance, Call
from tests.properties.included.subject import Calls

Play: TypeAlias = Callable[[Account], Calls]


def differences(case: Case, play: Play = Model) -> list[str]:
    """Where something else is said than the figures of a case."""
    calls, wrong = play(case.account), []
    for each in case.expected:
        found: object
        match each:
            case Called(call=call, answer=expected):
                found = calls.perform(call)
            case Shown(at=at, item=item, balance=expected, unit=unit, purchase=purchase):
                found = _taken_together(calls.balances(unit, at).get((purchase, item)))
                expected = _taken_together(expected)
            case Remaining(at=at, left=expected, unit=unit):
                found = calls.left(unit, at)
        if found != expected:
            wrong.append(f"{each}: {found}")
    return wrong


def _taken_together(balance: Balance | None) -> Balance | None:
    """What is used and reserved in one figure: which of both was of carried units, no rule says."""
    if balance is None:
        return None
    return replace(balance, used=balance.used + balance.reserved, reserved=0, forfeited=0)


def answers(account: Account, script: Sequence[Call | int], play: Play = Model) -> list[str]:
    """What is said of each call, and at each instant, comparable."""
    calls, said = play(account), []
    units = sorted({each.unit for price in account.prices.values() for each in price.included})
    for each in script:
        if isinstance(each, int):
            balances = {
                unit: {
                    item: _taken_together(balance)
                    for item, balance in sorted(calls.balances(unit, each).items())
                }
                for unit in units
            }
            said.append(f"{each}: {balances} {[calls.left(unit, each) for unit in units]}")
        else:
            said.append(f"{each}: {calls.perform(each)}")
    return said
