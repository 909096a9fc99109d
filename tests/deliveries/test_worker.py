"""The worker that `serve` starts, and `licenzy worker` beside it, deliver by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlmodel import select

from licenzy.deliveries.models import Delivery, DeliveryStatus
from licenzy.kit.clock import utc_now
from licenzy.settings import Settings
from tests.conftest import LiveServer, make_settings
from tests.support.cast import make_cast
from tests.support.endpoints import make_endpoint, tell
from tests.support.ports import wait_until
from tests.support.receivers import Receiver, receiver


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> Settings:
    """An operator who allows receivers on this machine, or one who does not."""
    allowed = "refused" not in request.node.name
    return replace(make_settings(tmp_path, database_url), allow_private_webhooks=allowed)


def happen(live_server: LiveServer, hook: Receiver) -> None:
    parts = live_server.runtime
    with parts.database.write() as db:
        cast = make_cast(db, now=utc_now())
        make_endpoint(
            db, project_id=cast.project_id, secret_box=parts.secret_box, url=hook.url, now=utc_now()
        )
        tell(db, project_id=cast.project_id, count=3, now=utc_now())


def statuses(live_server: LiveServer) -> list[DeliveryStatus]:
    with live_server.runtime.database.read() as db:
        return [row.status for row in db.exec(select(Delivery))]


def test_what_happens_is_delivered(live_server: LiveServer, hook: Receiver) -> None:
    happen(live_server, hook)
    wait_until(
        lambda: statuses(live_server) == [DeliveryStatus.SENT] * 3, seconds=20, what="all three are sent"
    )
    assert len(hook.requests) == 3


def test_this_machine_is_refused_unless_the_operator_allows_it(
    live_server: LiveServer, hook: Receiver
) -> None:
    happen(live_server, hook)
    wait_until(
        lambda: statuses(live_server) == [DeliveryStatus.FAILED] * 3, seconds=20, what="all three failed"
    )
    assert hook.connections == 0
