"""An image generator whose units roll over once, up to a bound or all of them."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user = shop.customer("user_1")

    shop.at("Mar 1 09:00")
    plan = user.buy("BASIC")
    user.expect_balance("images", 200)
    user.consume(60, unit="images", left=140)

    # Of the 140 left, 100 roll over.
    shop.at("Apr 1 10:30")
    user.expect_balance("images", 300, renews_at="May 1 09:00")
    user.expect_entitlement("BASIC", included=[{"unit": "images", "carried": 100}])
    # What was carried is used first: 50 of it are left, and 200 of April.
    user.consume(50, unit="images", left=250)

    # Rollover is once: March's 50 are gone, and of April's 200, 100 roll over.
    shop.at("May 1 10:30")
    user.expect_balance("images", 300)
    user.consume(280, unit="images", left=20)
    shop.at("Jun 1 10:30")
    user.expect_balance("images", 220)

    # 200 × 15.125 / 30 + 900 × 14.875 / 30 = 547.08, so 548, and the 20 of May.
    shop.at("Jun 16 12:00")
    plan.change_price("STANDARD", "month", proration="always_invoice")
    user.expect_balance("images", 568)
    # STANDARD carries all of it; May's 20 are gone.
    shop.at("Jul 1 10:30")
    user.expect_balance("images", 1448)

    # 548 carried and 652 of July are used, 100 are set aside, and 148 roll over. Those set aside come back.
    shop.at("Jul 31 12:00")
    user.consume(1200, unit="images", left=248)
    job = user.reserve(100, unit="images", hours=24, left=148)
    shop.at("Aug 1 10:30")
    user.expect_balance("images", 1048)
    job.release(left=1148)

    # The renewal fails, and there is no grace. Until it is charged, August's units can be used.
    shop.at("Aug 30 12:00")
    plan.let_card_fail()
    shop.at("Sep 1 09:30")
    user.expect_balance("images", 1148)
    shop.at("Sep 1 10:30")
    user.expect_refused("past_due")
    user.expect_balance("images", 0)
    user.consume_refused(1, unit="images", left=0)
    # Paid two days later, September has 900, and August's 900 roll over.
    shop.at("Sep 3 12:00")
    plan.repair_card()
    user.expect_balance("images", 1800, renews_at="Oct 1 09:00")
    shop.at("Oct 1 10:30")
    user.expect_balance("images", 1800)
    user.consume(1000, unit="images", left=800)

    # What is left at the end of a subscription ends with it.
    plan.cancel_at_period_end()
    shop.at("Nov 1 09:30")
    user.expect_balance("images", 0)
    user.expect_refused("canceled")
    shop.at("Nov 10 12:00")
    user.buy("BASIC")
    user.expect_balance("images", 200)
    shop.at("Dec 10 13:30")
    user.expect_balance("images", 300, renews_at="Jan 10 12:00")
    shop.at("Jan 10 13:30")
    user.expect_balance("images", 300)
    user.consume(299, unit="images", left=1)
    shop.at("Feb 10 13:30")
    user.expect_balance("images", 201)
