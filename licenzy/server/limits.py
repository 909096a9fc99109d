"""How large a body may be, how long it may take, and where its request waits: one table, by route. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from licenzy.errors import PayloadTooLarge
from licenzy.kit import uploads
from licenzy.kit.deadline import CALL_SECONDS

_KIB, _MIB = 1024, 1024 * 1024

MOST_BYTES = 64 * _MIB
"""What the bodies of one process may hold together, from their announcement until they are answered."""
MOST_IGNORED_BYTES = 1 * _MIB
IGNORED_SECONDS = 1.0
"""How much of a body that was refused is still taken from its sender, and for how long."""
SLOW_SECONDS = 1.0
"""A body that is not whole after so long counts as slow."""
MOST_SLOW_BODIES = 64
"""How many slow bodies one address may have in a process."""
MOST_ANSWER_BYTES = 8 * _MIB
"""A larger answer goes through a file."""
IDLE_SECONDS = 75.0
"""How long a connection may take for the head of a request, be idle, and read nothing of its answer: longer
than proxies keep one."""


class Queue(Enum):
    """What waits for threads together."""

    WEBHOOKS = "webhooks"
    STRIPE = "calls that may wait for Stripe"
    API = "other calls of the API"
    PAGES = "pages"


@dataclass(frozen=True, slots=True)
class Route:
    """What holds for all paths that begin alike, and end alike."""

    prefix: str
    most_bytes: int
    seconds: float
    """How long the body may take to arrive."""
    queue: Queue
    waits_seconds: float = CALL_SECONDS
    """How long a request may wait for a thread before it is refused."""
    ends: str = ""
    """What the path ends with as well."""
    too_large: str | None = None
    """What people are told of a larger body."""


ROUTES = (
    Route("/v1/webhooks/", _MIB, 15.0, Queue.WEBHOOKS, waits_seconds=8.0),
    Route("/v1/checkout/session", 64 * _KIB, 10.0, Queue.STRIPE),
    Route("/v1/billing/portal-session", 64 * _KIB, 10.0, Queue.STRIPE),
    Route("/v1/", 64 * _KIB, 10.0, Queue.API),
    Route("/readyz", 64 * _KIB, 10.0, Queue.API),
    Route(
        uploads.PREFIX,
        uploads.MOST_BYTES,
        60.0,
        Queue.PAGES,
        ends=uploads.SUFFIX,
        too_large=uploads.TOO_LARGE,
    ),
    Route("/", 64 * _KIB, 10.0, Queue.PAGES),
)
"""The first that fits counts."""


def route_of(path: str) -> Route:
    """The row of a path; what begins like none of them is a page."""
    return next(
        (route for route in ROUTES if path.startswith(route.prefix) and path.endswith(route.ends)), ROUTES[-1]
    )


def declared_length(length: str | None, *, is_chunked: bool, route: Route) -> int:
    """How long the body will be, from its Content-Length.

    Raises PayloadTooLarge over the limit, and for a body without a usable length.
    """
    if not length:
        if is_chunked:
            raise PayloadTooLarge("The body must be sent with a Content-Length.")
        return 0
    if not (length.isascii() and length.isdigit()):
        raise PayloadTooLarge("The body must be sent with a Content-Length.")
    if len(length) > 12 or int(length) > route.most_bytes:
        raise PayloadTooLarge(to_people=route.too_large)
    return int(length)
