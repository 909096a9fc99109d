"""Invoices over time: drafts, lines and their pages."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from licenzy.stripe_sandbox.store import Store
from tests.stripe_sandbox.conftest import make_sandbox
from tests.stripe_sandbox.shop import Shop
from tests.stripe_sandbox.test_lifecycle import DAY, HOUR, INVOICED, PAID, SETTLED, item_of, now


def lines_of(shop: Shop, invoice: str) -> list[Any]:
    """All lines of an invoice, page by page."""
    found: list[Any] = []
    while True:
        after: Any = {"limit": 7, **({"starting_after": found[-1].id} if found else {})}
        page = shop.stripe.invoices.line_items.list(invoice, after)
        found += page.data
        if not page.has_more:
            return found


def test_a_renewal_is_a_draft_for_an_hour(shop: Shop) -> None:
    subscription = shop.subscribed()
    end = item_of(subscription).current_period_end
    emitted = shop.act("advance_clock", seconds=end - now(shop) + 60)
    assert emitted == ["customer.subscription.updated", "invoice.created", "test_helpers.test_clock.ready"]
    rolled = shop.stripe.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
    draft: Any = rolled.latest_invoice
    assert item_of(rolled).current_period_start == end
    assert (draft.status, draft.auto_advance, draft.automatically_finalizes_at) == ("draft", True, end + HOUR)
    emitted = shop.act("advance_clock", seconds=HOUR)
    assert emitted == [*INVOICED[1:], *PAID, *SETTLED, "test_helpers.test_clock.ready"]
    assert shop.stripe.invoices.retrieve(draft.id).status_transitions.paid_at == end + HOUR


def test_a_subscription_that_ends_leaves_its_draft(shop: Shop) -> None:
    subscription = shop.subscribed()
    shop.act("advance_clock", seconds=item_of(subscription).current_period_end - now(shop) + 60)
    shop.act("cancel", subscription=subscription.id)
    assert shop.act("advance_clock", seconds=2 * DAY) == ["test_helpers.test_clock.ready"]


def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    storage = tmp_path / "sandbox.sqlite3"
    make_sandbox(storage, port=1, start=False).close()
    with sqlite3.connect(storage) as db:
        db.execute("DROP INDEX objects_due")
        db.execute("ALTER TABLE objects DROP COLUMN due")
        db.execute("DROP TABLE subscription_prices")
        db.execute(
            "INSERT INTO accounts (scope, id, livemode, name, capability, clock_id, created)"
            " VALUES ('a', 'a', 0, 'A', 'c', 'clock', 1)"
        )
        item = '{"price": {"id": "price_1"}, "current_period_end": 77}'
        body = (
            '{"id": "sub_1", "object": "subscription", "status": "active", "cancel_at": null, "items":'
            f' {{"data": [{item}]}}}}'
        )
        db.execute(
            "INSERT INTO objects (scope, id, kind, created, body)"
            " VALUES ('a', 'sub_1', 'subscription', 1, ?)",
            (body,),
        )
    db.close()
    store = Store(storage)
    with store.reading() as db:
        assert db.execute("SELECT due FROM objects").fetchone()["due"] == 77
        assert db.execute("SELECT price FROM subscription_prices").fetchone()["price"] == "price_1"
    store.close()
