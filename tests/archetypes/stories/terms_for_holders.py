"""Better terms for whoever is there already: the price stays, and the features come."""

from __future__ import annotations

from tests.archetypes.files import content
from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    early, late = shop.customer("user_1"), shop.customer("user_2")

    shop.at("Mar 1 09:00")
    kept = early.buy("PRO")
    shop.at("Sep 1 12:00")
    early.expect_refused("feature_not_held", feature="history")
    shop.apply(content("grandfathered_prices_for_all"))
    early.wait_until_allowed(feature="history")
    early.expect_entitlement("PRO", features=["export", "history"], terms_version=2)
    shop.at("Oct 1 10:30")
    kept.expect_last_payment(1000)
    early.expect_entitlement("PRO", features=["export", "history"], terms_version=2)
    late.buy("PRO").expect_last_payment(1500)
    shop.at("Mar 1 10:30 next year")
    kept.expect_last_payment(1000)
    early.expect_allowed(feature="history")
