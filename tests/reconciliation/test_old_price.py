"""A product moves to a new price, and renewals go on: whoever bought at the old one loses nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from licenzy.catalog import queries as catalog
from licenzy.catalog.actions import archive_product, create_product, edit_product
from licenzy.catalog.models import Kind
from licenzy.catalog.prices import add_price, label_price, retire_price
from licenzy.catalog.rules import Draft
from licenzy.entitlements.models import Entitlement, State
from licenzy.entitlements.queries import was_granted
from licenzy.kit.clock import utc_now
from licenzy.stripe_events.mapped_prices import search_next
from licenzy.stripe_events.replay import replay_purchases
from licenzy.stripe_events.snapshots import settle_next
from licenzy.usage.access import Access
from licenzy.workspace.audit import Actor
from tests.checkout.conftest import Shop
from tests.reconciliation.subscribers import AtStripe, Subscribers, has_feature
from tests.support.clock import StandingClock

CODE = "PRO_WEEKLY"
FEATURES = ("export", "api")
"""What everybody bought."""
NOBODY = Actor(None, None)
_CHECKED_OVER_HTTP = 20
"""How many at each instant; of the others the function behind the call is asked."""
_READ_BY_THE_WORKER = 5
_SHOWN = 5


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


class Merchant:
    """Who sells the product, and edits it as the portal's forms do."""

    def __init__(self, shop: Shop) -> None:
        self.runtime, self.scope = shop.runtime, shop.connection.scope
        self._parts = (self.runtime.database, self.runtime.gateway, self.runtime.secret_box, self.scope)
        self.old, self.new, self.other = (_make_price(shop, amount) for amount in (900, 1200, 1500))
        draft = _draft(self.old, FEATURES)
        self.product = create_product(*self._parts, draft=draft, actor=NOBODY, now=utc_now())

    def edit(self, *, features: tuple[str, ...], grace_days: int = 0) -> None:
        """Sell at the new price, which takes the place of the old one, on other terms."""
        draft = _draft(self.new, features, grace_days)
        edit_product(*self._parts, draft=draft, was_granted=was_granted, **self._named())

    def add_and_relabel(self) -> None:
        """Sell at one more price, and give each of the three another label."""
        add_price(*self._parts, price_id=self.other, label="other", **self._named())
        with self.runtime.database.write() as db:
            for price, label in ((self.other, "premium"), (self.old, "before"), (self.new, "now")):
                label_price(db, self.scope, price_id=self._id_of(price), label=label, **self._named())

    def retire_prices(self) -> None:
        """Sell at none of them."""
        with self.runtime.database.write() as db:
            for price in (self.new, self.other):
                retire_price(db, self.scope, price_id=self._id_of(price), **self._named())

    def archive(self) -> None:
        with self.runtime.database.write() as db:
            archive_product(db, self.scope, **self._named())

    def _named(self) -> dict[str, Any]:
        return {"product_id": self.product.id, "actor": NOBODY, "now": utc_now()}

    def _id_of(self, stripe_price_id: str) -> str:
        with self.runtime.database.read() as db:
            product = catalog.product(db, self.scope, product_id=self.product.id)
        return next(each.id for each in product.prices if each.stripe_price_id == stripe_price_id)


def _make_price(shop: Shop, unit_amount: int) -> str:
    params: Any = {"unit_amount": unit_amount, "currency": "usd", "product_data": {"name": "Pro"}}
    params |= {"recurring": {"interval": "week"}}
    return shop.stripe.v1.prices.create(params).id


def _draft(price_id: str, features: tuple[str, ...], grace_days: int = 0) -> Draft:
    return Draft(CODE, Kind.SUBSCRIPTION, price_id, features=features, grace_days=grace_days)


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Say how long a step took, and how much memory this process has had at the most."""
    began = time.monotonic()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{what}: {time.monotonic() - began:.1f} s, peak {peak} MiB", flush=True)


def nobody_lost_anything(subscribers: Subscribers, merchant: Merchant, *, is_known: bool = True) -> None:
    """Each may do what was bought. `is_known`: everything that happened at Stripe has arrived here."""
    truth = subscribers.truth()
    assert {(each.status, each.price_id) for each in truth} == {("active", merchant.old)}
    wrong = [
        (number, problem)
        for number, access in subscribers.answers()
        if (problem := _lost(access, truth[number], merchant, is_known=is_known))
    ]
    assert wrong[:_SHOWN] == [], f"{len(wrong)} of {subscribers.count}"
    for number in subscribers.random.sample(range(subscribers.count), _CHECKED_OVER_HTTP):
        for wanted in ({}, {"product_code": CODE}, *({"feature": feature} for feature in FEATURES)):
            assert subscribers.checked(number, **wanted)["allowed"], (number, wanted)


def _lost(access: Access[Entitlement], truth: AtStripe, merchant: Merchant, *, is_known: bool) -> Any:
    """What an answer lacks of what was bought; nothing where it lacks nothing."""
    if not access.allowed or len(access.owned) != 1:
        return access.allowed, access.reason, len(access.owned)
    (row,) = access.owned
    shown = (row.product_code, row.state, tuple(row.features), row.quantity, row.granted_units)
    sold = (row.stripe_price_id, row.terms_version, row.cancel_at, row.reason)
    if (*shown, *sold) != (CODE, State.ACTIVE, FEATURES, 1, 0, merchant.old, 1, None, None):
        return shown, sold
    if not all(has_feature(access, feature) for feature in FEATURES):
        return "a feature is refused"
    assert row.valid_until is not None
    if row.valid_until != truth.period_end and (is_known or row.valid_until > truth.period_end):
        return row.valid_until, truth.period_end
    return None


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    ("database_url", "count"),
    [
        pytest.param("sqlite", 200, id="sqlite"),
        pytest.param("postgres", 100, id="postgres"),
        pytest.param("sqlite", 100_000, id="sqlite-large", marks=pytest.mark.soak),
        # On one machine with everything else, Postgres takes twice as long.
        pytest.param("postgres", 20_000, id="postgres-large", marks=pytest.mark.soak),
    ],
    indirect=["database_url"],
)
def test_nobody_on_an_old_price_loses_anything(shop: Shop, clock: StandingClock, count: int) -> None:
    # In real time it would renew some between one step of the test and the next.
    shop.sandbox.app.scheduler.stop()
    merchant = Merchant(shop)
    subscribers = Subscribers(shop, clock, merchant.product, count)
    check = partial(nobody_lost_anything, subscribers, merchant)

    with timed("bought at Stripe"):
        subscribers.buy()
    with timed("completed checkouts delivered"):
        subscribers.deliver(subscribers.new_events())
    with timed("whole walk"):
        assert subscribers.walk().subscriptions_seen == count
    with timed("checked"):
        check()

    merchant.edit(features=("api",))
    with timed("half a day passes"):
        subscribers.move_clock(hours=12)
    with timed("checked before Licenzy knows of it"):
        check(is_known=False)
    with timed("renewals delivered"):
        subscribers.deliver(subscribers.new_events())
    with timed("checked"):
        check()
    settle(subscribers)

    merchant.add_and_relabel()
    search(subscribers)
    with timed("half a day passes"):
        subscribers.move_clock(hours=12)
    events = subscribers.new_events()
    with timed("light walk"):
        assert subscribers.walk(full=False).events_missed == len(events) > 0
    with timed("checked"):
        check()

    merchant.edit(features=("export", "api", "sso"), grace_days=7)
    merchant.retire_prices()
    with timed("half a day passes"):
        subscribers.move_clock(hours=12)
    events = subscribers.new_events()
    with timed("every second event delivered"):
        subscribers.deliver(subscribers.random.sample(events, len(events) // 2))
    with timed("checked"):
        check(is_known=False)
    with timed("light walk"):
        assert subscribers.walk(full=False).events_missed == len(events) - len(events) // 2
    with timed("checked"):
        check()

    merchant.archive()
    for _ in range(2):
        with timed("almost three days pass"):
            subscribers.move_clock(hours=67)
        with timed("checked before Licenzy knows of it"):
            check(is_known=False)
        with timed("whole walk without events"):
            subscribers.walk(since=datetime.now(UTC))
        with timed("checked"):
            check()

    with timed("replayed"):
        replayed = [changes for _, changes in replay_purchases(shop.runtime.database, clock=utc_now)]
    assert len(replayed) == count
    assert [changes for changes in replayed if changes] == []
    with timed("checked"):
        check()


def settle(subscribers: Subscribers) -> None:
    """Let the worker read some of what the events touched; the walk that follows reads the others."""
    parts = subscribers.shop.runtime
    subscribers.clock.now = datetime.now(UTC)
    subscribers.clock.advance(seconds=5)
    with timed("read by the worker"):
        for _ in range(_READ_BY_THE_WORKER):
            assert settle_next(parts.database, parts.gateway, parts.secret_box, clock=subscribers.clock)


def search(subscribers: Subscribers) -> None:
    """Let the worker search for subscriptions that hold the prices that were mapped just now."""
    with timed("searched for holders of the new prices"):
        while subscribers.shop.runtime.database.retrying(partial(search_next, now=utc_now())):
            pass
