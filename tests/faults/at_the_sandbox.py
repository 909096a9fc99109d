"""A subscription bought at the sandbox over HTTP: its events, and the worker that reads it from there."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import waitress

from licenzy.connections.models import Provider
from licenzy.factory import sandbox_app
from licenzy.settings import Settings
from tests.conftest import Sandbox
from tests.faults.shop import SETTLED_AFTER, Deliver, Shop, Step, Story, Work
from tests.properties.test_against_the_sandbox import Account
from tests.support.ports import answers, wait_until
from tests.support.purchases import make_attempt

DELIVERED_TYPES = {
    "checkout.session.completed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "invoice.paid",
    "invoice_payment.paid",
}


@contextmanager
def sandbox(settings: Settings) -> Iterator[Account]:
    """The sandbox in a process of its own, with an account."""
    pid = os.fork()
    if not pid:
        waitress.serve(
            sandbox_app(settings),
            host="127.0.0.1",
            port=settings.port + 1,
            threads=4,
            ident=None,
            _quiet=True,
        )
        os._exit(0)
    try:
        wait_until(lambda: answers(settings.port + 1), seconds=20, what="the sandbox listens")
        yield Account(Sandbox(None, settings.sandbox_url, settings.derived_secret("sandbox control")))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def connected(account: Account) -> dict[str, object]:
    """What a connection to the account is made with."""
    return {"provider": Provider.SANDBOX, "stripe_key": account.key}


def story(shop: Shop, account: Account) -> Story:
    """Events told by the sandbox, then the worker's settling read of what they touched."""
    price = account.price(1200)
    shop.pro.prices[0].stripe_price_id = price
    shop.db.add(shop.pro)
    shop.db.flush()
    session, subscription = account.subscribe(price)
    make_attempt(
        shop.db, connection=shop.connection, subject=shop.subject, product=shop.pro, session_id=session
    )
    item = account.stripe.subscriptions.retrieve(subscription)["items"].data[0].id
    told = [event for event in account.events() if event["type"] in DELIVERED_TYPES]
    steps: list[Step] = [*map(Deliver, told), Work(after=SETTLED_AFTER, settle=True)]
    held = {"kind": "subscription", "state": "active", "stripe_subscription_id": subscription}
    return Story("a subscription is settled", steps, {(subscription, item): held}, settle=True)
