"""An AI assistant in three tiers: units each month, and packs for whoever needs more."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user, hasty = shop.customer("user_1"), shop.customer("user_2")

    shop.at("Mar 1 09:00")
    plan, hasty_plan = user.buy("STARTER"), hasty.buy("STARTER")
    user.expect_balance("messages", 500, granted=500, renews_at="Apr 1 09:00")
    user.expect_entitlement(
        "STARTER",
        granted_units=None,
        included=[
            {
                "unit": "messages",
                "granted": 500,
                "remaining": 500,
                "carried": 0,
                "starts_at": "Mar 1 09:00",
                "renews_at": "Apr 1 09:00",
            }
        ],
    )
    user.consume(450, unit="messages", left=50)
    user.consume_refused(100, unit="messages", left=50)
    user.expect_allowed(unit="messages", units=50)
    user.expect_refused("insufficient_usage", unit="messages", units=51)

    # The month's units end before the pack's, which never end: 50 of them are drawn, then 50 of the pack.
    user.buy("MESSAGES_1000")
    user.expect_balance("messages", 1050, granted=1500)
    user.consume(100, unit="messages", left=950)
    user.expect_entitlement("STARTER", included=[{"remaining": 0}])
    user.expect_entitlement("MESSAGES_1000", usage_remaining=950)
    user.expect_allowed(product_code="STARTER")

    # The period rolls at nine and is paid at ten.
    shop.at("Apr 1 09:30")
    user.expect_balance("messages", 950)
    # Who takes the larger plan in between has April's units when April is paid, less those of half an hour:
    # 500 × 0.5 / 720 + 2000 × 719.5 / 720 = 1998.96.
    hasty_plan.change_price("PLUS", "month", proration="always_invoice")
    hasty.expect_available("PLUS active")
    hasty.expect_balance("messages", 500)
    shop.at("Apr 1 10:30")
    hasty.expect_balance("messages", 1999)
    hasty_plan.cancel()
    user.expect_balance("messages", 1450, renews_at="May 1 09:00")
    job = user.reserve(300, unit="messages", left=1150)
    job.commit(120, left=1330)

    # Paid for at once, the larger plan counts from now on: 500 × 15.125 / 30 + 2000 × 14.875 / 30 = 1243.75,
    # so 1244, of which 120 are used.
    shop.at("Apr 16 12:00")
    plan.change_price("PLUS", "month", proration="always_invoice")
    user.expect_available("PLUS active", "MESSAGES_1000 active")
    user.expect_balance("messages", 1124 + 950)
    shop.at("May 1 10:30")
    user.expect_balance("messages", 2950)
    user.consume(1990, unit="messages", left=960)

    # Paid for with the next invoice, it counts from the next period on.
    shop.at("May 20 12:00")
    plan.change_price("PRO", "month", proration="create_prorations")
    user.expect_allowed(feature="voice")
    user.expect_balance("messages", 960)
    shop.at("Jun 1 10:30")
    user.expect_balance("messages", 12950)

    # A smaller plan in the middle: 12000 × 15.1458 / 31 + 500 × 15.8542 / 31 = 6118.6, so 6119. 6369 are
    # used, and the 250 too many come off August.
    shop.at("Jul 1 10:30")
    user.consume(6369, unit="messages", left=6581)
    shop.at("Jul 16 12:30")
    plan.change_price("STARTER", "month", proration="none")
    user.expect_balance("messages", 950)
    user.expect_refused("feature_not_held", feature="voice")
    shop.at("Aug 1 10:30")
    user.expect_balance("messages", 250 + 950)
    user.consume(200, unit="messages", left=1000)

    # In grace the last paid month's units can still be used, and no new ones come.
    shop.at("Aug 30 12:00")
    plan.let_card_fail()
    shop.at("Sep 1 10:30")
    user.expect_available("STARTER past_due", "MESSAGES_1000 active")
    user.consume(20, unit="messages", left=980)
    # After it, only the pack's.
    shop.at("Sep 4 12:00")
    user.expect_refused("past_due", product_code="STARTER")
    user.expect_balance("messages", 950)
    user.consume(10, unit="messages", left=940)
    # A month that is paid late brings its units when it is paid.
    shop.at("Sep 6 12:00")
    plan.repair_card()
    user.expect_balance("messages", 500 + 940, renews_at="Oct 1 09:00")

    # The month's payment is given back: its units cannot be used, until the next month is paid.
    shop.at("Oct 5 12:00")
    user.expect_balance("messages", 1440)
    plan.refund()
    user.expect_refused("refunded", product_code="STARTER")
    user.expect_balance("messages", 940)
    shop.at("Nov 1 10:30")
    user.expect_balance("messages", 1440)

    shop.at("Nov 10 12:00")
    plan.cancel_at_period_end()
    shop.at("Dec 1 08:30")
    user.expect_balance("messages", 1440)
    shop.at("Dec 1 09:30")
    user.expect_refused("canceled", product_code="STARTER")
    user.expect_balance("messages", 940)

    # The pack stays.
    shop.at("Mar 1 12:00 next year")
    user.consume(940, unit="messages", left=0)
    user.expect_refused("exhausted", product_code="MESSAGES_1000")
    user.expect_available()
