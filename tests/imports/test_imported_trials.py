"""A trial that was had before the import is not offered once more."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from licenzy.catalog.models import Kind, Product
from licenzy.kit.ids import new_id
from tests.imports.account import Account

Sell = Callable[..., Product]


@pytest.mark.parametrize("how", ["trialing", "over", "ended"])
def test_an_imported_trial_counts(account: Account, sell: Sell, how: str) -> None:
    """Of any Stripe customer of the subject's, and for another product of the same group."""
    pro = sell("PRO", Kind.SUBSCRIPTION, trial_days=14, trial_once=True, trial_group="main")
    sell("TEAM", Kind.SUBSCRIPTION, trial_days=14, trial_once=True, trial_group="main")
    price = pro.prices[0].stripe_price_id
    more = {"metadata": {"user": "anna"}, "default_payment_method": "pm_card_visa"}
    trial = account.subscribe(account.customer(), price, trial_period_days=14, **more)
    if how == "over":
        account.act("renew", subscription=trial)
    if how == "ended":
        account.act("cancel", subscription=trial)
    account.subscribe(account.customer(), price, **more)  # As another customer, and newer.
    account.write(account.read(with_ended=True))
    for subject_ref, days in (("anna", 0), ("ben", 14)):
        answer = account.shop.checkout(key=new_id("x"), product_code="TEAM", subject_ref=subject_ref)
        assert answer.get_json()["trial_days"] == days, (how, subject_ref)
