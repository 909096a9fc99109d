"""Trials from the checkout to their end, over HTTP to the sandbox and back by signed webhooks."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, TrialCard, TrialEnd
from licenzy.catalog.queries import has_trials
from licenzy.checkout.models import CheckoutAttempt
from licenzy.connections.actions import register_endpoint
from licenzy.connections.rules import TRIAL_WILL_END
from licenzy.deliveries.models import EventType, OutboundEvent
from licenzy.entitlements.models import Purchase
from licenzy.setup.fact_collector import project_facts
from licenzy.setup.queries import setup_facts
from licenzy.stripe_events.replay import replay_purchases
from licenzy.workspace.audit import Actor
from tests.conftest import LiveServer
from tests.support.cast import Cast, make_product
from tests.support.endpoints import make_endpoint
from tests.support.playground import Playground, make_playground
from tests.support.sizes import LARGE_ON_SQLITE

pytestmark = pytest.mark.slow


@pytest.fixture
def playground(live_server: LiveServer, cast: Cast) -> Playground:
    """A lab whose endpoint here receives all events, and whose webhook is set up with a trial on sale."""
    made = make_playground(live_server.runtime, cast)
    parts = made.runtime
    with parts.database.write() as db:
        make_endpoint(
            db,
            project_id=cast.project_id,
            secret_box=parts.secret_box,
            types=[each.value for each in EventType],
        )
    return made


def sell_trial(playground: Playground, cast: Cast, code: str, **columns: Any) -> None:
    price = playground.stripe.v1.prices.create(
        {
            "unit_amount": 1200,
            "currency": "usd",
            "recurring": {"interval": "month"},
            "product_data": {"name": code},
        }
    )
    parts = playground.runtime
    with parts.database.write() as db:
        make_product(
            db,
            project_id=cast.project_id,
            product_code=code,
            kind=Kind.SUBSCRIPTION,
            stripe_price_id=price.id,
            **{"trial_days": 14, "trial_once": True, **columns},
        )
    register_endpoint(
        parts.database,
        parts.gateway,
        parts.secret_box,
        playground.scope,
        base_url=parts.settings.base_url,
        has_trials=has_trials,
        actor=Actor(cast.owner.user_id),
        now=parts.clock(),
    )


def subscribed_events(playground: Playground) -> set[str]:
    (endpoint,) = playground.stripe.v1.webhook_endpoints.list().data
    return set(endpoint.enabled_events)


def wanted_events(playground: Playground) -> frozenset[str]:
    """What the findings and the wizard expect the endpoint to send."""
    parts = playground.runtime
    with parts.database.read() as db:
        facts = project_facts(
            db,
            parts.secret_box,
            project_id=playground.project_id,
            base_url=parts.settings.base_url,
            now=parts.clock(),
        )
        connection = setup_facts(
            db, playground.scope, base_url=parts.settings.base_url, now=parts.clock()
        ).connection
    assert facts.test.connection is not None
    assert connection is not None
    assert connection.wanted_events == facts.test.connection.wanted_events
    return connection.wanted_events


def sent(playground: Playground) -> Counter[str]:
    with playground.runtime.database.read() as db:
        return Counter(json.loads(row.body)["type"] for row in db.exec(select(OutboundEvent)))


def offered(playground: Playground, attempt_id: str) -> int | None:
    with playground.runtime.database.read() as db:
        return db.exec(select(CheckoutAttempt.trial_days).where(CheckoutAttempt.id == attempt_id)).one()


def trials(playground: Playground) -> list[tuple[Any, Any]]:
    with playground.runtime.database.read() as db:
        found = [(each.trialed_at, each.trialed_products) for each in db.exec(select(Purchase))]
    return [each for each in found if each != (None, None)]


@LARGE_ON_SQLITE
def test_a_trial_is_had_once_and_its_end_announced_once(playground: Playground, cast: Cast) -> None:
    assert TRIAL_WILL_END not in subscribed_events(playground) | wanted_events(playground)
    sell_trial(playground, cast, "TRIED")
    assert TRIAL_WILL_END in subscribed_events(playground) & wanted_events(playground)
    first = playground.bought("TRIED")
    assert playground.bench(first).current.status == "trialing"
    ((began, products),) = trials(playground)
    assert (began is not None, products) == (True, ["TRIED"])
    assert offered(playground, playground.checkout("TRIED")) == 0
    assert offered(playground, playground.checkout("TRIED", "user_other")) == 14
    for _ in range(11):
        playground.let("advance_day", first)
    assert sent(playground)["subscription.trial_ending"] == 1
    playground.let("reconcile", first)
    assert sent(playground)["subscription.trial_ending"] == 1
    assert playground.let("renew_in_time", first).current.status == "active"
    assert sent(playground)["subscription.trial_ending"] == 1
    before = trials(playground)
    assert list(replay_purchases(playground.runtime.database, clock=playground.runtime.clock))
    assert trials(playground) == before == [(began, ["TRIED"])]


@LARGE_ON_SQLITE
def test_a_trial_without_a_card_is_paused_and_never_announced_late(
    playground: Playground, cast: Cast
) -> None:
    sell_trial(
        playground,
        cast,
        "FREELY",
        trial_days=2,
        trial_card=TrialCard.IF_REQUIRED,
        trial_end_without_card=TrialEnd.PAUSE,
    )
    attempt = playground.checkout("FREELY")
    playground.let("pay_session", attempt, delivery="never")
    for _ in range(2):
        playground.let("advance_day", attempt, delivery="never")
    playground.let("reconcile", attempt)
    assert playground.bench(attempt).current.status == "paused"
    assert sent(playground)["subscription.trial_ending"] == 0
    assert trials(playground)[0][1] == ["FREELY"]
    assert offered(playground, playground.checkout("FREELY")) == 0
