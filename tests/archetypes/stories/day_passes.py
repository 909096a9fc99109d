"""Day passes: each lasts from its purchase, or from the end of the one before."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user = shop.customer("user_1")

    shop.at("Mar 1 09:00")
    user.expect_refused("no_entitlement", feature="downloads")
    user.buy("DAY_PASS")
    user.expect_allowed(feature="downloads")
    user.expect_entitlement("DAY_PASS", starts_at="Mar 1 09:00", valid_until="Mar 2 09:00")

    # A second one on the same day is for the next.
    shop.at("Mar 1 20:00")
    user.buy("DAY_PASS")
    user.expect_entitlement("DAY_PASS", starts_at="Mar 2 09:00", valid_until="Mar 3 09:00", available=False)
    user.expect_available("DAY_PASS active")
    shop.at("Mar 2 10:00")
    user.expect_available("DAY_PASS active")
    shop.at("Mar 3 10:00")
    user.expect_refused("expired")

    # Three days in one purchase, and within them a week of another product, which begins at once.
    shop.at("Apr 5 12:00")
    user.buy("DAY_PASS", quantity=3)
    user.expect_entitlement("DAY_PASS", quantity=3, valid_until="Apr 8 12:00")
    shop.at("Apr 6 12:00")
    user.expect_refused("feature_not_held", feature="live")
    user.buy("WEEK_PASS")
    user.expect_entitlement("WEEK_PASS", starts_at="Apr 6 12:00", valid_until="Apr 13 12:00")
    user.expect_allowed(feature="live")
    shop.at("Apr 8 13:00")
    user.expect_available("WEEK_PASS active")
    shop.at("Apr 13 13:00")
    user.expect_available()

    # A refunded pass ends at once.
    shop.at("Jun 1 10:00")
    first = user.buy("DAY_PASS")
    shop.at("Jun 1 11:00")
    first.refund()
    user.expect_refused("refunded", product_code="DAY_PASS")
    user.expect_available()

    # A part of the price given back changes nothing.
    shop.at("Sep 14 08:00")
    goodwill = user.buy("WEEK_PASS")
    goodwill.refund(700)
    shop.at("Sep 21 07:00")
    user.expect_available("WEEK_PASS active")
    shop.at("Sep 21 09:00")
    user.expect_available()

    # Of three days that follow one another, the first is refunded: the others move up.
    shop.at("Dec 1 09:00")
    first = user.buy("DAY_PASS")
    user.buy("DAY_PASS")
    user.expect_entitlement("DAY_PASS", starts_at="Dec 2 09:00", valid_until="Dec 3 09:00")
    first.refund()
    user.expect_available("DAY_PASS active")
    user.expect_entitlement("DAY_PASS", starts_at="Dec 1 09:00", valid_until="Dec 2 09:00")

    shop.at("Feb 20 09:00")
    user.buy("WEEK_PASS")
    user.expect_entitlement("WEEK_PASS", valid_until="Feb 27 09:00")
    shop.at("Mar 1 09:00 next year")
    user.expect_refused("expired", product_code="WEEK_PASS")
