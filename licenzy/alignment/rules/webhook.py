"""Rules about how Stripe's events come: the signing secret, and the endpoint registered at Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from licenzy.alignment.facts import FETCH_IS_FRESH, ConnectionFacts, EndpointSeen, FetchFacts, SightingFacts
from licenzy.alignment.findings import CONNECTION, FindingDraft, ObjectRef, Part, RuleContext, Severity, rule
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules.connection import connected, named

_BLOCKS, _WARNS, _NOTES = Severity
_STALE_PROOF = timedelta(seconds=15)
"""How much older than the last good event its remembered time may be, see `stripe_events.receive`."""


@rule("webhook_secret_missing", "Webhook secret missing", _BLOCKS, Part.SECRET)
def webhook_secret_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.secret_saved_at is None and connection.fetch is None:
        yield FindingDraft(
            about=(named(connection),),
            evidence="A Stripe key is saved without a webhook signing secret.",
            cause="Licenzy cannot verify Stripe's events without it: buyers would pay and get no access.",
            fix="Set up the webhook, or save the signing secret of its endpoint.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("webhook_never_proven", "Webhook secret not verified yet", _NOTES, Part.SECRET)
def webhook_never_proven(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.secret_saved_at is not None and not connection.proven:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"No event has been verified with {connection.secret_masked} yet.",
            cause="The first signed event verifies the secret, and none has arrived since it was saved.",
            fix="Make a test purchase: Stripe sends an event for it."
            if context.here.mode is Mode.TEST
            else "The first live purchase sends an event.",
            page=CONNECTION,
            at=connection.secret_saved_at,
        )


@rule("events_not_fetched", "Stripe events not fetched", _WARNS, Part.ENDPOINT)
def events_not_fetched(context: RuleContext) -> Iterator[FindingDraft]:
    """Blocks what nothing but fetching could record: a key that may never list events, and no webhook."""
    connection = connected(context)
    if connection is None or connection.fetch is None:
        return
    fetch = connection.fetch
    found = _why_not_fetched(fetch, context.now)
    if found is None:
        return
    evidence, cause, fix = found
    yield FindingDraft(
        about=(named(connection),),
        evidence=evidence,
        cause=cause,
        fix=fix,
        page=CONNECTION,
        at=fetch.fetched_at or connection.key_saved_at,
        severity=_BLOCKS if fetch.permission is not None and not connection.proven else _WARNS,
    )


def _why_not_fetched(fetch: FetchFacts, now: datetime) -> tuple[str, str, str] | None:
    """What was seen, the cause and the fix; None while events are fetched, or will be in a moment."""
    if fetch.permission is not None:
        return (
            fetch.problem or "",
            "Stripe cannot reach this machine, so Licenzy fetches events. The restricted key lacks "
            f"{fetch.permission}, and payments cannot be recorded.",
            "In Stripe, allow the key to read events. It does not have to be saved again. Or forward events "
            "with the Stripe CLI.",
        )
    is_fresh = fetch.fetched_at is not None and now - fetch.fetched_at <= FETCH_IS_FRESH
    if fetch.problem is not None:
        cause = "Stripe could not be asked for events. Licenzy tries again automatically."
        return None if is_fresh else (fetch.problem, cause, "Check the connection to Stripe and the key.")
    if is_fresh or fetch.next_at is None or now - fetch.next_at <= FETCH_IS_FRESH:
        return None
    return (
        "No events have been fetched for minutes.",
        "The worker fetches events, and it does not seem to run.",
        "Start it with `licenzy serve` or `licenzy worker`.",
    )


@rule("webhook_secret_shared", "Same webhook secret in both modes", _BLOCKS, Part.SECRET, compares=True)
def webhook_secret_shared(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    if context.here.mode is Mode.LIVE and connection is not None and connection.shares_secret:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{connection.secret_masked} is saved in test mode and in live mode.",
            cause="Every endpoint in Stripe has its own secret, so one of the two is wrong.",
            fix="In each mode, save the secret of the endpoint that was created in that mode in Stripe.",
            page=CONNECTION,
            at=connection.secret_saved_at,
        )


@rule(
    "webhook_secret_of_other_mode",
    "Webhook secret from the other mode",
    _BLOCKS,
    Part.SECRET,
    resolvable=True,
)
def webhook_secret_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    for seen in _unresolved_failures(context, "other_mode"):
        assert connection is not None
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{_times(seen)} refused: signed with the {context.other.mode} mode secret.",
            cause=f"The {context.other.mode} mode endpoint sends to the {context.here.mode} mode address, or "
            "the two secrets were swapped.",
            fix=f"In Stripe, in {context.here.mode} mode, copy the secret of the endpoint with this address.",
            page=CONNECTION,
            at=seen.last_at,
        )


@rule(
    "webhook_signature_failed", "Webhook signature verification failed", _WARNS, Part.SECRET, resolvable=True
)
def webhook_signature_failed(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    for seen in _unresolved_failures(context, "previous", "stripe_key", "unknown"):
        assert connection is not None
        cause, fix = _DIAGNOSED[seen.about]
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{_times(seen)} refused since the last verified event.",
            cause=cause,
            fix=fix,
            page=CONNECTION,
            at=seen.last_at,
        )


_DIAGNOSED = {
    "previous": (
        "The events are signed with the previous secret, which has expired.",
        "In Stripe, remove the old endpoint, or expire the old secret so that the new one signs.",
    ),
    "stripe_key": (
        "The saved signing secret is a Stripe key. Stripe never signs events with a key.",
        "Save the endpoint's signing secret, which begins with whsec_.",
    ),
    "unknown": (
        "The saved secret belongs to another endpoint, or a proxy changes the body of the request.",
        "Copy the signing secret of exactly this endpoint from Stripe, or replace it with a new one.",
    ),
}


@rule(
    "webhook_signature_ambiguous",
    "Webhook secret used by several connections",
    _WARNS,
    Part.SECRET,
    resolvable=True,
)
def webhook_signature_ambiguous(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    for seen in context.here.traffic.ambiguous_signatures:
        if connection is None or _saved_since(connection, seen):
            continue
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{_times(seen)} refused at the shared webhook address.",
            cause="Another connection of this installation has the same signing secret, so the event could "
            "belong to either.",
            fix="In Stripe, register this connection's own address. It gets its own secret.",
            page=CONNECTION,
            at=seen.last_at,
        )


@rule("endpoint_missing", "Webhook endpoint missing in Stripe", _WARNS, Part.ENDPOINT)
def endpoint_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.endpoints is None or not connection.reachable:
        return
    if connection.secret_saved_at is not None and not connection.endpoints.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence="None of the account's webhook endpoints has this connection's address.",
            cause="Stripe sends no events here, so payments and cancellations are missed.",
            fix="Replace the signing secret on the Stripe connection page: this creates the endpoint.",
            page=CONNECTION,
            at=connection.endpoints.at,
        )


@rule("endpoint_disabled", "Webhook endpoint disabled in Stripe", _BLOCKS, Part.ENDPOINT)
def endpoint_disabled(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        if not endpoint.enabled:
            yield _of_endpoint(
                connection,
                endpoint,
                "Stripe lists it as disabled.",
                "No events arrive. Stripe disables an endpoint after days of failures.",
                "Enable it in the Stripe Dashboard, or repair it on the Stripe connection page.",
            )


@rule("endpoint_lacks_events", "Webhook endpoint event types missing", _WARNS, Part.ENDPOINT)
def endpoint_lacks_events(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        lacking = sorted(connection.wanted_events - endpoint.events)
        if lacking and "*" not in endpoint.events:
            named = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
            yield _of_endpoint(
                connection,
                endpoint,
                f"It does not send {named}.",
                "These events change who has access, and Licenzy does not receive them.",
                "Add them to the endpoint in Stripe, or repair it on the Stripe connection page.",
            )


@rule("endpoint_version_differs", "Webhook endpoint API version mismatch", _WARNS, Part.ENDPOINT)
def endpoint_version_differs(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        if endpoint.api_version != connection.wanted_version:
            yield _of_endpoint(
                connection,
                endpoint,
                f"It sends {endpoint.api_version or 'the account’s default version'}. Licenzy expects "
                f"{connection.wanted_version}.",
                "Payloads differ between versions. An endpoint keeps the version it was created with.",
                "Repair it on the Stripe connection page: it is replaced by one with the right version.",
            )


@rule("endpoint_twice", "Duplicate webhook endpoints", _WARNS, Part.ENDPOINT)
def endpoint_twice(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.endpoints is None or len(connection.endpoints.value) < 2:
        return
    ids = [endpoint.id for endpoint in connection.endpoints.value]
    hosts = sorted({urlsplit(endpoint.url).netloc for endpoint in connection.endpoints.value})
    yield FindingDraft(
        about=tuple(ObjectRef("endpoint", each, each) for each in ids),
        evidence=f"{len(ids)} endpoints send to this connection at {' and '.join(hosts)}: {', '.join(ids)}.",
        cause="Each has its own secret and only one is saved, so events from the others are refused.",
        fix="Repair it on the Stripe connection page: the endpoint whose secret is saved stays."
        if len(hosts) == 1
        # What sends to another host may be another installation's: it is never removed from here.
        else "In the Stripe Dashboard, delete the endpoints whose address is no longer in use.",
        page=CONNECTION,
        at=connection.endpoints.at,
    )


def _endpoints(context: RuleContext) -> Iterator[tuple[ConnectionFacts, EndpointSeen]]:
    """The endpoints to judge: of several the one whose secret is saved, where that is known."""
    connection = connected(context)
    if connection is None or connection.endpoints is None:
        return
    listed = connection.endpoints.value
    ours = [endpoint for endpoint in listed if endpoint.id == connection.endpoint_id]
    for endpoint in ours or listed:
        yield connection, endpoint


def _of_endpoint(
    connection: ConnectionFacts, endpoint: EndpointSeen, evidence: str, cause: str, fix: str
) -> FindingDraft:
    assert connection.endpoints is not None
    about = (ObjectRef("endpoint", endpoint.id, endpoint.id),)
    return FindingDraft(about, evidence, cause, fix, CONNECTION, connection.endpoints.at)


def _unresolved_failures(context: RuleContext, *diagnoses: str) -> Iterator[SightingFacts]:
    """Failures since the last good event, and since a secret was last saved."""
    connection = context.here.connection
    if connection is None:
        return
    good = connection.proven_at
    for seen in context.here.traffic.signature_failures:
        proven = good is not None and seen.last_at <= good + _STALE_PROOF
        if seen.about in diagnoses and not proven and not _saved_since(connection, seen):
            yield seen


def _saved_since(connection: ConnectionFacts, seen: SightingFacts) -> bool:
    return connection.secret_saved_at is not None and connection.secret_saved_at >= seen.last_at


def _times(seen: SightingFacts) -> str:
    return "One event was" if seen.times == 1 else f"{seen.times} events were"
