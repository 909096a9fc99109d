"""`GET /metrics`: the installation's numbers for Prometheus, for who has the token.

All of them are read from the database when they are asked for, so that every process of every machine tells
the same. Counters of a process would not: each scrape meets another one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.setup.backlog import Backlog, backlog

if TYPE_CHECKING:
    from prometheus_client import Metric

_PLAIN = "text/plain; charset=utf-8"
_REFUSED = b"A token is needed.\n"


def metrics(request: ApiRequest, *, token: str) -> Reply:
    """Everything in Prometheus' text format; the same 401 for everybody without `token`."""
    if not _knows(request.incoming.header("authorization") or "", token):
        return _plain(401, _REFUSED, _PLAIN, ("WWW-Authenticate", "Bearer"))
    # Imported here, since a process that is never asked should not carry it.
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    parts = request.runtime
    with parts.database.read() as db:
        backlog_now = backlog(db, parts.secret_box, base_url=parts.settings.base_url, now=parts.clock())
    return _plain(200, generate_latest(_BacklogCollector(backlog_now)), CONTENT_TYPE_LATEST)


def _knows(header: str, token: str) -> bool:
    scheme, _, sent = header.partition(" ")
    known = compare_digest(sent.strip(" ").encode("latin-1", "replace"), token.encode())
    return known and scheme.lower() == "bearer"


def _plain(status: int, body: bytes, kind: str, *more: tuple[str, str]) -> Reply:
    length = ("Content-Length", str(len(body)))
    return Reply(status, [("Content-Type", kind), length, ("Cache-Control", "no-store"), *more], body)


class _BacklogCollector:
    """What the exposition asks a registry for."""

    def __init__(self, backlog_now: Backlog) -> None:
        self._backlog = backlog_now

    def collect(self) -> Iterable[Metric]:
        backlog_now = self._backlog
        yield _gauge("stripe_events", "Events received from Stripe.", ["status"], backlog_now.events)
        yield _gauge(
            "stripe_events_parked",
            "Events that failed permanently, after eight attempts.",
            [],
            {(): backlog_now.parked},
        )
        yield _gauge(
            "deliveries", "Webhook deliveries that were not sent.", ["status"], backlog_now.deliveries
        )
        yield _gauge(
            "settling_reads_due",
            "Stripe objects that are due to be read.",
            [],
            {(): backlog_now.settling_due},
        )
        yield _gauge(
            "oldest_due_job_seconds",
            "How long the oldest due job of the worker has waited.",
            ["job"],
            backlog_now.overdue_seconds,
        )
        yield _gauge(
            "findings",
            "Findings, by project ID.",
            ["project", "mode", "severity"],
            backlog_now.findings,
        )


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"licenzy_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in (key if isinstance(key, tuple) else (key,))], value)
    return family
