"""Two who apply at once, and a change between the comparison and the writing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from licenzy.catalog import actions as catalog
from licenzy.configuration.actions import Planned, apply_changes, plan_changes
from licenzy.configuration.entries import ConfigurationRefused
from licenzy.configuration.parsing import parse
from tests.configuration.conftest import Shop
from tests.configuration.test_apply import HOOKS, PACK, PRO
from tests.configuration.test_created_prices import TEAM


def planned(shop: Shop, content: str, *, prune: bool = False) -> Planned:
    configuration = parse(content.encode(), source="shop.toml", mode=shop.side.mode, private_allowed=False)
    return plan_changes(
        *shop.parts, shop.side, configuration=configuration, environ={}, prune=prune, now=shop.clock()
    )


def write(shop: Shop, plan: Planned) -> int:
    """The number of secrets that were made."""
    applied = apply_changes(
        *shop.parts, shop.side, planned=plan, private_allowed=False, actor=shop.actor, now=shop.clock()
    )
    return len(applied.secrets)


def test_of_two_who_apply_the_same_file_at_once_one_finds_nothing_to_do(shop: Shop) -> None:
    plans = [planned(shop, PRO + TEAM + HOOKS) for _ in range(2)]
    at_once = threading.Barrier(2)

    def apply(plan: Planned) -> int:
        at_once.wait(10)
        return write(shop, plan)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(apply, plans)) == [0, 1]
    assert shop.codes() == ["PRO", "TEAM"]
    assert len(shop.endpoints()) == 1
    assert [len(shop.at_stripe(key)) for key in ("team_month", "team_quarter")] == [1, 1]


def test_a_change_since_the_comparison_is_not_overwritten(shop: Shop) -> None:
    shop.applied(PRO + PACK)
    plan = planned(shop, PRO.replace("grace_days = 3", "grace_days = 9"))
    shop.applied(PRO.replace("grace_days = 3", "grace_days = 5"))
    with pytest.raises(ConfigurationRefused) as refused:
        write(shop, plan)
    assert refused.value.message == (
        "shop.toml: The products or endpoints were changed while the file was compared. Apply it again."
    )
    assert shop.product("PRO").grace_days == 5


def test_a_change_of_what_the_file_does_not_name_is_no_matter(shop: Shop) -> None:
    shop.applied(PRO + PACK)
    plan = planned(shop, PRO.replace("grace_days = 3", "grace_days = 9"))
    with shop.runtime.database.write() as db:
        catalog.archive_product(
            db, shop.side, product_id=shop.product("CREDITS").id, actor=shop.actor, now=shop.clock()
        )
    write(shop, plan)
    assert shop.product("PRO").grace_days == 9


def test_a_product_that_was_made_since_the_comparison_is_not_pruned(shop: Shop) -> None:
    shop.applied(PRO)
    plan = planned(shop, PRO.replace("grace_days = 3", "grace_days = 9"), prune=True)
    shop.applied(PACK)
    with pytest.raises(ConfigurationRefused):
        write(shop, plan)
    assert shop.codes() == ["CREDITS", "PRO"]
