"""A subscription from its first second through a handful of what happens to one."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.properties.histories import changes, judge, payments
from tests.properties.histories.catalog import Catalog
from tests.properties.histories.emitter import Emitter
from tests.properties.histories.life import Life, Names
from tests.properties.histories.subscription import Subscription

Step = Callable[[Subscription], None]


def subscription_life(chance: random.Random, names: Names, catalog: Catalog, *, spread: bool) -> Life:
    """One life, and what is right at its end."""
    subscription = Subscription(Emitter(chance, names, catalog, spread=spread))
    if changes.begin(subscription):
        _live(subscription)
    if chance.random() < 0.5:
        subscription.emitter.wait(5 * 86_400)
    subscription.snapshot()
    subscription.life.granted = subscription.was_granted
    subscription.life.rights = judge.rights(subscription)
    return subscription.life


def _live(subscription: Subscription) -> None:
    chance = subscription.chance
    for _ in range(chance.randrange(3, 13)):
        if subscription.status in {"canceled", "unpaid"}:
            break
        chance.choice(what_may_happen(subscription))(subscription)
        if chance.random() < 0.15:
            subscription.snapshot()
    if chance.random() < 0.15:
        payments.delete(subscription)
    elif subscription.status == "active" and not subscription.is_mixed:
        chance.choice((changes.flurry, changes.back_and_forth, lambda _: None, lambda _: None))(subscription)


def what_may_happen(subscription: Subscription) -> list[Step]:
    """The next steps that make sense, the likelier ones several times."""
    if subscription.status == "paused":
        return [changes.resume]
    end = changes.call_off if subscription.is_leaving else changes.leave
    always: list[Step] = [changes.seats_without_invoice, changes.edit_catalog, payments.manual_invoice, end]
    if subscription.status == "past_due":
        return [*always, *([payments.seat_invoice] * 2 if subscription.was_paid_for else []), *_OF_THE_UNPAID]
    if any(item.quantity == 0 for item in subscription.items.values()):
        return [changes.seats_again, payments.money_back, end, changes.edit_catalog]
    if subscription.current_bill.status == "open":
        return [*always, *_OF_THE_OPEN]
    old: list[Step] = [payments.old_invoice_is_paid] * 10 if payments.old_invoices(subscription) else []
    return [*always, *old, *_OF_THE_PAID]


_OF_THE_UNPAID: list[Step] = [
    *[payments.payment_comes] * 2,
    *[payments.payment_fails_again] * 3,
    *[payments.invoice_is_given_up] * 2,
    payments.subscription_is_given_up,
    changes.plan_without_invoice,
    changes.no_seats,
]
_OF_THE_OPEN: list[Step] = [
    *[payments.payment_comes] * 2,
    *[payments.payment_fails] * 3,
    payments.invoice_is_given_up,
    *[changes.paid_extra] * 4,
]
_OF_THE_PAID: list[Step] = [
    *[payments.renew] * 6,
    *[payments.renewal_fails] * 4,
    *[payments.money_back] * 2,
    payments.seat_invoice,
    *[payments.other_money_back] * 4,
    *[changes.plan_without_invoice] * 3,
    *[changes.there_and_back] * 4,
    *[changes.plan_with_invoice] * 2,
    *[changes.other_interval] * 6,
    *[changes.items] * 4,
    changes.edit_catalog,
    changes.paid_extra,
    *[changes.swap] * 2,
    changes.no_seats,
    changes.flurry,
    changes.pause,
    changes.collect,
]
