"""One installation on SQLite for all cases of a module; each case has a subject and objects of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from licenzy.catalog.models import Kind
from licenzy.factory import create_app
from licenzy.runtime import Runtime
from tests.conftest import make_settings
from tests.entitlements.fixtures_purchases import NEW, OLD, Sale, Storefront
from tests.support.cast import make_cast, make_connection
from tests.support.clock import START, StandingClock
from tests.support.databases import SqliteFiles


@pytest.fixture(scope="module")
def storefront(tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles) -> Iterator[Storefront]:
    folder = tmp_path_factory.mktemp("storefront")
    app = create_app(make_settings(folder, sqlite_files.fresh(folder)), clock=StandingClock())
    parts: Runtime = app.extensions["licenzy"]
    with parts.database.write() as db:
        cast = make_cast(db, now=START)
        connection = make_connection(db, project_id=cast.project_id, secret_box=parts.secret_box)
    yield Storefront(app.test_client(), parts.database, connection)
    parts.database.engine.dispose()


@pytest.fixture(params=[NEW, OLD])
def shape(request: pytest.FixtureRequest) -> str:
    """The API version in whose shape Stripe's events come."""
    version: str = request.param
    return version


@pytest.fixture
def open_sale(storefront: Storefront, shape: str) -> Callable[..., Sale]:
    """Sells a subscription whose product has the columns given."""

    def sell_one(*, quantity: int = 1, **columns: Any) -> Sale:
        return storefront.sell(
            storefront.product(Kind.SUBSCRIPTION, **columns), quantity=quantity, shape=shape
        )

    return sell_one
