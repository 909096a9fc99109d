"""Imports of an account that sold before: what is matched is here afterwards; there nothing is written."""

from __future__ import annotations

from collections.abc import Callable

from licenzy.catalog.models import Kind, Product
from licenzy.imports.models import ImportOutcome
from tests.imports.account import Account

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
