"""A day without us, and a month: the entitlements end as Stripe has it, in few calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.connections import rate_limit
from licenzy.entitlements.models import Entitlement, State
from licenzy.kit.clock import from_unix, utc_now
from licenzy.reconciliation.actions import reconcile
from licenzy.reconciliation.models import Reconciliation
from licenzy.reconciliation.walk import Report
from licenzy.stripe_events.snapshots import settle_next
from tests.checkout.conftest import Shop
from tests.reconciliation.outage import DAY, Outage
from tests.stripe_events.test_pace import watch
from tests.support.clock import StandingClock
from tests.support.sizes import LARGE_ON_SQLITE

Sell = Callable[..., Product]
SUBSCRIPTIONS, PACKS, EVENTS = 500, 40, 5_000
MOST_CALLS, MOST_SECONDS = 700, 60


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


@pytest.fixture
def outage(shop: Shop, sell: Sell) -> Outage:
    # In real time it would renew what was sold a month ago, between one step of a test and the next.
    shop.sandbox.app.scheduler.stop()
    kinds = (("PRO", Kind.SUBSCRIPTION), ("MAX", Kind.SUBSCRIPTION), ("PACK", Kind.USAGE_PACK))
    return Outage(shop, [sell(code, kind) for code, kind in kinds])


def walk(outage: Outage, **how: Any) -> Report:
    parts = outage.shop.runtime
    return reconcile(
        parts.database,
        parts.gateway,
        parts.secret_box,
        connection=outage.shop.connection,
        clock=utc_now,
        **how,
    )


def learn_what_was_sold(outage: Outage) -> None:
    """Know the purchases as they are before the outage, by their state alone, which is quick."""
    rate, rate_limit._APART = rate_limit._APART, rate_limit._APART * 0
    walk(outage, since=datetime.now(UTC))
    rate_limit._APART = rate
    with outage.shop.runtime.database.read() as db:
        rows = db.exec(select(Entitlement)).all()
    assert len(rows) == len(outage.bought) + len(outage.packs)
    assert {row.state for row in rows} == {State.ACTIVE}


def last_walked(outage: Outage, *, ago: int) -> None:
    """Whatever happened since then was not seen, and Stripe lists events of the last 30 days only."""
    with outage.shop.runtime.database.write() as db:
        row = db.exec(select(Reconciliation)).one()
        row.reconciled_to = row.ran_at = datetime.now(UTC) - timedelta(seconds=ago)
        db.add(row)


def repaired(outage: Outage, clock: StandingClock, **how: Any) -> tuple[Report, int, float]:
    """Walk, and let the worker settle what is left; the report, the calls at Stripe, and the seconds.

    Seconds of the processor, those of the sandbox included: what else the machine does is not counted.
    """
    parts, calls = outage.shop.runtime, watch(outage.shop)
    began, clocked = time.process_time(), time.monotonic()
    report = walk(outage, **how)
    clock.now = datetime.now(UTC)
    clock.advance(seconds=10)
    while settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock):
        pass
    seconds = time.process_time() - began
    print(
        f"{report.events_missed} events, {len(report.differences)} differences, {len(calls)} calls, "
        f"{seconds:.1f} s of the processor in {time.monotonic() - clocked:.1f} s"
    )
    assert report.problems == []
    assert report.failed == 0
    return report, len(calls), seconds


def assert_as_stripe_has_it(outage: Outage) -> None:
    """Judged from Stripe's objects by rules of this test's own."""
    subscriptions, charges = outage.truth()
    pro, top, _ = outage.products
    codes = {pro.prices[0].stripe_price_id: pro.product_code, top.prices[0].stripe_price_id: top.product_code}
    with outage.shop.runtime.database.read() as db:
        rows = {row.purchase_key: row for row in db.exec(select(Entitlement)).all()}
    assert set(rows) == set(subscriptions) | set(charges)
    wrong: list[tuple[Any, ...]] = [
        (key, told, rows[key])
        for key, sub in subscriptions.items()
        if (told := expected(sub, outage, codes)) != found(rows[key])
    ]
    wrong += [
        (key, told, (rows[key].state, rows[key].reason))
        for key, charge in charges.items()
        if (told := expected_of_pack(charge)) != (rows[key].state, rows[key].reason)
    ]
    assert wrong == []


def expected(sub: dict[str, Any], outage: Outage, codes: dict[str, str]) -> tuple[Any, ...]:
    item = sub["items"]["data"][0]
    state, reason = State(sub["status"]), None
    if sub["status"] == "active" and sub["id"] in outage.refunded:
        state, reason = State.SUSPENDED, "refunded"
    end = None if state is State.CANCELED else from_unix(item["current_period_end"])
    return codes[item["price"]["id"]], state, reason, end, sub["cancel_at"]


def found(row: Entitlement) -> tuple[Any, ...]:
    end = None if row.state is State.CANCELED else row.valid_until
    at = int(row.cancel_at.timestamp()) if row.cancel_at else None
    return row.product_code, row.state, row.reason, end, at


def expected_of_pack(charge: dict[str, Any]) -> tuple[State, str | None]:
    if charge["amount_refunded"] >= charge["amount"]:
        return State.CANCELED, "refunded"
    disputed = {"lost": State.CANCELED, "needs_response": State.SUSPENDED}.get(charge["dispute"])
    return (disputed, "disputed") if disputed else (State.ACTIVE, None)


def assert_bounds(report: Report, calls: int, seconds: float) -> None:
    assert calls <= MOST_CALLS
    assert seconds <= MOST_SECONDS


def test_a_day_without_us_in_small(outage: Outage, clock: StandingClock) -> None:
    outage.sell(20, ago=2 * DAY, packs=5)
    learn_what_was_sold(outage)
    missed = outage.happen(ago=DAY)
    last_walked(outage, ago=DAY + 60)
    report, calls, _ = repaired(outage, clock)
    assert report.events_seen >= missed
    assert report.events_missed >= missed / 3, "the others are not sent to webhooks either"
    assert_as_stripe_has_it(outage)
    assert calls <= 60
    assert walk(outage).differences == []


def test_a_month_without_us_in_small(outage: Outage, clock: StandingClock) -> None:
    outage.sell(20, ago=34 * DAY, packs=5)
    learn_what_was_sold(outage)
    outage.happen(ago=33 * DAY)
    last_walked(outage, ago=33 * DAY + 60)
    report, calls, _ = repaired(outage, clock, full=False)
    assert report.events_seen <= 6, "prices were made just now; all else is gone"
    assert_as_stripe_has_it(outage)
    assert calls <= 60
    assert walk(outage).differences == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@LARGE_ON_SQLITE
def test_5000_events_missed_in_a_day(outage: Outage, clock: StandingClock) -> None:
    outage.sell(SUBSCRIPTIONS, ago=2 * DAY, packs=PACKS)
    learn_what_was_sold(outage)
    assert outage.happen(ago=DAY) >= EVENTS
    last_walked(outage, ago=DAY + 60)
    report, calls, seconds = repaired(outage, clock)
    assert report.events_seen >= EVENTS
    assert report.events_missed >= EVENTS / 3, "the others are not sent to webhooks either"
    assert_as_stripe_has_it(outage)
    assert_bounds(report, calls, seconds)


@pytest.mark.slow
@pytest.mark.timeout(900)
@LARGE_ON_SQLITE
def test_5000_events_missed_and_gone_after_31_days(outage: Outage, clock: StandingClock) -> None:
    outage.sell(SUBSCRIPTIONS, ago=33 * DAY, packs=PACKS)
    learn_what_was_sold(outage)
    assert outage.happen(ago=32 * DAY) >= EVENTS
    last_walked(outage, ago=32 * DAY + 60)
    report, calls, seconds = repaired(outage, clock, full=False)
    assert report.events_seen <= 6, "prices were made just now; all else is gone"
    assert_as_stripe_has_it(outage)
    assert_bounds(report, calls, seconds)
