"""The facts that are written for a history say what happened in it: access is as the plain model has it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from licenzy.entitlements.decision import standing
from licenzy.entitlements.projection import project
from licenzy.kit.clock import from_unix
from tests.properties.fixtures_projection import Fact, Unused
from tests.properties.included.abuse_cases import CASES
from tests.properties.included.case import Case
from tests.properties.included.model_access import is_available
from tests.properties.included.model_windows import roots
from tests.properties.included.purchase import Account, Begin, Purchase, Renew, Reset, Step
from tests.properties.included.stripe_facts import by, facts_of, item_id


def differences(account: Account) -> Iterator[str]:
    """Where the entitlements of the facts are available and the model says no, or the other way round."""
    units = {each.unit for price in account.prices.values() for each in price.included}
    for purchase in account.purchases:
        facts = facts_of(purchase, account.prices)
        for now in instants(purchase):
            available = available_items(by(facts, now), now)
            for unit in units:
                names = roots(purchase, unit, account.prices)
                for root in set(names.values()):
                    found = any(
                        item_id(purchase, name) in available for name, of in names.items() if of == root
                    )
                    expected = is_available(purchase, root, unit, account.prices, now)
                    if found is not expected:
                        yield f"{purchase.name}.{root} at {from_unix(now)}: {found}, not {expected}"


def available_items(facts: list[Fact], now: int) -> set[str]:
    at = from_unix(now)
    return {each.item_key for each in project(facts) if standing(Unused(each), at).available}


def instants(purchase: Purchase) -> list[int]:
    """Around all that happens to a subscription, and long after."""
    edges = {second for step in purchase.steps for second in _instants(step)}
    around = {edge + more for edge in edges for more in (0, 1, 3600, 86_400, 3 * 86_400, 4 * 86_400)}
    begun = min(step.at for step in purchase.steps)
    return sorted(each for each in {*around, *(edge - 1 for edge in edges)} if each >= begun)


def _instants(step: Step) -> Iterator[int]:
    yield step.at
    if isinstance(step, Begin | Renew | Reset):
        yield step.until
    bill = getattr(step, "bill", None)
    if bill is not None:
        yield from (at for at in (bill.paid, bill.failed, bill.voided, bill.refunded) if at is not None)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_facts_of_the_abuse_table_give_access_as_the_model_says(case: Case) -> None:
    assert list(differences(case.account)) == []
