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
            "Nothing has come. Stripe cannot reach this machine by itself, and `stripe listen` is probably "
            "not running, or was started for another address.",
            "Start it again and leave it running. The secret it prints must be the one saved here.",
        )
    return Cause(
        "nothing_happened_at_stripe",
        "Nothing has come, and probably nothing has happened at Stripe yet that it could tell of.",
        "Go on: your first purchase sends the first event. This step then proves itself.",
    )
