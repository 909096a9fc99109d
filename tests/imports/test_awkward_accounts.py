"""Awkward accounts: each has exactly its preview row, and after the run exactly its entitlements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from licenzy.catalog.models import Kind, Product
from licenzy.connections.actions import follow_clock
from licenzy.connections.queries import with_clock
from licenzy.entitlements.decision import remaining, standing
from licenzy.imports.actions import leave_out
from licenzy.imports.models import ImportOutcome
from licenzy.kit.clock import EPOCH
from licenzy.stripe_events.replay import replay_purchases
from licenzy.usage.default_units import grants_with_default
from tests.imports.account import Account
from tests.imports.awkward import CASES, MOVED, Awkward, products
from tests.support.clock import StandingClock

Sell = Callable[..., Product]
LONG_AGO = EPOCH + timedelta(days=1)


def test_there_are_enough() -> None:
    assert len({**CASES, **MOVED}) == len(CASES) + len(MOVED) >= 50


def test_awkward_accounts(account: Account, sell: Sell, clock: StandingClock) -> None:
    at = Awkward(account, products(sell, account))
    for build in CASES.values():
        build(at)
    clock.advance(minutes=2)  # Meanwhile the account’s clock went on.
    check(at)


@pytest.mark.slow
def test_awkward_accounts_after_seventy_days(account: Account, sell: Sell, clock: StandingClock) -> None:
    at = Awkward(account, products(sell, account))
    for build in MOVED.values():
        build(at)
    account.act("advance_clock", seconds=70 * 86_400)
    with account.shop.runtime.database.write() as db:
        now = account.shop.runtime.clock()
        there = int(now.timestamp()) + 70 * 86_400
        follow_clock(db, connection_id=account.shop.connection.id, now_there=there, moved=True, now=now)
    clock.advance(minutes=2)  # Meanwhile the account’s clock went on.
    check(at)


def check(at: Awkward) -> None:
    account = at.account
    import_id = account.read(
        map_csv=at.csv if at.lines else None, keys=("user", "account_id"), payments_since=LONG_AGO
    )
    rows = account.rows(import_id)
    found = {
        key: (row.outcome.value, row.subject_ref, row.matched_by or row.reason) for key, row in rows.items()
    }
    assert found == {key: tuple(expected) for key, expected in at.preview.items()}
    assert not rows.keys() & set(at.over)
    open_ = {key for key, row in rows.items() if row.outcome is ImportOutcome.AMBIGUOUS}
    with account.shop.runtime.database.write() as db:
        leave_out(db, account.scope, import_id=import_id, keys=open_)
    matched = [key for key, row in rows.items() if row.outcome is ImportOutcome.MATCHED]
    assert account.write(import_id) == {"imported": len(matched)}
    assert shown(account, at) == at.has
    before = account.entitlements()
    replayed = replay_purchases(account.shop.runtime.database, clock=account.shop.runtime.clock)
    assert [changes for _, changes in replayed if changes] == []
    assert account.entitlements() == before
    again = account.read(map_csv=at.csv if at.lines else None, payments_since=LONG_AGO)
    repeated = account.rows(again)
    assert {repeated[key].outcome for key in matched} == {ImportOutcome.HERE_ALREADY}


def shown(account: Account, at: Awkward) -> dict[str, list[str]]:
    """What each customer of the cases has: `PRODUCT status ×quantity, units left`."""
    found: dict[str, list[str]] = {ref: [] for ref in at.has}
    for ref, owned in account.entitlements().items():
        with account.shop.runtime.database.read() as db:
            now = with_clock(db, account.scope).at(account.shop.runtime.clock())
            windows = grants_with_default(db, account.scope, owned, now=now)
        lines = []
        for each in owned:
            text = f"{each.product_code} {standing(each, now).status}"
            text += f" ×{each.quantity}" if each.quantity != 1 else ""
            if each.kind is Kind.USAGE_PACK:
                text += f", {remaining(each)} {each.unit}"
            left = [window for window in windows if window.entitlement.id == each.id]
            text += "".join(f", {remaining(window)} {window.unit}" for window in left)
            lines.append(text)
        found[ref] = sorted(lines)
    return found
