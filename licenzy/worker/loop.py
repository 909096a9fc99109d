"""The worker's loop: each job in turns, failures told and survived."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from licenzy.deliveries.sending import Sender
from licenzy.kit.outbound_http import OutboundHttp
from licenzy.reconciliation.actions import claim_due, reconcile
from licenzy.runtime import Runtime
from licenzy.stripe_events.actions import apply_due_event
from licenzy.stripe_events.reading import settle_next

IDLE_SECONDS = 1.0
_MOST_IN_A_ROW = 100
_log = logging.getLogger("licenzy.worker")


def run_worker(parts: Runtime, *, stop: threading.Event) -> None:
    """Work until `stop` is set; waits a second between rounds that found nothing to do.

    Deliveries go out beside the jobs, which may wait for Stripe. Returns when what was under way has ended.
    """
    sender = threading.Thread(target=make_sender(parts).run, args=(stop,), name="sender")
    sender.start()
    try:
        while not stop.is_set():
            if not work_once(parts):
                stop.wait(IDLE_SECONDS)
    finally:
        stop.set()
        sender.join()


def make_sender(parts: Runtime) -> Sender:
    """What delivers webhooks out, under the installation's rules for addresses."""
    http = OutboundHttp(private_allowed=parts.settings.allow_private_webhooks)
    return Sender(parts.database, parts.seal, http, clock=parts.clock)


def work_once(parts: Runtime) -> int:
    """One round of every job; how much was done. A job that fails is logged and does not stop the rest."""
    done = 0
    for name, job in _JOBS:
        try:
            done += job(parts)
        except Exception:
            _log.exception("the job %s failed and will be tried again", name)
            time.sleep(0.2)
    return done


def _apply_due_events(parts: Runtime) -> int:
    """Events that were kept but could not be applied, each in a transaction of its own."""
    for count in range(_MOST_IN_A_ROW):
        if parts.database.retrying(lambda db: apply_due_event(db, now=parts.clock())) is None:
            return count
    return _MOST_IN_A_ROW


def _settle(parts: Runtime) -> int:
    """Objects that events touched, read once more from Stripe."""
    for count in range(_MOST_IN_A_ROW):
        if not settle_next(parts.database, parts.gateway, parts.seal, clock=parts.clock):
            return count
    return _MOST_IN_A_ROW


def _reconcile(parts: Runtime) -> int:
    """The hourly light walk of one account: its events since the last one."""
    connection = parts.database.retrying(lambda db: claim_due(db, now=parts.clock()))
    if connection is None:
        return 0
    report = reconcile(
        parts.database,
        parts.gateway,
        parts.seal,
        connection=connection,
        clock=parts.clock,
        full=False,
    )
    if report.healed:
        _log.warning("reconciliation of %s healed %d", connection.id, report.healed)
    return 1


_JOBS: tuple[tuple[str, Callable[[Runtime], int]], ...] = (
    ("apply due events", _apply_due_events),
    ("settle", _settle),
    ("reconcile", _reconcile),
)
