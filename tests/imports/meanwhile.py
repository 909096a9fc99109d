"""What happens at Stripe between an import's reading and its writing, told in any order, some of it twice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from licenzy.catalog.models import Kind, Product
from licenzy.connections.credentials import access
from licenzy.connections.rules import REQUIRED_EVENTS
from licenzy.entitlements.decision import remaining, standing
from licenzy.imports import actions
from licenzy.imports.progress import claim_import, go_on
from licenzy.kit.clock import EPOCH
from licenzy.projects.models import Project
from licenzy.stripe_events.receive import read_payload, receive
from licenzy.stripe_events.snapshots import settle_next
from licenzy.stripe_sandbox.account_store import public
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.stripe_sandbox.version import event_for
from licenzy.workspace.audit import Actor
from tests.imports.account import Account
from tests.support.cast import make_connection, make_product, make_project
from tests.support.clock import StandingClock

Sell = Callable[..., Product]
SUBSCRIPTIONS = 12
LONG_AGO = EPOCH + timedelta(days=1)
_ACTS = {
    "active": (
        ("renew", 3),
        ("fail_renewal", 2),
        ("cancel", 2),
        ("cancel_at_period_end", 1),
        ("change_plan", 3),
        ("pause_collection", 1),
        ("resume_collection", 1),
    ),
    "trialing": (("cancel", 1), ("cancel_at_period_end", 1), ("change_plan", 1)),
    "past_due": (("recover", 3), ("cancel", 1)),
}

_NOT_IF_IT_ENDS = {"renew", "fail_renewal", "cancel_at_period_end"}


@dataclass
class Meanwhile:
    """An account with buyers of all kinds, of which things happen at random."""

    account: Account
    clock: StandingClock
    chance: random.Random
    prices: dict[str, str] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    subscriptions: list[str] = field(default_factory=list)
    payments: list[str] = field(default_factory=list)
    happened: list[str] = field(default_factory=list)
    """What was done, for the message of a failure."""
    seen: int = 0

    def begin(self, sell: Sell) -> None:
        self.products = [
            sell("PRO", Kind.SUBSCRIPTION, grace_days=3),
            sell("TEAM", Kind.SUBSCRIPTION),
            sell("CREDITS", Kind.USAGE_PACK, units=100),
            sell("PASS", Kind.TIME_PASS, duration_seconds=30 * 86_400),
        ]
        self.prices = {each.product_code: each.prices[0].stripe_price_id for each in self.products}
        for number in range(SUBSCRIPTIONS):
            self._subscribe(number)
        for code in ("CREDITS", "PASS", "CREDITS"):
            self._buy(code)
        self.new_events()

    def _subscribe(self, number: int) -> None:
        codes = self.chance.choice((["PRO"], ["TEAM"], ["PRO", "TEAM"]))
        items = [{"price": self.prices[code], "quantity": self.chance.choice((1, 1, 3))} for code in codes]
        more = {"trial_period_days": 14} if self.chance.random() < 0.2 else {}
        customer = self.account.customer(metadata={"user": f"u{number}"})
        made = self.account.subscribe(customer, *items, default_payment_method="pm_card_visa", **more)
        if not more and self.chance.random() < 0.2:
            self.account.act("fail_renewal", subscription=made)
        self.subscriptions.append(made)

    def _buy(self, code: str) -> None:
        number = len(self.payments)
        sessions = self.account.shop.stripe.v1.checkout.sessions
        asked: Any = {
            "mode": "payment",
            "line_items": [{"price": self.prices[code], "quantity": 1}],
            "success_url": "https://shop.test/thanks",
            "client_reference_id": f"b{number}",
        }
        session = sessions.create(asked)
        self.account.act("pay_session", session=session.id)
        self.payments.append(str(sessions.retrieve(session.id).payment_intent))

    # --- what happens -----------------------------------------------------------------------------

    def something_happens(self) -> None:
        if self.payments and self.chance.random() < 0.12:
            payment = self.payments.pop(self.chance.randrange(len(self.payments)))
            self._do(self.chance.choice(("refund", "dispute")), payment_intent=payment)
            return
        key = self.chance.choice(self.subscriptions)
        now = self.account.shop.stripe.v1.subscriptions.retrieve(key)
        acts = _ACTS.get(now.status)
        if acts is None:
            return
        (act,) = self.chance.choices([name for name, _ in acts], [weight for _, weight in acts])
        more: dict[str, Any] = {}
        if act == "change_plan":
            taken = {item.price.id for item in now.items.data[1:]}
            free = sorted({self.prices["PRO"], self.prices["TEAM"]} - taken)
            more = {"price": self.chance.choice(free), "quantity": self.chance.choice((1, 2, 5))}
            more["proration_behavior"] = self.chance.choice(("none", "create_prorations", "always_invoice"))
        if now.cancel_at_period_end and act in _NOT_IF_IT_ENDS:
            act = "keep"
        self._do(act, subscription=key, **more)

    def _do(self, act: str, **named: Any) -> None:
        self.happened.append(f"{act} {named}")
        self.account.act(act, **named)

    # --- what is told -----------------------------------------------------------------------------

    def new_events(self) -> list[bytes]:
        """The events since the last call that an endpoint of Licenzy's is sent."""
        shop = self.account.shop
        with shop.sandbox.app.services.store.reading() as db:
            account = find_account(db, shop.account)
            assert account is not None
            rows = list(
                db.execute(
                    "SELECT seq, body FROM objects WHERE scope = ? AND kind = 'event' AND seq > ?"
                    " ORDER BY seq",
                    (account.scope, self.seen),
                )
            )
        self.seen = rows[-1]["seq"] if rows else self.seen
        events = [event_for(public(json.loads(row["body"])), None) for row in rows]
        return [json.dumps(each).encode() for each in events if each["type"] in REQUIRED_EVENTS]

    def deliver(self, events: list[bytes]) -> None:
        """Deliver these in an order made at random, every fifth of them twice."""
        order = [*events, *events[::5]]
        self.chance.shuffle(order)
        for body in order:
            self.account.shop.runtime.database.retrying(partial(self._receive, body=body))

    def _receive(self, db: Any, *, body: bytes) -> None:
        receive(
            db,
            connection=self.account.shop.connection,
            event=read_payload(body),
            body=body,
            now=self.account.shop.runtime.clock(),
        )

    def settle(self) -> None:
        """All that was asked for is read once more."""
        parts = self.account.shop.runtime
        self.go_on_with_time()
        self.clock.advance(seconds=5)
        while settle_next(parts.database, parts.gateway, parts.secret_box, clock=parts.clock):
            pass

    def go_on_with_time(self) -> None:
        self.clock.now = max(self.clock.now, datetime.now(UTC))

    # --- the import -------------------------------------------------------------------------------

    def let_write(self, import_id: str) -> None:
        with self.account.shop.runtime.database.write() as db:
            actions.run_import(db, self.account.scope, import_id=import_id, actor=Actor(), now=self.clock())

    def write_some(self, import_id: str) -> None:
        """The next batch of what is to be written."""
        claimed = self.account.shop.runtime.database.retrying(
            lambda db: claim_import(db, self.account.scope, import_id=import_id, now=self.clock())
        )
        if claimed is not None:
            go_on(self.account.importer, claimed)

    def newcomer(self) -> Account:
        """Another project with the same products, connected to the same account, that knows nothing yet."""
        shop = self.account.shop
        parts = shop.runtime
        key = access(parts.gateway, parts.secret_box, shop.connection).api_key
        with parts.database.write() as db:
            project_id = make_project(
                db, workspace_id=db.get_one(Project, shop.project_id).workspace_id, name="A newcomer"
            )
            connection = make_connection(
                db,
                project_id=project_id,
                secret_box=parts.secret_box,
                provider=shop.connection.provider,
                stripe_key=key,
            )
            for each in self.products:
                make_product(
                    db,
                    project_id=project_id,
                    product_code=each.product_code,
                    kind=each.kind,
                    grace_days=each.grace_days,
                    units=each.units,
                    duration_seconds=each.duration_seconds,
                    stripe_price_id=self.prices[each.product_code],
                )
        return Account(replace(shop, project_id=project_id, connection=connection))


def has(account: Account, now: datetime) -> dict[str, list[str]]:
    """What each customer of a project has: product, status, quantity, units left."""
    found: dict[str, list[str]] = {}
    for ref, rows in account.entitlements().items():
        for row in rows:
            status = standing(row, now).status
            if status in {"canceled", "expired"}:
                continue  # What is over a newcomer does not bring along.
            units = f" {remaining(row)}" if row.kind is Kind.USAGE_PACK else ""
            # A larger quantity that was never paid counts for a newcomer, who cannot know what was.
            quantity = "" if status == "past_due" else f" ×{row.quantity}"
            found.setdefault(ref, []).append(f"{row.product_code} {status}{quantity}{units}")
    return {ref: sorted(rows) for ref, rows in found.items()}
