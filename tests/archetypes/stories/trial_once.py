"""A trial without a card, once for each customer over all products of a group."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    tries, stays, leaves, hesitates = (shop.customer(f"user_{n}") for n in (1, 2, 3, 4))

    shop.at("Mar 1 09:00")
    offer = tries.open_checkout("PRO")
    assert offer["trial_days"] == 14
    tries.pay(offer)
    tries.expect_available("PRO trialing")
    tries.expect_balance("images", 50)
    tries.consume(20, unit="images", left=30)
    tries.consume_refused(31, unit="images", left=30)
    kept = stays.buy("PRO")
    stays.consume(50, unit="images", left=0)
    left = leaves.buy("PRO")

    # Two checkouts with a trial at once: the first is closed before the second is offered.
    first = hesitates.open_checkout("PRO")
    second = hesitates.open_checkout("BASIC")
    assert (first["trial_days"], second["trial_days"]) == (14, 14)
    hesitates.pay_refused(first)
    hesitates.pay(second)
    hesitates.expect_available("BASIC trialing")

    # Whoever had the trial of one product has had it for all of the group.
    shop.at("Mar 5 12:00")
    left.cancel()
    assert leaves.open_checkout("BASIC")["trial_days"] == 0

    # With a card, the trial becomes a subscription: it is charged an hour after the trial ends, and then has
    # the month's units.
    shop.at("Mar 10 12:00")
    kept.repair_card()
    shop.at("Mar 15 08:30")
    tries.expect_available("PRO trialing")
    shop.at("Mar 15 09:30")
    tries.expect_refused("canceled")
    tries.expect_balance("images", 0)
    shop.at("Mar 15 10:30")
    stays.expect_available("PRO active")
    stays.expect_balance("images", 1000, renews_at="Apr 15 09:00")
    kept.expect_last_payment(2000)
    again = tries.open_checkout("PRO")
    assert again["trial_days"] == 0
    paid = tries.pay(again)
    paid.expect_last_payment(2000)
    tries.expect_available("PRO active")
    tries.expect_balance("images", 1000, renews_at="Apr 15 10:30")

    # A year later it is still remembered.
    paid.cancel_at_period_end()
    shop.at("Mar 1 12:00 next year")
    tries.expect_refused("canceled")
    assert tries.open_checkout("BASIC")["trial_days"] == 0
    stays.expect_balance("images", 1000, renews_at="Mar 15 09:00 next year")
    assert shop.customer("user_5").open_checkout("PRO")["trial_days"] == 14
