"""Rules about how Stripe's events come: the signing secret, and the endpoint registered at Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from licenzy.alignment.facts import ConnectionFacts, EndpointSeen, SightingFacts
from licenzy.alignment.findings import CONNECTION, FindingDraft, ObjectRef, Part, RuleContext, Severity, rule
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules.connection import connected, named

_BLOCKS, _WARNS, _NOTES = Severity
_STALE_PROOF = timedelta(seconds=15)
"""How much older than the last good event its remembered time may be, see `stripe_events.receive`."""


@rule("webhook_secret_missing", "The webhook signing secret is missing", _BLOCKS, Part.SECRET)
def webhook_secret_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.secret_saved_at is None:
        yield FindingDraft(
            about=(named(connection),),
            evidence="A Stripe key is saved, and no signing secret.",
            cause="Without the signing secret no payment can be noticed: buyers would pay and get nothing.",
            fix="Set the webhook up, or save the signing secret of its endpoint.",
            page=CONNECTION,
            at=connection.key_saved_at,
        )


@rule("webhook_never_proven", "The signing secret is not proven yet", _NOTES, Part.SECRET)
def webhook_never_proven(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is not None and connection.secret_saved_at is not None and not connection.proven:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{connection.secret_masked} was saved, and has verified nothing since.",
            cause="Whether this is the secret that Stripe signs with shows at the first event.",
            fix="Make a purchase; it sends one.",
            page=CONNECTION,
            at=connection.secret_saved_at,
        )


@rule("webhook_secret_shared", "Both modes have the same signing secret", _BLOCKS, Part.SECRET, compares=True)
def webhook_secret_shared(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    if context.here.mode is Mode.LIVE and connection is not None and connection.shares_secret:
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{connection.secret_masked} is saved in test and in live.",
            cause="Every endpoint at Stripe has a secret of its own, so in one of the modes it is wrong.",
            fix="Save, in each mode, the secret of the endpoint that was made in this mode at Stripe.",
            page=CONNECTION,
            at=connection.secret_saved_at,
        )


@rule(
    "webhook_secret_of_other_mode",
    "Events are signed with the other mode's secret",
    _BLOCKS,
    Part.SECRET,
    resolvable=True,
)
def webhook_secret_of_other_mode(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    for seen in _unmended_failures(context, "other_mode"):
        assert connection is not None
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{_times(seen)} refused here. It was signed with the {context.other.mode} secret.",
            cause=f"The {context.other.mode} endpoint sends to the {context.here.mode} address, or the two "
            "secrets were swapped.",
            fix=f"In Stripe, in {context.here.mode} mode, copy the secret of the endpoint with this address.",
            page=CONNECTION,
            at=seen.last_at,
        )


@rule(
    "webhook_signature_failed", "Events arrive with a wrong signature", _WARNS, Part.SECRET, resolvable=True
)
def webhook_signature_failed(context: RuleContext) -> Iterator[FindingDraft]:
    connection = context.here.connection
    for seen in _unmended_failures(context, "previous", "stripe_key", "unknown"):
        assert connection is not None
        cause, fix = _DIAGNOSED[seen.about]
        yield FindingDraft(
            about=(named(connection),),
            evidence=f"{_times(seen)} refused since the last good one.",
            cause=cause,
            fix=fix,
            page=CONNECTION,
            at=seen.last_at,
        )


_DIAGNOSED = {
    "previous": (
        "They are signed with the secret that was replaced, and its overlap is over.",
        "At Stripe, remove the old endpoint or end the old secret's overlap, so that the new one signs.",
    ),
    "stripe_key": (
        "What is saved as signing secret is a Stripe key, and nothing is ever signed with that.",
        "Save the endpoint's signing secret, which begins with whsec_.",
    ),
    "unknown": (
        "They are not signed with the secret saved here: it is of another endpoint, or a proxy changes the "
        "body on its way.",
        "Copy the signing secret of exactly this endpoint at Stripe, or replace it with a new one.",
    ),
}


@rule(
    "webhook_signature_ambiguous",
    "An event fits more than one connection",
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
            evidence=f"{_times(seen)} refused at the address for all connections.",
            cause="Another connection of this installation has the same signing secret, so nobody can tell "
            "whose event it is.",
            fix="Register this connection's own address at Stripe, with a secret of its own.",
            page=CONNECTION,
            at=seen.last_at,
        )


@rule("endpoint_missing", "Stripe has no endpoint for this connection", _WARNS, Part.ENDPOINT)
def endpoint_missing(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.endpoints is None or not connection.reachable:
        return
    if connection.secret_saved_at is not None and not connection.endpoints.value:
        yield FindingDraft(
            about=(named(connection),),
            evidence="None of the account's webhook endpoints has this connection's address.",
            cause="Stripe sends no events here, so payments and cancellations go unnoticed.",
            fix="Press “Replace it with a new secret”: that makes the endpoint at Stripe.",
            page=CONNECTION,
            at=connection.endpoints.at,
        )


@rule("endpoint_disabled", "The webhook endpoint is disabled at Stripe", _BLOCKS, Part.ENDPOINT)
def endpoint_disabled(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        if not endpoint.enabled:
            yield _of_endpoint(
                connection,
                endpoint,
                "Stripe lists it as disabled.",
                "Somebody disabled it, or Stripe did after days of failures; no events arrive.",
                "Enable it in Stripe's dashboard, or press “Check it at Stripe”, which does.",
            )


@rule("endpoint_lacks_events", "The webhook endpoint lacks events", _WARNS, Part.ENDPOINT)
def endpoint_lacks_events(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        lacking = sorted(connection.wanted_events - endpoint.events)
        if lacking and "*" not in endpoint.events:
            named = ", ".join(lacking[:4]) + (f" and {len(lacking) - 4} more" if len(lacking) > 4 else "")
            yield _of_endpoint(
                connection,
                endpoint,
                f"It does not send {named}.",
                "What these events tell changes who has access, and would go unnoticed.",
                "Add them to the endpoint at Stripe, or press “Check it at Stripe”, which does.",
            )


@rule("endpoint_version_differs", "The webhook endpoint has another API version", _WARNS, Part.ENDPOINT)
def endpoint_version_differs(context: RuleContext) -> Iterator[FindingDraft]:
    for connection, endpoint in _endpoints(context):
        if endpoint.api_version != connection.wanted_version:
            yield _of_endpoint(
                connection,
                endpoint,
                f"It sends {endpoint.api_version or 'the account’s default version'}, and Licenzy was built "
                f"for {connection.wanted_version}.",
                "Stripe's payloads change between versions, and an endpoint keeps the one it was made with.",
                "Press “Check it at Stripe”: it makes one with the right version and removes this one.",
            )


@rule("endpoint_twice", "The webhook is registered more than once", _WARNS, Part.ENDPOINT)
def endpoint_twice(context: RuleContext) -> Iterator[FindingDraft]:
    connection = connected(context)
    if connection is None or connection.endpoints is None or len(connection.endpoints.value) < 2:
        return
    ids = [endpoint.id for endpoint in connection.endpoints.value]
    hosts = sorted({urlsplit(endpoint.url).netloc for endpoint in connection.endpoints.value})
    yield FindingDraft(
        about=tuple(ObjectRef("endpoint", each, each) for each in ids),
        evidence=f"{len(ids)} endpoints send to this connection at {' and '.join(hosts)}: {', '.join(ids)}.",
        cause="Each has a secret of its own, and only one secret is saved: the others' events are refused.",
        fix="Press “Check it at Stripe”: the one whose secret is saved stays, the others at this address go."
        if len(hosts) == 1
        # What sends to another host may be another installation's: it is never removed from here.
        else "In Stripe's dashboard, remove those that send to an address you no longer serve.",
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


def _unmended_failures(context: RuleContext, *diagnoses: str) -> Iterator[SightingFacts]:
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
