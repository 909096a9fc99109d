"""Prices that are created in Stripe: where it is allowed, once, and never in live mode."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import col, update

from licenzy.connections.models import Connection, Provider
from tests.configuration.conftest import Shop

TEAM = """
[[product]]
code = "TEAM"
kind = "subscription"

  [[product.price]]
  label = "month"
  lookup_key = "team_month"
  create = { amount = 2000, currency = "usd", interval = "month" }

  [[product.price]]
  label = "quarter"
  lookup_key = "team_quarter"
  create = { amount = 5400, currency = "usd", interval = "month", interval_count = 3 }
"""


@contextmanager
def failing_writes(shop: Shop, table: str) -> Iterator[None]:
    """While this holds, the process ends as it writes to a table: nothing of the transaction stays."""

    class PowerCut(BaseException):
        pass

    def cut(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if statement.startswith(f"INSERT INTO {table} "):
            raise PowerCut

    engine = shop.runtime.database.engine
    event.listen(engine, "before_cursor_execute", cut)
    try:
        with pytest.raises(PowerCut):
            yield
    finally:
        event.remove(engine, "before_cursor_execute", cut)


def as_if_at_stripe(shop: Shop) -> None:
    """Have the connection be one to Stripe itself; its address is the sandbox's all the same."""
    change = update(Connection).where(col(Connection.project_id) == shop.side.project_id)
    with shop.runtime.database.write() as db:
        db.execute(change.values(provider=Provider.STRIPE))


def test_on_the_sandbox_missing_prices_are_created(shop: Shop) -> None:
    planned = shop.apply(TEAM, "--dry-run")
    assert planned.exit_code == 1
    assert "price month: created in Stripe, $20.00 every month" in planned.stdout
    assert "price quarter: created in Stripe, $54.00 every 3 months" in planned.stdout
    assert shop.at_stripe("team_month") == []
    report = shop.applied(TEAM)
    (month,), (quarter,) = shop.at_stripe("team_month"), shop.at_stripe("team_quarter")
    assert report["created_prices"] == [
        {
            "product_code": "TEAM",
            "label": label,
            "lookup_key": f"team_{label}",
            "stripe_price_id": price["id"],
        }
        for label, price in (("month", month), ("quarter", quarter))
    ]
    assert (month["unit_amount"], month["currency"], month["recurring"]["interval"]) == (2000, "usd", "month")
    assert quarter["recurring"]["interval_count"] == 3
    assert month["product"] == quarter["product"], "prices of one product share a product in Stripe"
    assert shop.product("TEAM").stripe_name == "TEAM"
    assert shop.selling("TEAM") == {"month": month["id"], "quarter": quarter["id"]}
    assert not shop.differs(TEAM)
    assert shop.applied(TEAM)["created_prices"] == []


def test_a_created_price_joins_the_stripe_product_of_the_others(shop: Shop) -> None:
    known = TEAM[: TEAM.index('  [[product.price]]\n  label = "month"')]
    known += '  [[product.price]]\n  label = "old"\n  lookup_key = "licenzy_demo_pro_monthly"\n'
    shop.applied(known)
    shop.applied(known + TEAM[TEAM.index('  [[product.price]]\n  label = "month"') :])
    products = {price.stripe_product_id for price in shop.product("TEAM").prices}
    assert len(products) == 1


@pytest.mark.parametrize("table", ["products", "product_prices", "audit_log"])
def test_after_a_crash_the_next_run_finds_the_price_that_was_created(shop: Shop, table: str) -> None:
    path = shop.file(TEAM)
    with failing_writes(shop, table):
        result = shop.run("apply", path, "--project", shop.side.project_id)
        assert result.exception is not None
        raise result.exception
    assert shop.codes() == []
    (before,) = shop.at_stripe("team_month")
    report = shop.applied(TEAM)
    assert report["created_prices"] == []
    assert [price["id"] for price in shop.at_stripe("team_month")] == [before["id"]]
    assert shop.selling("TEAM")["month"] == before["id"]


def test_what_stripe_refuses_changes_nothing_here_and_names_what_was_created(shop: Shop) -> None:
    broken = TEAM.replace("amount = 5400", "amount = 99999999999")
    sentence = shop.refused(broken + '[[endpoint]]\nurl = "https://example.com/"\ntypes = ["usage.low"]\n')
    (month,) = shop.at_stripe("team_month")
    assert sentence.startswith("shop.toml: product TEAM, price quarter: Stripe refused the call: ")
    assert sentence.endswith(
        f"Nothing was changed here. Created in Stripe, and used the next time: team_month ({month['id']})."
    )
    assert (shop.codes(), shop.endpoints()) == ([], [])
    shop.applied(TEAM)
    assert shop.selling("TEAM")["month"] == month["id"]
    assert len(shop.at_stripe("team_month")) == 1


def test_a_price_that_has_another_amount_is_not_taken_silently(shop: Shop) -> None:
    shop.applied(TEAM)
    sentence = (
        "shop.toml: product TEAM, price month: The price with the lookup key team_month has $20.00 every "
        "month in Stripe, and create says $25.00 every month. Correct create, or move the lookup key to "
        "another price."
    )
    assert shop.refused(TEAM.replace("2000", "2500")) == sentence
    assert shop.refused(TEAM.replace("2000", "2500"), "--dry-run") == sentence


def test_a_lookup_key_without_a_price_and_without_create(shop: Shop) -> None:
    wanted = TEAM.replace('  create = { amount = 2000, currency = "usd", interval = "month" }\n', "")
    assert shop.refused(wanted) == (
        "shop.toml: product TEAM, price month: Stripe has no price with the lookup key team_month in "
        "test mode. Create it in Stripe, or describe it with create."
    )
    assert shop.at_stripe("team_quarter") == []


def test_what_a_lookup_key_hides_is_shown_escaped(shop: Shop) -> None:
    wanted = TEAM.replace("team_month", "team\\u001b[2J\\u202emonth").replace(
        '  create = { amount = 2000, currency = "usd", interval = "month" }\n', ""
    )
    sentence = shop.refused(wanted)
    assert "the lookup key team\\u001B[2J\\u202Emonth in" in sentence


def test_a_lookup_key_that_was_taken_away_within_the_day(shop: Shop) -> None:
    """Stripe repeats its first answer to the same idempotency key, although the price has changed since."""
    shop.applied(TEAM)
    quarter = shop.selling("TEAM")["quarter"]
    shop.stripe(f"/prices/{quarter}", lookup_key="another")
    sentence = shop.refused(TEAM.replace('code = "TEAM"', 'code = "TEAM"\ngrace_days = 1'))
    assert f"Stripe created {quarter} for this entry within the last day" in sentence
    assert shop.product("TEAM").grace_days == 0


def test_outside_the_sandbox_prices_are_created_only_where_that_is_asked_for(shop: Shop) -> None:
    as_if_at_stripe(shop)
    assert shop.refused(TEAM) == (
        "shop.toml: product TEAM, price month: Stripe has no price with the lookup key team_month in "
        "test mode. Add --create-prices to create it, or create it in Stripe."
    )
    assert len(shop.applied(TEAM, "--create-prices")["created_prices"]) == 2


def test_in_live_mode_no_price_is_ever_created(shop: Shop) -> None:
    shop.connect_live()
    for options in ((), ("--create-prices",), ("--dry-run",)):
        assert shop.refused(TEAM, *options) == (
            "shop.toml: product TEAM, price month: Stripe has no price with the lookup key team_month in "
            "live mode. Prices are never created in live mode. Create it in Stripe, then apply the file "
            "again."
        )
    assert shop.at_stripe("team_month") == []
    for label, count in (("month", 1), ("quarter", 3)):
        shop.stripe(
            "/prices",
            **{
                "unit_amount": "2000" if label == "month" else "5400",
                "currency": "usd",
                "recurring[interval]": "month",
                "recurring[interval_count]": str(count),
                "product_data[name]": "Team",
                "lookup_key": f"team_{label}",
            },
        )
    assert shop.applied(TEAM)["created_prices"] == []
    assert shop.selling("TEAM")["month"] == shop.price("team_month")


def test_a_price_from_the_other_mode_is_refused(shop: Shop) -> None:
    month = shop.price("licenzy_demo_pro_monthly")
    shop.connect_live()
    pro = f'[[product]]\ncode = "PRO"\nkind = "subscription"\nprice = [{{ stripe_price = "{month}" }}]\n'
    assert shop.refused(pro) == (
        "shop.toml: product PRO, price default: This is a test mode price. Pick a live mode price."
    )
    unknown = pro.replace(month, "price_nobodyknows")
    assert shop.refused(unknown) == (
        "shop.toml: product PRO, price default: The connected account has no such price in live mode. Check "
        "the account."
    )


def test_the_report_of_a_dry_run_has_the_price_that_will_be_created(shop: Shop) -> None:
    result = shop.apply(TEAM, "--dry-run", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["applied"], report["different"]) == (1, False, True)
    assert report["products"][0]["prices"][0] == {
        "action": "create",
        "label": "month",
        "stripe_price_id": None,
        "former_label": None,
        "retires": None,
    }
