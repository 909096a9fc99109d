"""Add-ons: a plan, and what is bought with it or later, on one subscription."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    monthly, yearly = shop.customer("team_1"), shop.customer("team_2")

    # The plan and two add-ons in one checkout: 5 projects, and 5 more for each.
    shop.at("Mar 1 09:00")
    checkout = monthly.open_checkout(
        items=[
            {"product_code": "TEAM", "price_label": "month"},
            {"product_code": "EXTRA_PROJECTS", "quantity": 2},
        ]
    )
    assert checkout["product_code"] is None
    assert [item["product_code"] for item in checkout["items"]] == ["TEAM", "EXTRA_PROJECTS"]
    plan = monthly.pay(checkout)
    plan.expect_last_payment(3000)
    monthly.expect_available("TEAM active", "EXTRA_PROJECTS active")
    monthly.expect_access(limits={"projects": 15, "storage_gb": 50})
    monthly.expect_allowed(limit="projects", value=14)
    monthly.expect_refused("limit_reached", limit="projects", value=15)
    company = yearly.buy("TEAM", price_label="year")
    yearly.expect_access(limits={"projects": 5, "storage_gb": 50})

    # A monthly add-on of a yearly plan has months of its own on the same subscription.
    shop.at("Mar 15 12:00")
    company.add("IMAGES", "month", proration="always_invoice")
    yearly.expect_available("TEAM active", "IMAGES active")
    yearly.expect_entitlement("IMAGES", valid_until="Apr 1 09:00")
    yearly.expect_entitlement("TEAM", valid_until="Mar 1 09:00 next year")
    shop.at("Apr 1 10:30")
    yearly.expect_balance("images", 100, renews_at="May 1 09:00")
    yearly.consume(30, unit="images", left=70)

    # More comes in the middle of the period, and goes again.
    shop.at("Apr 10 12:00")
    monthly.expect_refused("feature_not_held", feature="sso")
    plan.add("SSO", "month", proration="always_invoice")
    monthly.expect_allowed(feature="sso")
    monthly.expect_entitlement("SSO", valid_until="May 1 09:00")
    shop.at("Apr 20 12:00")
    plan.change_quantity(1, product_code="EXTRA_PROJECTS", proration="none")
    monthly.expect_access(limits={"projects": 10, "storage_gb": 50})
    shop.at("May 1 10:30")
    monthly.expect_available("TEAM active", "EXTRA_PROJECTS active", "SSO active")
    monthly.expect_entitlement("SSO", valid_until="Jun 1 09:00")
    yearly.expect_balance("images", 100)
    shop.at("Jul 10 12:00")
    plan.remove("SSO", proration="create_prorations")
    monthly.expect_refused("canceled", product_code="SSO")
    monthly.expect_available("TEAM active", "EXTRA_PROJECTS active")

    # 100 × 3 from the next month on; until then the quantity that is paid for.
    shop.at("Aug 10 12:00")
    company.change_quantity(3, product_code="IMAGES", proration="create_prorations")
    yearly.expect_balance("images", 100)
    shop.at("Sep 1 10:30")
    yearly.expect_balance("images", 300)

    # An unpaid renewal is one of all items.
    shop.at("Sep 30 12:00")
    plan.let_card_fail()
    shop.at("Oct 1 10:30")
    monthly.expect_available()
    monthly.expect_access(limits={})
    plan.repair_card()
    monthly.expect_access(limits={"projects": 10, "storage_gb": 50})

    # The add-on alone is removed, then all of it ends.
    shop.at("Dec 1 12:00")
    company.remove("IMAGES", proration="none")
    yearly.expect_available("TEAM active")
    yearly.expect_balance("images", 0)
    plan.cancel_at_period_end()
    shop.at("Jan 1 09:30")
    monthly.expect_available()
    shop.at("Mar 1 10:30 next year")
    yearly.expect_entitlement("TEAM", status="active")
    company.expect_last_payment(20000)
