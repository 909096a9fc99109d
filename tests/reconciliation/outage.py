"""Histories at the sandbox, written quickly by its own functions: what happened while nobody listened."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session

from licenzy.catalog.models import Product
from licenzy.checkout.models import CheckoutAttempt
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.stripe_sandbox.api import sessions
from licenzy.stripe_sandbox.lifecycle import (
    checkout,
    cycles,
    disputes,
    invoices,
    plans,
    refunds,
    subscriptions,
)
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome, charge_for
from tests.checkout.conftest import Shop
from tests.support.cast import make_subject
from tests.support.purchases import make_attempt

Json = dict[str, Any]
DAY = 86_400
_numbers = itertools.count(1)


@dataclass
class Outage:
    """Many buyers of one shop, and Stripe's truth about each."""

    shop: Shop
    products: list[Product]
    """Two plans, then a pack."""
    bought: list[str] = field(default_factory=list)
    """Subscriptions, by Stripe's id, in the order of their purchase."""
    packs: list[str] = field(default_factory=list)
    """Checkout sessions."""
    refunded: set[str] = field(default_factory=set)
    """Subscriptions whose current period's invoice was refunded."""

    @contextmanager
    def account_store(self, *, ago: int) -> Iterator[AccountStore]:
        """The account's session as of so many seconds ago."""
        services = self.shop.sandbox.app.services
        with services.store.writing() as db:
            account = find_account(db, self.shop.account)
            assert account is not None
            yield AccountStore(db, account, services.public_url, now=int(time.time()) - ago)

    def sell(self, count: int, *, ago: int, packs: int = 0) -> None:
        """Checkouts opened through us and paid at Stripe; nobody was told."""
        plan, _, pack = self.products
        with self.shop.runtime.database.write() as db:
            attempts = [self._attempt(db, product, ago) for product in [plan] * count + [pack] * packs]
            with self.account_store(ago=ago) as account_store:
                for attempt in attempts:
                    session = self._pay(account_store, attempt)
                    attempt.stripe_checkout_session_id = session["id"]
                    if session["subscription"]:
                        self.bought.append(session["subscription"])
                    else:
                        self.packs.append(session["id"])
            db.add_all(attempts)

    def _attempt(self, db: Session, product: Product, ago: int) -> CheckoutAttempt:
        ref = f"user_{next(_numbers)}"
        return make_attempt(
            db,
            connection=self.shop.connection,
            subject=make_subject(db, project_id=self.shop.project_id, subject_ref=ref),
            product=product,
            now=datetime.fromtimestamp(time.time() - ago, UTC),
        )

    def _pay(self, account_store: AccountStore, attempt: CheckoutAttempt) -> Json:
        named = {"metadata": {"licenzy_attempt": attempt.id}}
        recurring = attempt.sold["kind"] == "subscription"
        session = sessions.create(
            account_store,
            {
                "mode": "subscription" if recurring else "payment",
                "line_items": [{"price": attempt.sold["stripe_price_id"], "quantity": 1}],
                "success_url": "https://shop.test/thanks",
                **named,
                **({"subscription_data": named} if recurring else {"customer_creation": "always"}),
            },
        )
        checkout.complete(
            account_store,
            session,
            outcome=PaymentOutcome.SUCCEEDED,
            email="buyer@example.com",
            quantities={},
        )
        return session

    def happen(self, *, ago: int) -> int:
        """Everybody renews, and then to every second one something happens; how many events that gives."""
        with self.account_store(ago=ago) as account_store:
            for number, subscription_id in enumerate(self.bought):
                subscription = account_store.get("subscription", subscription_id, param="id")
                invoice = cycles.renew(account_store, subscription)
                _BEFALLS[number % len(_BEFALLS)](self, account_store, subscription, invoice)
            for number, session_id in enumerate(self.packs):
                intent = account_store.get("checkout.session", session_id, param="id")["payment_intent"]
                charge = charge_for(account_store, payment_intent=intent)
                _BEFALLS_PACKS[number % len(_BEFALLS_PACKS)](account_store, charge)
            return len(account_store.emitted)

    def truth(self) -> tuple[dict[str, Json], dict[str, Json]]:
        """The subscriptions and the packs' charges as Stripe has them now, by id of purchase."""
        with self.account_store(ago=0) as account_store:
            subs = {each: account_store.get("subscription", each, param="id") for each in self.bought}
            charges = {
                each: charge_for(
                    account_store,
                    payment_intent=account_store.get("checkout.session", each, param="id")["payment_intent"],
                )
                for each in self.packs
            }
            for each in charges.values():
                found = account_store.select("dispute", ("json_extract(body, '$.charge') = ?", [each["id"]]))
                each["dispute"] = found[0]["status"] if found else None
            return subs, charges


def _change_plan(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    item = subscription["items"]["data"][0]["id"]
    plans.change_items(
        account_store, subscription, [{"id": item, "price": outage.products[1].prices[0].stripe_price_id}]
    )


def _cancel(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    subscriptions.cancel(account_store, subscription)


def _schedule_cancel(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    subscriptions.schedule_cancel(account_store, subscription, at=None, set_period_end_flag=True)


def _refund(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    outage.refunded.add(subscription["id"])
    refunds.refund(
        account_store,
        charge_for(account_store, payment_intent=invoices.intent_of(account_store, invoice)["id"]),
    )


def _renew(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    cycles.renew(account_store, subscription)


def _nothing(outage: Outage, account_store: AccountStore, subscription: Json, invoice: Json) -> None:
    pass


def _lose_dispute(account_store: AccountStore, charge: Json) -> None:
    disputes.close(account_store, disputes.open_dispute(account_store, charge), won=False)


def _refund_and_fail(account_store: AccountStore, charge: Json) -> None:
    refunds.fail(account_store, refunds.refund(account_store, charge))


_BEFALLS = (
    *(_cancel, _nothing, _change_plan, _renew, _schedule_cancel, _nothing, _cancel, _renew),
    *(_change_plan, _nothing, _cancel, _renew, _nothing, _renew, _schedule_cancel, _nothing),
    *(_cancel, _renew, _refund, _nothing),
)
_BEFALLS_PACKS = (
    refunds.refund,
    disputes.open_dispute,
    lambda account_store, charge: refunds.refund(account_store, charge, amount=5),
    _lose_dispute,
    _refund_and_fail,
)
