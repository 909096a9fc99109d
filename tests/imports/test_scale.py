"""A large account: everybody has what Stripe says, few calls, little memory."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from sqlmodel import col, func, select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Fact, Purchase
from licenzy.settings import Settings
from licenzy.stripe_events.replay import replay_purchases
from tests.imports.account import Account
from tests.imports.processes import Command

Sell = Callable[..., Product]
MOST_MIB = 250


class BulkSubscriptions(NamedTuple):
    """Subscriptions of one kind: their share of all, product, status, and how their customers are called."""

    share: float
    product: str
    status: str
    prefix: str


ORDERS = [
    BulkSubscriptions(0.72, "PRO", "active", "a"),
    BulkSubscriptions(0.04, "PRO", "trialing", "t"),
    BulkSubscriptions(0.02, "PRO", "past_due", "p"),
    BulkSubscriptions(0.02, "PRO", "canceled", "c"),
    BulkSubscriptions(0.20, "TEAM", "active", "a"),
]
"""The last are second subscriptions of those who have one, as another Stripe customer."""


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_fifty_thousand_subscriptions(account: Account, sell: Sell, settings: Settings) -> None:
    check(account, sell, settings, count=50_000)


def check(account: Account, sell: Sell, settings: Settings, *, count: int) -> None:
    prices = {
        code: sell(code, Kind.SUBSCRIPTION, grace_days=3).prices[0].stripe_price_id
        for code in ("PRO", "TEAM")
    }
    expected: dict[str, Counter[str]] = {}
    listed = 0
    for order in ORDERS:
        number = int(count * order.share)
        asked = {"count": number, "prices": [prices[order.product]], "status": order.status}
        account.control("subscriptions", {**asked, "metadata": {"user": order.prefix + "{n}"}}, timeout=3600)
        if order.status != "canceled":
            listed += number
            for n in range(number):
                owned = expected.setdefault(f"{order.prefix}{n}", Counter())
                owned[f"{order.product} {order.status}"] += 1
    account.control("calls", method="DELETE")
    command = Command(account, settings)
    began = time.monotonic()
    process = command.start()
    peak = Peak(process.pid)
    peak.start()
    code, said = command.ends(process)
    print(f"{count:,} subscriptions: {time.monotonic() - began:.0f} s, peak {peak.mib:.0f} MiB", flush=True)
    assert code == 0, said
    assert peak.mib < MOST_MIB
    calls = account.calls()
    assert calls["writes"] == 0
    assert calls["total"] <= -(-listed // 100) + 1, calls["counts"]
    found = account.standings()
    wrong = [ref for ref in {*expected, *found} if Counter(found.get(ref, ())) != expected.get(ref)]
    assert wrong == [], [(ref, found.get(ref), expected.get(ref)) for ref in wrong[:3]]
    with account.shop.runtime.database.read() as db:
        facts = db.exec(select(func.count()).where(col(Fact.source_id).startswith("import:"))).one()
        purchases = db.exec(select(func.count()).select_from(Purchase)).one()
    assert facts == purchases == listed
    parts = account.shop.runtime
    for done, (_, changes) in enumerate(replay_purchases(parts.database, clock=parts.clock)):
        assert changes == []
        if done == 1000:
            break


class Peak(threading.Thread):
    """Watches how much memory a process has had at the most."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{pid}/status")
        self.mib = 0.0

    def run(self) -> None:
        while True:
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return
            found = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
            if not found:
                return
            self.mib = max(self.mib, int(found[0]) / 1024)
            time.sleep(0.2)
