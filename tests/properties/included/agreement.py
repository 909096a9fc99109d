"""Where the product and the plain model disagree about a history made at random."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.properties.fixtures_projection import Fact
from tests.properties.included.generator import Made
from tests.properties.included.model import Item, Model, Source, Ties
from tests.properties.included.model_windows import roots
from tests.properties.included.play import answers
from tests.properties.included.purchase import Account
from tests.properties.included.stripe_facts import by, facts_of, item_id
from tests.properties.included.subject import Bounds, Ordered, Subject, WindowsAt

Disorder = Callable[[list[Fact], random.Random], list[Fact]]


def in_order(facts: list[Fact], _chance: random.Random) -> list[Fact]:
    return facts


def shuffled(facts: list[Fact], chance: random.Random) -> list[Fact]:
    return chance.sample(facts, len(facts))


def doubled(facts: list[Fact], chance: random.Random) -> list[Fact]:
    """Some facts are there twice, as where an event and a replay of it were both recorded."""
    return [*facts, *chance.sample(facts, len(facts) // 2)]


DISORDERS: tuple[Disorder, ...] = (in_order, shuffled, doubled)


def playing(subject: Subject, disorder: Disorder = in_order) -> Callable[[Account], Ordered]:
    """The product on the facts of a customer."""

    def play(account: Account) -> Ordered:
        return subject.calls(facts_by_purchase(account, disorder), account.packs)

    return play


def facts_by_purchase(account: Account, disorder: Disorder = in_order) -> dict[str, list[Fact]]:
    chance = random.Random(0)
    return {
        purchase.name: disorder(facts_of(purchase, account.prices), chance) for purchase in account.purchases
    }


def window_differences(windows_at: WindowsAt, made: Made, disorder: Disorder) -> list[str]:
    """Where the windows of the facts are not those of the model, of which nothing is used."""
    account, model, chance, wrong = made.account, Model(made.account), random.Random(0), []
    units = sorted({each.unit for price in account.prices.values() for each in price.included})
    for purchase in account.purchases:
        facts = disorder(facts_of(purchase, account.prices), chance)
        items = {item for each in units for item in model.items_of(purchase, each)}
        for now in (each if isinstance(each, int) else each.at for each in made.script):
            for unit in units:
                balances = model.balances(unit, now)
                for item in sorted(items):
                    balance = balances.get((purchase.name, item))
                    expected = None
                    if balance is not None:
                        # What comes off for want of use is nothing, so that all is granted.
                        expected = Bounds(balance.starts, balance.ends, balance.granted)
                    found = windows_at(by(facts, now), item_id(purchase, item), unit, now)
                    if found != expected:
                        wrong.append(f"{purchase.name}.{item} {unit} at {now}: {found}, not {expected}")
    return wrong


def call_differences(subject: Subject, made: Made, disorder: Disorder) -> list[str]:
    """The first answer of the product that is not the model's, with what the model says."""
    calls = playing(subject, disorder)(made.account)
    found = answers(made.account, made.script, lambda _account: calls)
    expected = answers(made.account, made.script, lambda account: Model(account, ties=_ties(account, calls)))
    pairs = zip(found, expected, strict=True)
    return next(([f"{left}, not {right}"] for left, right in pairs if left != right), [])


def _ties(account: Account, calls: Ordered) -> Ties:
    """How the product drew windows that begin and end together: those of items of one subscription."""
    found: dict[Source, str] = {}
    purchases = {purchase.name: purchase for purchase in account.purchases}
    for (purchase, item, unit, start), place in calls.order().items():
        root = roots(purchases[purchase], unit, account.prices)[item]
        found[Source(Item(purchase, root, unit), start)] = place
    return found
