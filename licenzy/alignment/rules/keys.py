"""Rules about API keys and how they are used."""

from __future__ import annotations

from collections.abc import Iterator

from licenzy.alignment.facts import KeyFacts, Sighting
from licenzy.alignment.findings import API_KEYS, About, Look, Part, Severity, Spotted, rule
from licenzy.alignment.modes import Mode

_WARNS, _NOTES = Severity.WARNS, Severity.NOTES


@rule("api_key_missing", "There is no API key", _NOTES, Part.API_KEY)
def api_key_missing(look: Look) -> Iterator[Spotted]:
    if look.here.products and not look.here.usable_keys:
        yield Spotted(
            about=(),
            evidence=f"No API key of {look.here.mode} can be used.",
            cause="Products are ready, but your backend has no key to call Licenzy with.",
            fix="Make an API key.",
            page=API_KEYS,
        )


@rule("api_key_never_used", "An API key was never used", _NOTES, Part.API_KEY)
def api_key_never_used(look: Look) -> Iterator[Spotted]:
    """Silent for spare keys: what matters is whether any key calls."""
    usable = look.here.usable_keys
    if not usable or any(key.last_used_at for key in look.here.keys):
        return
    yield Spotted(
        about=tuple(_named(key) for key in usable),
        evidence=f"{' and '.join(key.masked for key in usable)} made, and no call has come with it.",
        cause="Your backend does not call Licenzy in this mode yet, or calls with another mode's key.",
        fix="Call /v1/access/check with it; the key's page has the line to paste.",
        page=API_KEYS,
        at=max(key.created_at for key in usable),
    )


@rule("live_key_used_early", "A live key is used before live is set up", _WARNS, Part.API_KEY)
def live_key_used_early(look: Look) -> Iterator[Spotted]:
    if look.here.mode is not Mode.LIVE:
        return
    lacking = list(_lacking(look))
    for key in look.here.usable_keys:
        if key.last_used_at is not None and lacking:
            yield Spotted(
                about=(_named(key),),
                evidence=f"{key.masked} is called with, while live has no {' and no '.join(lacking)}.",
                cause="Real users are checked against a side on which nobody can have bought anything.",
                fix="Complete the live set-up, or call with the test key until it is.",
                page=API_KEYS,
                at=key.last_used_at,
            )


@rule("api_key_in_browser", "An API key is used from a browser", _WARNS, Part.API_KEY, mendable=True)
def api_key_in_browser(look: Look) -> Iterator[Spotted]:
    for key, seen in _seen_of(look, look.here.traffic.browser_calls, usable=True):
        yield Spotted(
            about=(_named(key),),
            evidence=f"{seen.times} call{'' if seen.times == 1 else 's'} with {key.masked} had the header "
            f"Origin: {seen.detail}.",
            cause="Only browsers send that header, so the key stands in a page where everybody can read it.",
            fix="Revoke the key, make a new one, and call Licenzy from your backend alone.",
            page=API_KEYS,
            at=seen.last_at,
        )


@rule("revoked_key_used", "A revoked API key is still used", _WARNS, Part.API_KEY, mendable=True)
def revoked_key_used(look: Look) -> Iterator[Spotted]:
    for key, seen in _seen_of(look, look.here.traffic.revoked_key_calls, usable=False):
        yield Spotted(
            about=(_named(key),),
            evidence=f"{seen.times} call{'' if seen.times == 1 else 's'} with {key.masked} refused.",
            cause="Something still calls with a key that is revoked or expired, and gets a 401 each time.",
            fix="Find what still has it and give that the present key. If it is not yours, it is refused: "
            "mark this as mended.",
            page=API_KEYS,
            at=seen.last_at,
        )


def _lacking(look: Look) -> Iterator[str]:
    connection = look.here.connection
    if connection is None or not connection.connected:
        yield "Stripe key"
    if connection is None or connection.secret_saved_at is None:
        yield "webhook secret"
    if not look.here.products:
        yield "product"


def _seen_of(
    look: Look, sightings: tuple[Sighting, ...], *, usable: bool
) -> Iterator[tuple[KeyFacts, Sighting]]:
    by_id = {key.id: key for key in look.here.keys}
    for seen in sightings:
        key = by_id.get(seen.about)
        if key is not None and key.usable is usable:
            yield key, seen


def _named(key: KeyFacts) -> About:
    return About("api_key", key.id, key.name)
