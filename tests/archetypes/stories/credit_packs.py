"""Credit packs only: nothing renews, the pack that ends first is used first."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    user, other = shop.customer("user_1"), shop.customer("user_2")

    shop.at("Mar 1 09:00")
    user.expect_refused("no_entitlement")
    user.buy("CREDITS_500")
    user.expect_balance("credits", 500, granted=500)
    user.consume(120, unit="credits", left=380)
    user.consume_refused(381, unit="credits", left=380)
    other.consume_refused(1, unit="credits", left=0)

    # The first pack ends first: 380 of it are drawn, then 20 of the new one.
    shop.at("Mar 10 12:00")
    user.buy("CREDITS_3000")
    user.consume(400, unit="credits", left=2980)
    user.expect_available("CREDITS_3000 active")
    user.expect_entitlement("CREDITS_500", status="exhausted", usage_remaining=0)

    # Three small packs in one purchase end after 30 days, so they are drawn before the large one.
    shop.at("May 1 12:00")
    user.buy("CREDITS_100", quantity=3)
    user.expect_balance("credits", 3280, granted=3300)
    user.consume(250, unit="credits", left=3030)
    user.expect_entitlement(
        "CREDITS_100", quantity=3, granted_units=300, usage_remaining=50, valid_until="May 31 12:00"
    )
    user.consume(10, unit="credits", product_code="CREDITS_3000", left=2970)
    shop.at("May 31 11:00")
    user.expect_balance("credits", 3020)
    shop.at("May 31 13:00")
    user.expect_balance("credits", 2970)
    user.expect_entitlement("CREDITS_100", status="expired")

    # What is left of a refunded pack is gone, once all of it is refunded.
    shop.at("Jun 10 12:00")
    purchase = user.buy("CREDITS_500")
    user.consume(200, unit="credits", product_code="CREDITS_500", left=300)
    user.expect_balance("credits", 3270)
    purchase.refund(400)
    user.expect_balance("credits", 3270)
    purchase.refund(600)
    user.expect_balance("credits", 2970)
    user.expect_entitlement("CREDITS_500", status="canceled", reason="refunded")

    # A job takes less than was set aside for it, and another one never reports.
    job = user.reserve(1000, unit="credits", left=1970)
    job.commit(250, left=2720)
    user.reserve(720, unit="credits", hours=2, left=2000)
    shop.at("Jun 10 13:00")
    user.expect_balance("credits", 2000)
    shop.at("Jun 10 15:00")
    user.expect_balance("credits", 2720)

    shop.at("Dec 24 09:00")
    user.consume(720, unit="credits", left=2000)

    # After 365 days what is left of the large pack ends.
    shop.at("Mar 9 11:00 next year")
    user.expect_allowed(product_code="CREDITS_3000")
    user.expect_balance("credits", 2000)
    shop.at("Mar 10 13:00 next year")
    user.expect_refused("expired", product_code="CREDITS_3000")
    user.expect_available()
    user.consume_refused(1, unit="credits", left=0)
