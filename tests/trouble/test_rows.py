"""The checker finds what is lost: rows are changed behind the product's back, and it must say so."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from flask import Flask

from licenzy.factory import create_app
from licenzy.settings import Settings
from tests.trouble import rows
from tests.trouble.clients import Consume, Repeating, Reserve, Webhook, answer_in_process
from tests.trouble.installation import BUYER, install

CALLS = 12
Answered = dict[str, list[dict[str, Any]]]


@pytest.fixture
def answered(settings: Settings) -> Answered:
    """What clients were told by a product that is well."""
    installation = install(settings)
    app: Flask = create_app(settings)
    route_clients: list[Repeating] = [kind(installation) for kind in (Consume, Reserve, Webhook)]
    for client in route_clients * CALLS:
        client.note_answer(answer_in_process(app, client.next()))
    app.extensions["licenzy"].database.close()
    return {client.name: client.answered for client in route_clients}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM idempotency_keys WHERE endpoint = 'usage/consume'", "was acknowledged and is lost"),
        ("DELETE FROM idempotency_keys WHERE endpoint = 'usage/reserve'", "was acknowledged and is lost"),
        ("UPDATE entitlements SET used_units = used_units + 1", "used, its ledger"),
        ("UPDATE entitlements SET reserved_units = reserved_units + 1", "back, its reservations"),
        ("UPDATE usage_reservations SET committed_units = committed_units + 1", "units, its ledger"),
        ("UPDATE usage_reservations SET closed_as = 'released'", "was acknowledged and is lost"),
        ("DELETE FROM stripe_events", "was acknowledged and is lost"),
        ("UPDATE stripe_events SET status = 'failed'", "was acknowledged and is not applied"),
    ],
)
def test_a_change_is_found(settings: Settings, answered: Answered, change: str, said: str) -> None:
    assert rows.problems(settings.database_url, answered, buyer=BUYER) == []
    with closing(sqlite3.connect(settings.database_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute(change)
    found = rows.problems(settings.database_url, answered, buyer=BUYER)
    assert any(said in each for each in found), found
