"""Imports of an account that sold before: what is matched is here afterwards; there nothing is written."""

from __future__ import annotations

from collections.abc import Callable

from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Fact
from licenzy.imports.models import ImportOutcome
from licenzy.kit.clock import from_unix
from tests.imports.account import Account
from tests.imports.awkward import CASES, Awkward, products
from tests.imports.meanwhile import LONG_AGO
from tests.support.clock import StandingClock

Sell = Callable[..., Product]


def test_subscribers_are_brought_along(account: Account, sell: Sell) -> None:
    pro = sell("PRO", Kind.SUBSCRIPTION).prices[0].stripe_price_id
    anna = account.subscribe(account.customer(metadata={"user": "anna"}), pro)
    ben = account.subscribe(account.customer(), pro, metadata={"user": "ben"}, trial_period_days=14)
    nobody = account.subscribe(account.customer(), pro)
    account.control("calls", method="DELETE")
    import_id = account.read()
    rows = account.rows(import_id)
    assert {key: (row.outcome, row.subject_ref) for key, row in rows.items()} == {
        anna: (ImportOutcome.MATCHED, "anna"),
        ben: (ImportOutcome.MATCHED, "ben"),
        nobody: (ImportOutcome.UNMATCHED, None),
    }
    assert account.write(import_id) == {"imported": 2}
    assert account.standings() == {"anna": ["PRO active"], "ben": ["PRO trialing"]}
    assert account.calls()["writes"] == 0
    assert account.calls()["total"] == 2, "one page of subscriptions, and one of sessions"


def test_a_refund_is_dated_as_stripe_dates_it(account: Account, sell: Sell, clock: StandingClock) -> None:
    CASES["credits_given_back"](Awkward(account, products(sell, account)))
    clock.advance(days=3)
    account.write(account.read(payments_since=LONG_AGO))
    with account.shop.runtime.database.read() as db:
        refund = db.exec(select(Fact).where(Fact.kind == "refund")).one()
    assert refund.occurred_at == from_unix(refund.data["created"])
