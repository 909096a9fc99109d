"""What was kept as untracked before an import brought it along: nobody has to decide on it afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from licenzy.catalog.models import Kind, Product
from licenzy.errors import InvalidRequest
from licenzy.imports import actions
from licenzy.reconciliation.untracked import keep_untracked
from licenzy.stripe_events.models import UntrackedCheckout
from licenzy.stripe_events.untracked import SubscriptionState
from licenzy.stripe_events.untracked_queries import Shown, untracked_page
from licenzy.stripe_gateway import shapes
from licenzy.workspace.audit import Actor
from tests.imports.account import Account
from tests.stripe_events.test_adoption import deliver_events, take
from tests.stripe_events.test_untracked_subscriptions import only_walk
from tests.support.clock import StandingClock

Sell = Callable[..., Product]


def listed(account: Account, shown: Shown = Shown.WAITING) -> list[UntrackedCheckout]:
    with account.shop.runtime.database.read() as db:
        return list(untracked_page(db, account.scope, shown=shown).rows)


@pytest.fixture
def subscribed(account: Account, sell: Sell) -> str:
    price = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    return account.subscribe(account.customer(metadata={"user": "anna"}), price)


def run(account: Account, import_id: str, user: str | None) -> None:
    with account.shop.runtime.database.write() as db:
        now = account.shop.runtime.clock()
        actions.run_import(db, account.scope, import_id=import_id, actor=Actor(user), now=now)
    account.carry_on(import_id)


@pytest.mark.parametrize("user", ["usr_1", None], ids=["a person", "the command line"])
@pytest.mark.parametrize("by", [deliver_events, only_walk], ids=["events", "walk"])
def test_what_is_imported_is_assigned(
    account: Account, subscribed: str, clock: StandingClock, by: Any, user: str | None
) -> None:
    by(account.shop, clock)
    assert [each.purchase_key for each in listed(account)] == [subscribed]
    run(account, account.read(), user)
    assert account.standings() == {"anna": ["PRO active"]}
    assert listed(account) == []
    (row,) = listed(account, Shown.ADOPTED)
    assert (row.adopted_by, row.subject_id is not None) == (user, True)
    only_walk(account.shop, clock)
    assert listed(account) == []


def test_one_adopted_since_the_preview_stays_as_it_was_adopted(
    account: Account, subscribed: str, clock: StandingClock
) -> None:
    only_walk(account.shop, clock)
    import_id = account.read()
    take(account.shop, clock, "ben")
    (before,) = listed(account, Shown.ADOPTED)
    assert account.write(import_id) == {"here_already": 1}
    (after,) = listed(account, Shown.ADOPTED)
    assert after.model_dump() == before.model_dump()
    assert account.standings() == {"ben": ["PRO active"]}


def test_an_import_a_person_and_a_walk_at_once(
    account: Account, subscribed: str, clock: StandingClock
) -> None:
    only_walk(account.shop, clock)
    import_id = account.read()

    def adopt() -> bool:
        try:
            return bool(take(account.shop, clock, "ben"))
        except InvalidRequest:
            return False

    with ThreadPoolExecutor(3) as pool:
        adopted, walked = pool.submit(adopt), pool.submit(only_walk, account.shop, clock)
        written = pool.submit(account.write, import_id)
        walked.result()
        assert written.result() == ({"here_already": 1} if adopted.result() else {"imported": 1})
    owner = "ben" if adopted.result() else "anna"
    assert account.standings()[owner] == ["PRO active"]
    assert (len(listed(account)), len(listed(account, Shown.ADOPTED))) == (0, 1)


def test_a_walk_that_read_it_before_keeps_none(
    account: Account, subscribed: str, clock: StandingClock
) -> None:
    """It was nobody's when its page was read, and was imported before the page was kept."""
    read = account.shop.stripe.v1.subscriptions.retrieve(subscribed)
    account.write(account.read())
    state = SubscriptionState(subscribed, shapes.subscription(read.to_dict()), datetime.now(UTC))
    with account.shop.runtime.database.write() as db:
        keep_untracked(db, account.shop.connection, [state], now=clock())
    assert listed(account) == []


def test_a_row_left_over_is_assigned_to_whose_it_is(
    account: Account, subscribed: str, clock: StandingClock
) -> None:
    only_walk(account.shop, clock)
    account.write(account.read())
    with account.shop.runtime.database.write() as db:
        (row,) = untracked_page(db, account.scope, shown=Shown.ADOPTED).rows
        row.adopted_at = row.adopted_by = row.subject_id = None
    with pytest.raises(InvalidRequest) as refused:
        take(account.shop, clock, "ben")
    assert refused.value.fields == {"subject_ref": "it already belongs to anna"}
    assert take(account.shop, clock, "anna") == []
    assert listed(account) == []
