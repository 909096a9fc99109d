"""Customers who change to and fro: nobody has more units by it than was paid for."""

from __future__ import annotations

from tests.archetypes.merchant import Merchant


def story(shop: Merchant) -> None:
    interval, seats, last_day, returning = (shop.customer(f"user_{n}") for n in (1, 2, 3, 4))

    shop.at("Mar 1 09:00")
    to_and_fro = interval.buy("PRO", price_label="month")
    interval.consume(30, unit="exports", left=0)
    many = seats.buy("PRO", price_label="month")
    upgraded = last_day.buy("PRO", price_label="month")
    first = returning.buy("PRO", price_label="month")
    returning.consume(30, unit="exports", left=0)

    # 10 of 31 days are not credited, which are worth ⌊30 × 10 / 31⌋ = 9. The other 21 come off the new month.
    shop.at("Mar 11 09:00")
    to_and_fro.change_price("PRO", "year", proration="create_prorations")
    interval.expect_balance("exports", 9, renews_at="Apr 11 09:00")
    # 30 × 10 / 31 + 3000 × 21 / 31 = 2041.9
    many.change_quantity(100, proration="always_invoice")
    seats.expect_balance("exports", 2042)
    seats.consume(2000, unit="exports", left=42)
    # After 52 minutes: 30 + 2970 × 52 / 44640 = 33.5. What was used beyond that comes off the next month.
    shop.at("Mar 11 09:52")
    many.change_quantity(1, proration="always_invoice")
    seats.expect_balance("exports", 0)
    seats.consume_refused(1, unit="exports", left=0)

    # Six hours of the year's first month are worth nothing, so the 21 come off again.
    shop.at("Mar 11 15:00")
    to_and_fro.change_price("PRO", "month", proration="create_prorations")
    interval.expect_balance("exports", 9, renews_at="Apr 11 15:00")

    # The larger plan for the last day: 30 × 30 / 31 + 300 × 1 / 31 = 38.7.
    shop.at("Mar 31 09:00")
    upgraded.change_price("MAX", "month", proration="always_invoice")
    last_day.expect_balance("exports", 39)

    shop.at("Apr 1 10:30")
    seats.expect_balance("exports", 0)
    last_day.expect_balance("exports", 300)
    shop.at("Apr 11 16:30")
    interval.expect_balance("exports", 30)

    # Leaving and returning costs the whole month again.
    shop.at("Apr 12 12:00")
    first.cancel()
    returning.expect_balance("exports", 0)
    returning.buy("PRO", price_label="month").expect_last_payment(1000)
    returning.expect_balance("exports", 30, renews_at="May 12 12:00")
