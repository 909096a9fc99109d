"""Grandfathered prices: the price rises, and whoever subscribed before keeps it, and the terms."""

from __future__ import annotations

from tests.archetypes.files import content
from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    early, leaver, late = (shop.customer(f"user_{n}") for n in (1, 2, 3))

    shop.at("Mar 1 09:00")
    kept = early.buy("PRO")
    left = leaver.buy("PRO")
    early.expect_entitlement("PRO", features=["export"], terms_version=1, valid_until="Apr 1 09:00")
    kept.expect_last_payment(1000)

    # From June on PRO costs more and gives more.
    shop.at("Jun 1 12:00")
    shop.apply(content("grandfathered_prices_later"))
    late.buy("PRO", price_label="month").expect_last_payment(1500)
    late.expect_entitlement("PRO", features=["export", "history"], terms_version=2)
    late.expect_allowed(feature="history")

    # Whoever was there before goes on as before, renewal after renewal.
    early.expect_entitlement("PRO", features=["export"], terms_version=1)
    shop.at("Sep 1 10:30")
    kept.expect_last_payment(1000)
    early.expect_entitlement("PRO", features=["export"], terms_version=1, valid_until="Oct 1 09:00")
    early.expect_refused("feature_not_held", feature="history")

    # A renewal that fails is paid within the grace: still at the old price, on the old terms.
    shop.at("Nov 30 12:00")
    kept.let_card_fail()
    shop.at("Dec 1 10:30")
    early.expect_available("PRO past_due")
    shop.at("Dec 3 09:00")
    early.expect_allowed(feature="export")
    kept.repair_card()
    early.expect_available("PRO active")
    early.expect_entitlement("PRO", terms_version=1, valid_until="Jan 1 09:00")
    kept.expect_last_payment(1000)

    # Whoever leaves and returns pays the new price.
    left.cancel_at_period_end()
    shop.at("Jan 1 09:30")
    leaver.expect_refused("canceled")
    leaver.buy("PRO").expect_last_payment(1500)
    leaver.expect_entitlement("PRO", features=["export", "history"], terms_version=2)

    # The merchant moves a subscription to the new price: with it come the new terms.
    shop.at("Feb 10 12:00")
    kept.change_price("PRO", "month", proration="none")
    early.expect_entitlement("PRO", features=["export", "history"], terms_version=2)
    shop.at("Mar 1 10:30 next year")
    kept.expect_last_payment(1500)
    early.expect_available("PRO active")
    late.expect_available("PRO active")
