"""The way to Stripe: one deadline over all the tries of a call, and each request in its turn."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import requests
import stripe

from licenzy.stripe_gateway.pace import Pace
from licenzy.stripe_gateway.translate import StripeAnswerUnreadable, translate
from licenzy.stripe_gateway.values import Unreadable

# The library would otherwise write an id into the home folder and send timings along.
stripe.enable_telemetry = False

DEADLINE_SECONDS = 12.0
_CONNECT_SECONDS = 2.0
_READ_SECONDS = 10.0
_RETRIES = 2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StripeAccess:
    """A secret or restricted key and the address it is good at; no base means Stripe itself."""

    api_key: str = field(repr=False)
    base: str | None = None
    pace: Pace | None = field(default=None, repr=False, compare=False)
    """The bound that its calls keep; those that somebody waits for have none."""


class DeadlineSession(requests.Session):
    """Gives every try only what is left of the call's deadline."""

    def __init__(self, *, direct: bool) -> None:
        super().__init__()
        # The environment's proxies are for the way to Stripe, not to a sandbox on this machine.
        self.trust_env = not direct
        # Without an `auth` of its own, a netrc entry would replace the header that holds the key.
        self.auth = _keep_headers

    def request(self, *args: Any, **kwargs: Any) -> requests.Response:
        _wait_for_turn()
        left = seconds_left()
        if left <= 0:
            raise requests.Timeout("the call's deadline has passed")
        kwargs["timeout"] = (min(_CONNECT_SECONDS, left), min(_READ_SECONDS, left))
        try:
            return super().request(*args, **kwargs)
        except requests.exceptions.ChunkedEncodingError as broken:
            # An answer that broke off; the library tries again only for a connection that did.
            raise requests.ConnectionError("the answer is incomplete") from broken


class StripeHttp(stripe.RequestsClient):
    """Hands the library only such errors as it can read: it breaks on one that is text, a list or null."""

    def request_with_retries(self, *args: Any, **kwargs: Any) -> Any:
        body, status, headers = super().request_with_retries(*args, **kwargs)
        if 200 <= status < 300:
            return body, status, headers
        error = _error_in(body)
        if error is None:
            raise stripe.APIError(http_status=status, headers=headers)  # type: ignore[arg-type]
        return json.dumps({"error": error}), status, headers


def _error_in(body: str | bytes) -> dict[str, str | None] | None:
    """What Stripe says of its error, as far as anybody here reads it; none when it is not Stripe's."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return None
    details = {name: error.get(name) for name in ("type", "code", "message", "param")}
    return details if all(value is None or isinstance(value, str) for value in details.values()) else None


_clock = threading.local()


@contextmanager
def deadline(pace: Pace | None = None) -> Iterator[None]:
    """Bounds what this thread sends until the block ends; its first request has had its turn already."""
    _clock.ends_at, _clock.pace, _clock.sent = time.monotonic() + DEADLINE_SECONDS, pace, 0
    try:
        yield
    finally:
        del _clock.ends_at, _clock.pace, _clock.sent


def seconds_left() -> float:
    """What is left of the deadline of this thread's call."""
    return getattr(_clock, "ends_at", time.monotonic() + DEADLINE_SECONDS) - time.monotonic()


def _wait_for_turn() -> None:
    """A call may take several requests: each of them has its turn, which the deadline does not count."""
    pace: Pace | None = getattr(_clock, "pace", None)
    if pace is None:
        return
    if _clock.sent:
        began = time.monotonic()
        pace.wait()
        _clock.ends_at += time.monotonic() - began
    _clock.sent += 1


def call_stripe(access: StripeAccess, call: Callable[[stripe.StripeClient], T]) -> T:
    """What the library answers, or its error in our words; so is an answer that cannot be read."""
    try:
        return call(client_of(access))
    except stripe.StripeError as error:
        raise translate(error) from error
    except Unreadable as problem:
        raise StripeAnswerUnreadable(f"Stripe's answer cannot be read: {problem}.") from problem


@lru_cache(maxsize=64)
def client_of(access: StripeAccess) -> stripe.StripeClient:
    """The library's client for a key and address; it keeps no state of a call."""
    return stripe.StripeClient(
        access.api_key,
        base_addresses={"api": access.base} if access.base else None,
        max_network_retries=_RETRIES,
        http_client=http_client((access.base or "").startswith("http://")),
    )


@lru_cache(maxsize=2)
def http_client(direct: bool) -> StripeHttp:
    """One pool of connections for the process; the library keeps no state of an account in it."""
    return StripeHttp(session=DeadlineSession(direct=direct))


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
