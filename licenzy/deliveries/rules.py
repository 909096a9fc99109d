"""Pure rules of webhooks out: addresses, bodies, the schedule of tries, what an answer means."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from licenzy.alignment.modes import Mode
from licenzy.deliveries.models import EventType, Source
from licenzy.kit.addresses import may_be_reached
from licenzy.kit.backoff import Random, Schedule
from licenzy.kit.clock import rfc3339
from licenzy.kit.names import name_problem
from licenzy.projects.scope import Scope

MAX_URL = 2048
MAX_DESCRIPTION = 200
SECRET_PREFIX = "whsec_"
SECRET_BYTES_MIN, SECRET_BYTES_MAX = 24, 64
"""How long the key of Standard Webhooks may be."""

DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""After each failed try the wait before the next one: ten tries within about three days."""

_SCHEDULE = Schedule(delays=DELAYS, jitter=(0.9, 1.1))

DISABLED_AFTER = timedelta(hours=120)
"""Only failures for this long, and the endpoint is disabled."""

GONE = 410
_LONGEST_RETRY_AFTER = timedelta(hours=24)
_ALLOW_PRIVATE = (
    "Use a public address, or start Licenzy with LICENZY_ALLOW_PRIVATE_WEBHOOKS=on to allow private ones. "
    "The guide on webhooks has the details"
)
_NO_HOST = "must have a host, such as example.com"
_UNSAFE = re.compile(r"[^\x21-\x7e]|\\")
_HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_](?:[a-z0-9_-]{0,62}))*")
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)")
# Ports that a web server is never on, where a POST could speak to something else. Source: the Fetch
# standard's list of bad ports.
_BAD_PORTS = frozenset(
    {0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103}
    | {104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513}
    | {514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720}
    | {1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697}
    | {10080, 11211}
)


@dataclass(frozen=True, slots=True)
class Data:
    """The body's `data`; none where a field does not apply."""

    entitlement_id: str | None = None
    product_code: str | None = None
    kind: str | None = None
    status: str | None = None
    available: bool | None = None
    usage_remaining: int | None = None
    unit: str | None = None
    units: int | None = None
    valid_until: str | None = None
    canceled_at: str | None = None
    attempt_id: str | None = None
    amount_total: int | None = None
    currency: str | None = None
    stripe_checkout_session_id: str | None = None
    stripe_subscription_id: str | None = None
    stripe_event_id: str | None = None
    actor_user_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventDraft:
    """Something that endpoints may want to be told: what, why, and about whom."""

    type: EventType
    source: Source
    reason: str
    subject_id: str | None
    data: Data


def body(
    scope: Scope, event: EventDraft, *, event_id: str, subject_ref: str | None, now: datetime
) -> dict[str, Any]:
    """The body that every endpoint gets."""
    return {
        "id": event_id,
        "type": event.type.value,
        "created_at": rfc3339(now),
        "mode": scope.mode.value,
        "project_id": scope.project_id,
        "source": event.source.value,
        "reason": event.reason,
        "subject_ref": subject_ref,
        "data": asdict(event.data),
    }


def endpoint_problems(
    url: str, types: Sequence[str], description: str, *, mode: Mode, private_allowed: bool
) -> dict[str, str]:
    """What is wrong with an endpoint as somebody describes it, by field; empty when it may be saved."""
    wrong: dict[str, str] = {}
    problem = url_problem(url, mode=mode, private_allowed=private_allowed)
    if problem is not None:
        wrong["url"] = problem
    unknown = unknown_types(types)
    if not types or unknown:
        wrong["types"] = f"no such event type: {', '.join(unknown)}" if unknown else "choose at least one"
    unclear = name_problem(description, most=MAX_DESCRIPTION, required=False)
    if unclear is not None:
        wrong["description"] = unclear
    return wrong


def secret_problem(secret: str) -> str | None:
    """What is wrong with a secret that somebody brings; None when deliveries may be signed with it."""
    encoded = secret.removeprefix(SECRET_PREFIX)
    try:
        length = len(b64decode(encoded, validate=True))
    except ValueError:
        length = 0
    if encoded == secret or not SECRET_BYTES_MIN <= length <= SECRET_BYTES_MAX:
        return (
            f"must be {SECRET_PREFIX} and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes in base64, "
            "as Standard Webhooks has it"
        )
    return None


def url_problem(url: str, *, mode: Mode, private_allowed: bool) -> str | None:
    """What is wrong with an endpoint's address, as a sentence; None when it may be saved.

    The name is not looked up here: the address that it leads to is checked whenever something is sent.
    """
    if len(url) > MAX_URL:
        return f"must have at most {MAX_URL} characters"
    if _UNSAFE.search(url):
        return (
            "must be plain ASCII without spaces or backslashes (write other letters of the host in their "
            "xn-- form, and those after the host percent-encoded)"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in {"https", "http"} or not url.lower().startswith(f"{parts.scheme}://"):
        return "must begin with https://"
    if parts.scheme == "http" and mode is Mode.LIVE:
        return "must begin with https:// in live mode"
    if "@" in parts.netloc:
        return "must not contain a user name or password"
    if parts.fragment or url.endswith("#"):
        return "must not have a fragment (#…)"
    if parts.netloc.endswith(":"):
        return "must have a port after the colon, or no colon"
    if port in _BAD_PORTS:
        return "must not use a port that is reserved for another protocol"
    host = parts.hostname or ""
    if "[" in parts.netloc and ":" not in host:
        return _NO_HOST  # Brackets are for IPv6 addresses; what else they may hold one day is no name.
    return _host_problem(host, private_allowed=private_allowed)


def _host_problem(host: str, *, private_allowed: bool) -> str | None:
    try:
        address = ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or _ENDS_IN_NUMBER.fullmatch(host):
            return _NO_HOST
        if not private_allowed and (host == "localhost" or host.endswith(".localhost")):
            return f"leads to this machine, which is not allowed. {_ALLOW_PRIVATE}"
        return None
    if may_be_reached(address, private_allowed=private_allowed):
        return None
    if private_allowed:
        return "is link-local or reserved, which is never allowed. Use another address"
    return f"is a private, local or reserved address, which is not allowed. {_ALLOW_PRIVATE}"


def unknown_types(types: Sequence[str]) -> list[str]:
    """Those among the names that are no event type."""
    return [name for name in types if name not in set(EventType)]


def is_success(status: int) -> bool:
    """Whether a receiver has taken the event: 2xx and nothing else; redirects are failures."""
    return 200 <= status < 300


def next_try(
    *, tries: int, now: datetime, random: Random, retry_after: timedelta | None = None
) -> datetime | None:
    """When to try again after `tries` failed ones; None when that was the last.

    What the receiver `retry_after` for puts the next try off.
    """
    delay = _SCHEDULE.delay(tries, random)
    return None if delay is None else now + max(delay, retry_after or timedelta(0))


def retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long the receiver asks to be left alone, at most a day; None when it does not say."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), int(_LONGEST_RETRY_AFTER.total_seconds())))
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max(until - now, timedelta(0)), _LONGEST_RETRY_AFTER)
