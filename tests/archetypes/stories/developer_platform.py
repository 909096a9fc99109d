"""A developer platform with a free tier and limits."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user = shop.customer("user_1")

    # The free tier is what everybody has who has nothing else. Its month is that of the calendar, in UTC.
    shop.at("Mar 10 15:00")
    user.expect_access(has_access=False, default_product="FREE", features=["api"], limits={"projects": 1})
    user.expect_balance("requests", 1000, renews_at="Apr 1 00:00")
    user.expect_refused("no_entitlement")
    user.expect_allowed(feature="api")
    user.expect_allowed(limit="projects", value=0)
    user.expect_refused("limit_reached", limit="projects", value=1)
    user.expect_refused("limit_not_held", limit="members", value=0)
    user.limit_not_found("rockets")
    user.consume(400, unit="requests", left=600)
    user.checkout_refused("FREE", status=409, error="product_not_for_sale")
    shop.at("Apr 1 00:30")
    user.consume(1000, unit="requests", left=0)
    user.consume_refused(1, unit="requests", left=0)

    # PRO takes its place while it is available.
    shop.at("Apr 10 09:00")
    plan = user.buy("PRO")
    user.expect_available("PRO active")
    user.expect_access(
        default_product=None, features=["api", "webhooks"], limits={"projects": 10, "members": None}
    )
    user.expect_balance("requests", 100000, renews_at="May 10 09:00")
    user.expect_allowed(limit="projects", value=9)
    user.expect_refused("limit_reached", limit="projects", value=10)
    user.expect_allowed(limit="members", value=5000)
    user.consume(99000, unit="requests", left=1000)
    shop.at("May 10 10:30")
    user.expect_balance("requests", 100000)

    # An unpaid renewal brings the free tier back, with the calendar month's units.
    shop.at("Jun 9 12:00")
    plan.let_card_fail()
    shop.at("Jun 10 10:30")
    user.expect_available()
    user.expect_access(default_product="FREE", limits={"projects": 1})
    user.expect_balance("requests", 1000, renews_at="Jul 1 00:00")
    user.consume(100, unit="requests", left=900)
    shop.at("Jun 12 12:00")
    plan.repair_card()
    user.expect_access(default_product=None, limits={"projects": 10, "members": None})
    user.expect_balance("requests", 100000, renews_at="Jul 10 09:00")

    # So does the end of the subscription. What was used of June's stays used in June only.
    plan.cancel_at_period_end()
    shop.at("Jul 10 09:30")
    user.expect_access(default_product="FREE", features=["api"], limits={"projects": 1})
    user.expect_balance("requests", 1000, renews_at="Aug 1 00:00")
    user.expect_refused("canceled", product_code="PRO")
    user.expect_refused("limit_reached", limit="projects", value=3)

    shop.at("Mar 10 15:00 next year")
    user.consume(1, unit="requests", left=999)
