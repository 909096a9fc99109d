"""What to do about a connection's endpoint at Stripe, judged from Stripe's own list of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from licenzy.stripe_gateway.client import API_VERSION
from licenzy.stripe_gateway.facts import EndpointFacts


@dataclass(frozen=True, slots=True)
class Repair:
    """Which endpoint stays, or that a new one is made; what changes on it; which ones go, last of all."""

    keep: EndpointFacts | None
    """The endpoint whose secret is stored here; none when a new one has to be made."""
    update: bool
    """Whether the kept one lacks events, or is disabled."""
    remove: tuple[str, ...]

    @property
    def needless(self) -> bool:
        """Whether everything is as it should be."""
        return self.keep is not None and not self.update and not self.remove


def repair(
    listed: Sequence[EndpointFacts], *, known_id: str | None, wanted: Sequence[str], rotate: bool
) -> Repair:
    """How to repair the endpoints at a connection's address, which are to send the events `wanted`.

    `known_id` is the endpoint whose secret is stored here and can be read; none where there is none.

    One stays when its secret is stored here and its version is ours: Stripe tells a secret only when it
    makes an endpoint, and cannot change a version. Events and a disabled state can be changed on it. What
    a click that broke off has left behind is among those that go.
    """
    known = [each for each in listed if each.id == known_id]
    if rotate or not known or known[0].api_version != API_VERSION:
        return Repair(None, update=False, remove=tuple(each.id for each in listed))
    kept = known[0]
    lacking = set(wanted) - set(kept.enabled_events)
    return Repair(
        kept,
        update=kept.status != "enabled" or bool(lacking and "*" not in kept.enabled_events),
        remove=tuple(each.id for each in listed if each.id != kept.id),
    )


def events_to_send(kept: EndpointFacts, wanted: Sequence[str]) -> tuple[str, ...]:
    """What a kept endpoint shall subscribe to: what it did, and what is wanted besides."""
    if "*" in kept.enabled_events:
        return kept.enabled_events
    return tuple(dict.fromkeys((*kept.enabled_events, *wanted)))
