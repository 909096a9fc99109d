"""SaaS, monthly and yearly, with the seats as quantity."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    monthly, yearly = shop.customer("team_1"), shop.customer("team_2")

    shop.at("Mar 1 09:00")
    team = monthly.buy("TEAM", price_label="month", quantity=3)
    monthly.expect_entitlement("TEAM", quantity=3, valid_until="Apr 1 09:00")
    monthly.expect_allowed(feature="boards")
    monthly.expect_refused("feature_not_held", feature="audit")
    company = yearly.buy("TEAM", price_label="year", quantity=10)
    company.expect_last_payment(80000)
    yearly.expect_entitlement("TEAM", quantity=10, valid_until="Mar 1 09:00 next year")

    # Two more seats are invoiced and paid at once; one fewer is credited later. The period stays as it is.
    shop.at("Mar 10 12:00")
    team.change_quantity(5, proration="always_invoice")
    monthly.expect_entitlement("TEAM", quantity=5, valid_until="Apr 1 09:00")
    shop.at("Mar 20 12:00")
    team.change_quantity(4, proration="create_prorations")
    monthly.expect_entitlement("TEAM", quantity=4)

    # Stripe rolls the period at nine and charges the card an hour later.
    shop.at("Apr 1 09:30")
    monthly.expect_available("TEAM active")
    shop.at("Apr 1 10:30")
    monthly.expect_entitlement("TEAM", quantity=4, valid_until="May 1 09:00")

    # More seats that are not paid for do not count, and the old ones last through the grace.
    shop.at("Apr 10 12:00")
    team.let_card_fail()
    team.change_quantity(9, proration="always_invoice")
    monthly.expect_entitlement("TEAM", quantity=4, status="past_due", available=True)
    team.repair_card()
    monthly.expect_entitlement("TEAM", quantity=9, status="active")

    # To another plan in the middle of the period, and from monthly to yearly: a new period begins that day.
    shop.at("May 16 12:00")
    team.change_price("BUSINESS", "month", proration="always_invoice")
    monthly.expect_available("BUSINESS active")
    monthly.expect_entitlement("BUSINESS", quantity=9, valid_until="Jun 1 09:00")
    monthly.expect_allowed(feature="audit")
    shop.at("Jun 15 15:00")
    team.change_price("BUSINESS", "year", proration="create_prorations")
    monthly.expect_entitlement("BUSINESS", quantity=9, valid_until="Jun 15 15:00 next year")

    # Seats of the year rise in the middle of it and are charged with the next invoice.
    shop.at("Sep 1 12:00")
    company.change_quantity(14, proration="create_prorations")
    yearly.expect_entitlement("TEAM", quantity=14, valid_until="Mar 1 09:00 next year")

    # Nobody is left in the team for a while.
    shop.at("Oct 1 12:00")
    company.change_quantity(0, proration="none")
    yearly.expect_refused("quantity_zero")
    company.change_quantity(14, proration="none")
    yearly.expect_available("TEAM active")

    # The card of the yearly renewal fails: seven days of grace, then no access until it is paid.
    shop.at("Feb 20 12:00")
    company.let_card_fail()
    shop.at("Mar 1 10:30 next year")
    yearly.expect_available("TEAM past_due")
    shop.at("Mar 8 09:00 next year")
    yearly.expect_available("TEAM past_due")
    shop.at("Mar 8 11:00 next year")
    yearly.expect_refused("past_due")
    company.repair_card()
    yearly.expect_entitlement("TEAM", quantity=14, status="active")

    team.cancel()
    monthly.expect_refused("canceled")
