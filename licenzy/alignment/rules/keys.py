"""Rules about API keys and how they are used."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import KeyFacts, SightingFacts
from licenzy.alignment.findings import API_KEYS, FindingDraft, ObjectRef, Part, RuleContext, Severity, rule
from licenzy.alignment.modes import Mode

_WARNS, _NOTES = Severity.WARNS, Severity.NOTES


@rule("api_key_missing", "API key missing", _NOTES, Part.API_KEY)
def api_key_missing(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.products and not context.here.usable_keys:
        yield FindingDraft(
            about=(),
            evidence=f"No {context.here.mode} mode API key is usable.",
            cause="Products are ready, but your backend has no API key.",
            fix="Create an API key.",
            page=API_KEYS,
        )


@rule("api_key_never_used", "API key never used", _NOTES, Part.API_KEY)
def api_key_never_used(context: RuleContext) -> Iterator[FindingDraft]:
    """Silent for spare keys: what matters is whether any key calls."""
    usable = context.here.usable_keys
    if not usable or any(key.last_used_at for key in context.here.keys if key.for_backends):
        return
    yield FindingDraft(
        about=tuple(_named(key) for key in usable),
        evidence=f"{' and '.join(key.masked for key in usable)} never made a call.",
        cause="Your backend does not call Licenzy yet, or it calls with a key from the other mode.",
        fix="Call POST /v1/access/check with it. The API keys page has the command to copy.",
        page=API_KEYS,
        at=max(key.created_at for key in usable),
    )


@rule("live_key_used_early", "Live API key used before setup is complete", _WARNS, Part.API_KEY)
def live_key_used_early(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.mode is not Mode.LIVE:
        return
    lacking = list(_lacking(context))
    for key in context.here.keys:
        if key.alive and key.checks_access and key.last_used_at is not None and lacking:
            yield FindingDraft(
                about=(_named(key),),
                evidence=f"{key.masked} is in use, and live mode has no {' and no '.join(lacking)}.",
                cause="Nobody can have bought anything in live mode yet, so access checks answer no.",
                fix="Complete the setup of live mode, or call with the test mode key until then.",
                page=API_KEYS,
                at=key.last_used_at,
            )


@rule("api_key_in_browser", "API key used in a browser", _WARNS, Part.API_KEY, resolvable=True)
def api_key_in_browser(context: RuleContext) -> Iterator[FindingDraft]:
    for key, seen in _seen_of(context, context.here.traffic.browser_calls, alive=True):
        yield FindingDraft(
            about=(_named(key),),
            evidence=f"{seen.times} call{'' if seen.times == 1 else 's'} with {key.masked} had the header "
            f"Origin: {seen.detail}.",
            cause="Only browsers send that header, so the key is in a page where anyone can read it.",
            fix="Revoke the key, create a new one, and call Licenzy only from your backend.",
            page=API_KEYS,
            at=seen.last_at,
        )


@rule("revoked_key_used", "Revoked API key still used", _WARNS, Part.API_KEY, resolvable=True)
def revoked_key_used(context: RuleContext) -> Iterator[FindingDraft]:
    for key, seen in _seen_of(context, context.here.traffic.revoked_key_calls, alive=False):
        calls = "1 call" if seen.times == 1 else f"{seen.times} calls"
        yield FindingDraft(
            about=(_named(key),),
            evidence=f"{calls} with {key.masked} refused.",
            cause="Something still calls with a revoked or expired key and gets a 401 each time.",
            fix="Find where the key is still used and replace it. If the calls are not yours, mark this as "
            "fixed: they are refused.",
            page=API_KEYS,
            at=seen.last_at,
        )


def _lacking(context: RuleContext) -> Iterator[str]:
    connection = context.here.connection
    if connection is None or not connection.connected:
        yield "Stripe key"
    if connection is None or (connection.secret_saved_at is None and connection.fetch is None):
        yield "webhook secret"
    if not context.here.products:
        yield "product"


def _seen_of(
    context: RuleContext, sightings: tuple[SightingFacts, ...], *, alive: bool
) -> Iterator[tuple[KeyFacts, SightingFacts]]:
    by_id = {key.id: key for key in context.here.keys}
    for seen in sightings:
        key = by_id.get(seen.about)
        if key is not None and key.alive is alive:
            yield key, seen


def _named(key: KeyFacts) -> ObjectRef:
    return ObjectRef("api_key", key.id, key.name)
