"""An event in the midst of which SQLite gives up the transaction is not acknowledged, and comes again."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event
from sqlmodel import select

from licenzy.catalog.models import Kind
from licenzy.entitlements.models import State
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent
from tests.entitlements.fixtures_purchases import Storefront
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection
from tests.support.purchases import signed


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_nothing_is_left_of_is_not_acknowledged(app: Flask, runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    client, engine = app.test_client(), runtime.database.engine
    storefront = Storefront(client, runtime.database, connection)
    sale = storefront.sell(storefront.product(Kind.USAGE_PACK))

    def give_up(_connection: Any, cursor: Any, statement: str, *_more: Any) -> None:
        """What SQLite does itself when a page cannot be written."""
        if statement.startswith("INSERT INTO facts"):
            cursor.connection.execute("ROLLBACK")
            raise sqlite3.OperationalError("disk I/O error")

    event.listen(engine, "before_cursor_execute", give_up)
    with pytest.raises(AssertionError, match="database_unavailable"):
        sale.session()
    event.remove(engine, "before_cursor_execute", give_up)
    (told,) = sale.sent
    with runtime.database.read() as db:
        assert db.exec(select(StripeEvent)).all() == []
    body, headers = signed(told, WEBHOOK_SECRET)
    again = client.post(f"/v1/webhooks/stripe/{connection.id}", data=body, headers=headers)
    assert again.status_code == 200
    with runtime.database.read() as db:
        assert db.exec(select(StripeEvent)).one().status is EventStatus.APPLIED
    assert sale.row().state is State.ACTIVE
