"""`licenzy reconcile` and `licenzy replay` as a person and as a program meet them."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from click.testing import Result
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Entitlement, State
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.checkout.conftest import Shop, sell, shop
from tests.cli.test_commands import run
from tests.reconciliation.test_reconcile import buy
from tests.support.clock import StandingClock

__all__ = ["run", "sell", "shop"]
Run = Callable[..., Result]
Sell = Callable[..., Product]


@pytest.fixture(autouse=True)
def real_time(clock: StandingClock) -> None:
    clock.now = datetime.now(UTC)


@pytest.fixture
def bought(shop: Shop, sell: Sell) -> Shop:
    """A pack was paid for, and nobody was told."""
    sell("PACK", Kind.USAGE_PACK)
    buy(shop, "k", product_code="PACK")
    return shop


def test_reconcile_names_each_difference(bought: Shop, run: Run) -> None:
    done = run("reconcile")
    assert done.exit_code == 0, done.output
    assert ": 1 missed event, 1 repaired difference. Checked " in done.output
    assert "state None → active" in done.output
    assert "granted_units None → 1000" in done.output
    again = json.loads(run("reconcile", "--project", bought.project_id, "--json").stdout)
    (report,) = again["reports"]
    assert (report["events_missed"], report["differences"], report["error"]) == (0, [], None)
    assert run("reconcile", "--project", "prj_none").output.startswith("There is nothing to sync")


def test_reconcile_since_an_instant(bought: Shop, run: Run) -> None:
    assert run("reconcile", "--since", "yesterday").exit_code == 2
    done = json.loads(run("reconcile", "--since", "2020-01-01T00:00:00Z", "--json").stdout)
    assert done["reports"][0]["events_missed"] > 0


def test_reconcile_fails_in_a_sentence(bought: Shop, run: Run) -> None:
    bought.inject_faults(http_500=50, match="GET /v1/events")
    done = run("reconcile")
    assert done.exit_code == 1
    assert "the sync failed. Stripe reported an internal error." in done.output


@pytest.fixture
def repaired(bought: Shop, run: Run) -> Shop:
    assert run("reconcile").exit_code == 0
    return bought


@pytest.mark.parametrize("scope", ["all", "subject"])
def test_replay_finds_nothing_until_a_row_differs_from_its_facts(
    repaired: Shop, run: Run, scope: str
) -> None:
    asked = ["--all"]
    if scope == "subject":
        asked = ["--subject", "user_123", "--project", repaired.project_id, "--mode", "test"]
    clean = run("replay", *asked)
    assert (clean.exit_code, clean.output) == (0, "Rebuilt 1 purchase, found 0 differences.\n")
    with repaired.runtime.database.write() as db:
        row = db.exec(select(Entitlement)).one()
        row.state, row.granted_units = State.CANCELED, 7
    drifted = run("replay", *asked)
    assert drifted.exit_code == 1
    assert "state canceled → active" in drifted.output
    assert "granted_units 7 → 1000" in drifted.output
    assert run("replay", *asked).exit_code == 0


def test_replay_of_a_parked_event(repaired: Shop, run: Run) -> None:
    with repaired.runtime.database.write() as db:
        event = db.exec(select(StripeEvent).where(StripeEvent.type == "checkout.session.completed")).one()
        event.status, event.parked_at, event.tries = EventStatus.FAILED, event.received_at, 8
        event_id = event.event_id
    done = run("replay", "--event", event_id)
    assert (done.exit_code, done.output) == (0, f"{event_id} is applied.\n")
    named = run("replay", "--event", event_id, "--connection", repaired.connection.id, "--json")
    assert json.loads(named.stdout)["differences"] == []
    unknown = run("replay", "--event", "evt_none")
    assert (unknown.exit_code, "does not exist" in unknown.output) == (1, True)


def test_replay_needs_to_be_told_what(run: Run) -> None:
    for asked in ((), ("--subject", "x"), ("--connection", "con_x")):
        assert run("replay", *asked).exit_code == 2
