"""Rules about API keys and how they are used."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import KeyFacts, SightingFacts
from licenzy.alignment.findings import API_KEYS, FindingDraft, ObjectRef, Part, RuleContext, Severity, rule
from licenzy.alignment.modes import Mode

_WARNS, _NOTES = Severity.WARNS, Severity.NOTES


@rule("api_key_missing", "There is no API key", _NOTES, Part.API_KEY)
def api_key_missing(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.products and not context.here.usable_keys:
        yield FindingDraft(
            about=(),
            evidence=f"No API key of {context.here.mode} can be used.",
            cause="Products are ready, but your backend has no key to call Licenzy with.",
            fix="Make an API key.",
            page=API_KEYS,
        )


@rule("api_key_never_used", "An API key was never used", _NOTES, Part.API_KEY)
def api_key_never_used(context: RuleContext) -> Iterator[FindingDraft]:
    """Silent for spare keys: what matters is whether any key calls."""
    usable = context.here.usable_keys
    if not usable or any(key.last_used_at for key in context.here.keys):
        return
    yield FindingDraft(
        about=tuple(_named(key) for key in usable),
        evidence=f"{' and '.join(key.masked for key in usable)} made, and no call has come with it.",
        cause="Your backend does not call Licenzy in this mode yet, or calls with another mode's key.",
        fix="Call /v1/access/check with it; the key's page has the line to paste.",
        page=API_KEYS,
        at=max(key.created_at for key in usable),
    )


@rule("live_key_used_early", "A live key is used before live is set up", _WARNS, Part.API_KEY)
def live_key_used_early(context: RuleContext) -> Iterator[FindingDraft]:
    if context.here.mode is not Mode.LIVE:
        return
    lacking = list(_lacking(context))
    for key in context.here.usable_keys:
        if key.last_used_at is not None and lacking:
            yield FindingDraft(
                about=(_named(key),),
                evidence=f"{key.masked} is called with, while live has no {' and no '.join(lacking)}.",
                cause="Real users are checked against a side on which nobody can have bought anything.",
                fix="Complete the live set-up, or call with the test key until it is.",
                page=API_KEYS,
                at=key.last_used_at,
            )


@rule("api_key_in_browser", "An API key is used from a browser", _WARNS, Part.API_KEY, resolvable=True)
def api_key_in_browser(context: RuleContext) -> Iterator[FindingDraft]:
    for key, seen in _seen_of(context, context.here.traffic.browser_calls, usable=True):
        yield FindingDraft(
            about=(_named(key),),
            evidence=f"{seen.times} call{'' if seen.times == 1 else 's'} with {key.masked} had the header "
            f"Origin: {seen.detail}.",
            cause="Only browsers send that header, so the key stands in a page where everybody can read it.",
            fix="Revoke the key, make a new one, and call Licenzy from your backend alone.",
            page=API_KEYS,
            at=seen.last_at,
        )


@rule("revoked_key_used", "A revoked API key is still used", _WARNS, Part.API_KEY, resolvable=True)
def revoked_key_used(context: RuleContext) -> Iterator[FindingDraft]:
    for key, seen in _seen_of(context, context.here.traffic.revoked_key_calls, usable=False):
        yield FindingDraft(
            about=(_named(key),),
            evidence=f"{seen.times} call{'' if seen.times == 1 else 's'} with {key.masked} refused.",
            cause="Something still calls with a key that is revoked or expired, and gets a 401 each time.",
            fix="Find what still has it and give that the present key. If it is not yours, it is refused: "
            "mark this as mended.",
            page=API_KEYS,
            at=seen.last_at,
        )


def _lacking(context: RuleContext) -> Iterator[str]:
    connection = context.here.connection
    if connection is None or not connection.connected:
        yield "Stripe key"
    if connection is None or connection.secret_saved_at is None:
        yield "webhook secret"
    if not context.here.products:
        yield "product"


def _seen_of(
    context: RuleContext, sightings: tuple[SightingFacts, ...], *, usable: bool
) -> Iterator[tuple[KeyFacts, SightingFacts]]:
    by_id = {key.id: key for key in context.here.keys}
    for seen in sightings:
        key = by_id.get(seen.about)
        if key is not None and key.usable is usable:
            yield key, seen


def _named(key: KeyFacts) -> ObjectRef:
    return ObjectRef("api_key", key.id, key.name)
