"""Why no signed event has arrived while somebody waits for the first one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from licenzy.alignment.facts import ConnectionFacts
from licenzy.alignment.findings import Finding, Severity
from licenzy.setup.journey import PATIENCE, Cause
from licenzy.setup.rules import StepName, findings_of


def silence(
    connection: ConnectionFacts | None, found: Sequence[Finding], *, waiting_since: datetime, now: datetime
) -> Cause | None:
    """What most likely keeps the first event away.

    What alignment found about the secret or the endpoint is certain and said at once; what is only likely,
    after `PATIENCE`.
    """
    if connection is None or connection.secret_saved_at is None or connection.proven:
        return None
    if connection.fetch is not None:
        return None  # Nothing waits for a delivery.
    certain = [
        finding
        for finding in findings_of(StepName.WEBHOOK, found)
        if finding.severity is not Severity.NOTES  # That nothing has arrived yet is one of the notes.
    ]
    if certain:
        return Cause(certain[0].code, certain[0].cause, certain[0].fix)
    if now - waiting_since < PATIENCE:
        return None
    return _likely(connection)


def _likely(connection: ConnectionFacts) -> Cause:
    if not connection.reachable:
        return Cause(
            "stripe_listen_not_running",
            "No event has arrived. Stripe cannot reach this machine directly, and `stripe listen` is "
            "probably not running, or it forwards to another address.",
            "Start it again and keep it running. The secret that it prints must be the one saved here.",
        )
    return Cause(
        "nothing_happened_at_stripe",
        "No event has arrived, probably because nothing has happened in Stripe yet.",
        "Continue: your first purchase sends an event, which completes this step.",
    )
