"""A sender that may reach this machine, and people with an endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from licenzy.deliveries.sending import Sender
from licenzy.kit.outbound_http import OutboundHttp
from licenzy.runtime import Runtime


@pytest.fixture
def sender(runtime: Runtime) -> Iterator[Sender]:
    """Delivers on the test's clock; receivers on this machine are allowed."""
    made = Sender(
        runtime.database,
        runtime.secret_box,
        OutboundHttp(private_allowed=True, deadline=2.0),
        clock=runtime.clock,
    )
    with closing(made):
        yield made
