"""Reading a whole account by pages, as those do who bring it elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import open_account
from licenzy.stripe_sandbox.api.table import OPERATIONS
from licenzy.stripe_sandbox.store import Store
from tests.stripe_sandbox.shop import Shop

EXPANDED = ["data.customer", "data.latest_invoice"]


def test_subscriptions_are_read_by_status_with_customer_and_invoice(shop: Shop) -> None:
    monthly, seats = shop.price(1900), shop.price(500)
    nameless = shop.stripe.customers.create({"metadata": {"user": "user_1"}})
    several = shop.started(monthly, seats, customer=nameless.id)
    trialing = shop.started(monthly, trial_period_days=14)
    canceled = shop.started(monthly)
    shop.stripe.subscriptions.cancel(canceled.id)
    late = shop.started(monthly)
    shop.act("fail_renewal", subscription=late.id)

    listed = shop.stripe.subscriptions.list
    assert _ids(listed({"limit": 100})) == [late.id, trialing.id, several.id]
    assert _ids(listed({"limit": 100, "status": "all"})) == [late.id, canceled.id, trialing.id, several.id]
    for status, only in [("trialing", trialing), ("canceled", canceled), ("active", several)]:
        assert only.id in _ids(listed({"status": status}))
    page = listed({"limit": 1, "starting_after": trialing.id, "expand": EXPANDED})
    (read,) = page.data
    assert isinstance(read.customer, stripe.Customer)
    assert isinstance(read.latest_invoice, stripe.Invoice)
    assert read.customer.email is None
    assert read.customer.metadata
    assert read.customer.metadata["user"] == "user_1"
    assert (read.latest_invoice.status, len(read.latest_invoice.lines.data)) == ("paid", 2)
    assert [item.price.id for item in read["items"].data] == [monthly.id, seats.id]
    assert not page.has_more


def test_paid_sessions_are_read_with_lines_and_charges(shop: Shop) -> None:
    guest = shop.bought(customer_creation="if_required")
    subscribed = shop.subscribed()
    refunded, disputed = shop.bought(), shop.bought()
    shop.stripe.refunds.create({"payment_intent": str(refunded.payment_intent), "amount": 100})
    shop.act("dispute", payment_intent=str(disputed.payment_intent))
    shop.session(shop.price(interval=None))
    asked: Any = {
        "created": {"gte": guest.created},
        "status": "complete",
        "limit": 2,
        "expand": ["data.line_items", "data.payment_intent.latest_charge"],
    }
    sessions = list(shop.stripe.checkout.sessions.list(asked).auto_paging_iter())
    assert [s.id for s in sessions][:2] == [disputed.id, refunded.id]
    assert (sessions[3].id, sessions[3].customer) == (guest.id, None)
    assert sessions[2].subscription == subscribed.id
    charges = [_charge(session) for session in sessions if session.payment_intent]
    assert [(c.disputed, c.refunded, c.amount_refunded) for c in charges] == [
        (True, False, 0),
        (False, False, 100),
        (False, False, 0),
    ]
    assert all(s.line_items and len(s.line_items.data) == 1 for s in sessions)
    later: Any = {**asked, "created": {"gte": guest.created + 3600}}
    assert shop.stripe.checkout.sessions.list(later).data == []


def test_a_session_embeds_its_first_ten_lines(shop: Shop) -> None:
    lines = [{"price": shop.price(100, interval=None).id, "quantity": 1} for _ in range(12)]
    session = shop.session(shop.price(interval=None), line_items=lines)
    embedded = shop.stripe.checkout.sessions.retrieve(session.id, {"expand": ["line_items"]}).line_items
    assert embedded is not None
    assert (len(embedded.data), embedded.has_more) == (10, True)
    after: Any = {"limit": 100, "starting_after": embedded.data[-1].id}
    rest = shop.stripe.checkout.sessions.line_items.list(session.id, after)
    assert [line.price.id for line in [*embedded.data, *rest.data] if line.price] == [
        line["price"] for line in lines
    ]


@pytest.fixture
def queries(tmp_path: Path) -> Iterator[tuple[AccountStore, list[str]]]:
    """An account, and the plan of each query of its objects."""
    store = Store(tmp_path / "sandbox.sqlite3")
    asked: list[str] = []
    with store.writing() as db:
        account, _secret = open_account(db, name="Acme", livemode=False, reference=None)
        db.set_trace_callback(asked.append)
        yield AccountStore(db, account, "http://x"), asked
        db.set_trace_callback(None)
    store.close()


@pytest.mark.parametrize(
    ("rule", "params"),
    [
        ("/v1/subscriptions", {}),
        ("/v1/subscriptions", {"status": "all"}),
        ("/v1/subscriptions", {"status": "trialing"}),
        ("/v1/customers", {"email": "a@example.com"}),
        ("/v1/checkout/sessions", {"status": "complete", "created": {"gte": 1}}),
        ("/v1/checkout/sessions", {"subscription": "sub_1"}),
        ("/v1/checkout/sessions", {"payment_intent": "pi_1"}),
        ("/v1/refunds", {"payment_intent": "pi_1"}),
        ("/v1/disputes", {"charge": "ch_1"}),
    ],
)
def test_a_page_reads_no_more_than_it_gives(
    queries: tuple[AccountStore, list[str]], rule: str, params: dict[str, Any]
) -> None:
    session, asked = queries
    (listing,) = (each for each in OPERATIONS if each.name == f"GET {rule}")
    listing.handler(session, {"limit": 100, **params})
    (query,) = (each for each in asked if each.startswith("SELECT body FROM objects"))
    (step,) = (row["detail"] for row in session.db.execute(f"EXPLAIN QUERY PLAN {query}"))
    narrow = params.keys() & {"status", "email", "subscription", "payment_intent", "charge"}
    if rule == "/v1/subscriptions" and not params:
        assert "objects_not_canceled" in step
    else:
        assert re.search(r"<expr>=\?" if narrow and params != {"status": "all"} else "objects_in_order", step)


def _ids(page: Any) -> list[str]:
    return [each.id for each in page.data]


def _charge(session: stripe.checkout.Session) -> stripe.Charge:
    assert isinstance(session.payment_intent, stripe.PaymentIntent)
    assert isinstance(session.payment_intent.latest_charge, stripe.Charge)
    return session.payment_intent.latest_charge
