"""An annual plan with units each month."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user, switcher, refunded = (shop.customer(f"user_{n}") for n in (1, 2, 3))

    # Months are counted from the day of the purchase, or take the last day. Nothing is invoiced in between.
    shop.at("Mar 31 15:00")
    plan = user.buy("PRO", price_label="year")
    plan.expect_last_payment(12000)
    user.expect_balance("renders", 5000, granted=5000, renews_at="Apr 30 15:00")
    user.expect_entitlement("PRO", valid_until="Mar 31 15:00 next year")
    user.consume(4000, unit="renders", left=1000)

    # From monthly to yearly after 10.25 of 30 days: 4000 are used, and 5000 × 10.25 / 30 = 1708 are not
    # credited. The other 2292 come off the first month of the year, and only off that.
    shop.at("Apr 1 09:00")
    monthly = switcher.buy("PRO", price_label="month")
    switcher.consume(4000, unit="renders", left=1000)
    shop.at("Apr 11 15:00")
    monthly.change_price("PRO", "year", proration="create_prorations")
    switcher.expect_balance("renders", 2708, renews_at="May 11 15:00")

    shop.at("Apr 30 14:30")
    user.expect_balance("renders", 1000)
    shop.at("Apr 30 15:30")
    user.expect_balance("renders", 5000, renews_at="May 31 15:00")
    shop.at("May 11 15:30")
    switcher.expect_balance("renders", 5000, renews_at="Jun 11 15:00")
    shop.at("May 31 15:30")
    user.expect_balance("renders", 5000, renews_at="Jun 30 15:00")

    # The larger plan, paid for at once: 5000 × 15.125 / 30 + 20000 × 14.875 / 30 = 12437.5, so 12438.
    shop.at("Jun 15 18:00")
    plan.change_price("MAX", "year", proration="always_invoice")
    user.expect_available("MAX active")
    user.expect_balance("renders", 12438)
    shop.at("Jun 30 15:30")
    user.expect_balance("renders", 20000, renews_at="Jul 31 15:00")

    # The year is given back in its second month.
    shop.at("Aug 1 12:00")
    year = refunded.buy("PRO", price_label="year")
    shop.at("Sep 1 12:30")
    refunded.expect_balance("renders", 5000, renews_at="Oct 1 12:00")
    year.refund()
    refunded.expect_refused("refunded")
    refunded.expect_balance("renders", 0)

    # In the hour between the years the last month's units can be used.
    shop.at("Mar 20 12:00 next year")
    user.consume(19000, unit="renders", left=1000)
    shop.at("Mar 31 15:30 next year")
    user.expect_balance("renders", 1000)
    shop.at("Mar 31 16:30 next year")
    user.expect_balance("renders", 20000, renews_at="Apr 30 15:00 next year")
    plan.expect_last_payment(30000)
