"""The worker's loop: each job in turns, failures told and survived."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from licenzy.alerts.actions import AlertWatch, check_next
from licenzy.archiving.removal import remove_next
from licenzy.deliveries.sending import Sender
from licenzy.entitlements.holder_batches import change_next
from licenzy.errors import DatabaseUnavailable
from licenzy.forgetting.actions import go_on_erasing
from licenzy.idempotency.actions import forget_old
from licenzy.imports.progress import Importer, claim_due_import, go_on
from licenzy.kit.outbound_http import OutboundHttp
from licenzy.kit.repeats import Repeats
from licenzy.lab.actions import Lab, follow_clocks
from licenzy.mail.actions import forget_old_mail
from licenzy.mail.sending import MailSender, send_next
from licenzy.observations.actions import forget_old_sightings
from licenzy.reconciliation.actions import claim_due, reconcile
from licenzy.reconciliation.polling import poll_next
from licenzy.runtime import Runtime
from licenzy.setup.stripe_probe import claim_due_probe, probe_stripe
from licenzy.stripe_events.mapped_prices import search_next
from licenzy.stripe_events.receive import apply_due_event
from licenzy.stripe_events.snapshots import settle_next
from licenzy.usage.actions import return_next_expired

IDLE_SECONDS = 1.0
STOP_SECONDS = 7.5
"""What is not done by then is left: all of it is safe to be cut off and done again."""
_MOST_IN_A_ROW = 20
_log = logging.getLogger("licenzy.worker")
_failures = Repeats(60.0)


class Stop(Protocol):
    """What tells the worker to stop: a StopSignal in the main thread, a `threading.Event` in others."""

    def wait(self) -> bool:
        """Wait; whether it is time to stop."""


def run_worker(parts: Runtime, *, stop: Stop) -> None:
    """Work until told to stop, each job in a thread of its own: a long walk delays no delivery.

    Returns when what was under way has ended, or after STOP_SECONDS.
    """
    ending = threading.Event()
    sender = threading.Thread(target=make_sender(parts).run, args=(ending,), name="sender", daemon=True)
    threads = [sender]
    threads += [
        threading.Thread(target=_repeat, args=(parts, name, ending), name=name, daemon=True) for name in JOBS
    ]
    for thread in threads:
        thread.start()
    while not stop.wait():
        pass
    ending.set()
    ends_at = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, ends_at - time.monotonic()))


def make_sender(parts: Runtime) -> Sender:
    """What delivers webhooks out, under the installation's rules for addresses."""
    http = OutboundHttp(private_allowed=parts.settings.allow_private_webhooks)
    return Sender(parts.database, parts.secret_box, http, clock=parts.clock)


def _repeat(parts: Runtime, name: str, stop: threading.Event) -> None:
    """One job until `stop` is set; waits a second after a round that found nothing to do."""
    while not stop.is_set():
        if not run_job(parts, name):
            stop.wait(IDLE_SECONDS)


def run_job(parts: Runtime, name: str) -> int:
    """One round of a job. One that fails is logged, and tried again in the next round."""
    try:
        return JOBS[name](parts)
    except DatabaseUnavailable:
        return 0  # The database has been logged for it; each job would say so again every second.
    except Exception as error:
        if times := _failures.due(f"{name}: {type(error).__name__}"):
            _log.exception("the job %s failed and will be retried (%d times)", name, times)
        return 0


def _apply_due_events(parts: Runtime) -> int:
    """Events that were kept but could not be applied, each in a transaction of its own."""
    for count in range(_MOST_IN_A_ROW):
        if parts.database.retrying(lambda db: apply_due_event(db, now=parts.clock())) is None:
            return count
    return _MOST_IN_A_ROW


def _settle(parts: Runtime) -> int:
    """Objects that events touched, read once more from Stripe."""
    for count in range(_MOST_IN_A_ROW):
        if not settle_next(parts.database, parts.gateway, parts.secret_box, clock=parts.clock):
            return count
    return _MOST_IN_A_ROW


def _reconcile(parts: Runtime) -> int:
    """The hourly light walk of one account, or the whole one that was asked for."""
    due = parts.database.retrying(lambda db: claim_due(db, now=parts.clock()))
    if due is None:
        return 0
    report = reconcile(
        parts.database,
        parts.gateway,
        parts.secret_box,
        connection=due.connection,
        clock=parts.clock,
        full=due.full,
    )
    if report.repaired:
        _log.warning("reconciliation of %s repaired %d", due.connection.id, report.repaired)
    return 1


def _poll_events(parts: Runtime) -> int:
    """Events of one account that Stripe cannot deliver to this machine."""
    base_url = parts.settings.base_url
    return int(
        poll_next(parts.database, parts.gateway, parts.secret_box, base_url=base_url, clock=parts.clock)
    )


def _return_expired_units(parts: Runtime) -> int:
    """Units of reservations whose time is up, one subject after the other."""
    for count in range(_MOST_IN_A_ROW):
        if not parts.database.retrying(lambda db: return_next_expired(db, now=parts.clock())):
            return count
    return _MOST_IN_A_ROW


def _probe_stripe(parts: Runtime) -> int:
    """What alignment wants to know of one account: after something was saved, and hourly."""
    with parts.database.write() as db:
        connection = claim_due_probe(db, now=parts.clock())
    if connection is None:
        return 0
    problem = probe_stripe(
        parts.database, parts.gateway, parts.secret_box, connection=connection, clock=parts.clock
    )
    with parts.database.write() as db:
        forget_old_sightings(db, now=parts.clock())
    return int(problem is None)


def _forget_old_keys(parts: Runtime) -> int:
    """Idempotency-Keys of checkouts long past."""
    return parts.database.retrying(lambda db: forget_old(db, now=parts.clock()))


def _forget_old_mail(parts: Runtime) -> int:
    """Mail that was written weeks ago."""
    return forget_old_mail(parts.database, now=parts.clock())


def _search_subscriptions(parts: Runtime) -> int:
    """Subscriptions that hold a price that became a product's, in batches."""
    for count in range(_MOST_IN_A_ROW):
        if not parts.database.retrying(lambda db: search_next(db, now=parts.clock())):
            return count
    return _MOST_IN_A_ROW


def _change_terms(parts: Runtime) -> int:
    """Versions of terms that are given to holders, in batches."""
    for count in range(_MOST_IN_A_ROW):
        if not parts.database.retrying(lambda db: change_next(db, now=parts.clock())):
            return count
    return _MOST_IN_A_ROW


def _import(parts: Runtime) -> int:
    """Imports that need nobody now: a page read, or a batch matched or written, at a time."""
    importer = Importer(parts.database, parts.gateway, parts.secret_box, parts.clock, random.random)
    for count in range(_MOST_IN_A_ROW):
        claimed = claim_due_import(importer)
        if claimed is None:
            return count
        go_on(importer, claimed)
    return _MOST_IN_A_ROW


def _send_mail(parts: Runtime) -> int:
    """Mail that is due, where a mail server is set."""
    settings = parts.settings
    if settings.smtp is None:
        return 0
    sender = MailSender(
        parts.database, parts.secret_box, settings.smtp, settings.mail_from, settings.base_host, parts.clock
    )
    for count in range(_MOST_IN_A_ROW):
        if not send_next(sender):
            return count
    return _MOST_IN_A_ROW


def _erase(parts: Runtime) -> int:
    """Customers whose erasure has begun: what is stored of them, in batches."""
    return int(go_on_erasing(parts.database, parts.gateway, parts.secret_box, clock=parts.clock))


def _follow_clocks(parts: Runtime) -> int:
    """Steps of the lab that move a sandbox's clock, also when nobody has the page open."""
    follow_clocks(Lab(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings))
    return 0  # Once a second is often enough.


def _send_alerts(parts: Runtime) -> int:
    """What blocks live mode, for who wants to be mailed; each side once in a few minutes."""
    watch = AlertWatch(parts.database, parts.secret_box, parts.settings.base_url, parts.clock)
    for count in range(_MOST_IN_A_ROW):
        if not check_next(watch):
            return count
    return _MOST_IN_A_ROW


def _remove_deleted_projects(parts: Runtime) -> int:
    """Rows of projects that were deleted, a few at a time."""
    for count in range(_MOST_IN_A_ROW):
        if not remove_next(parts.database):
            return count
    return _MOST_IN_A_ROW


JOBS: dict[str, Callable[[Runtime], int]] = {
    "apply due events": _apply_due_events,
    "settle": _settle,
    "return expired units": _return_expired_units,
    "forget old keys": _forget_old_keys,
    "reconcile": _reconcile,
    "fetch events": _poll_events,
    "check with Stripe": _probe_stripe,
    "search for newly mapped prices": _search_subscriptions,
    "change terms of holders": _change_terms,
    "import purchases": _import,
    "send mail": _send_mail,
    "forget old mail": _forget_old_mail,
    "erase customers": _erase,
    "follow clocks of the lab": _follow_clocks,
    "mail what blocks live mode": _send_alerts,
    "remove deleted projects": _remove_deleted_projects,
}
