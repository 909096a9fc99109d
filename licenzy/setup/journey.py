"""The timeline of one purchase: what happened, what is awaited, and what is likely wrong. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from licenzy.alignment.facts import ConnectionFacts
from licenzy.checkout.models import AttemptStatus
from licenzy.connections.models import Provider
from licenzy.setup.facts import EventFacts, JourneyFacts
from licenzy.stripe_events.models import EventStatus

PATIENCE = timedelta(seconds=45)
"""After this long without progress the likely cause is named instead of waiting on."""

WATCHED = timedelta(minutes=15)
"""After this long a page that follows a purchase stops looking by itself; a person can look again."""


class TickState(StrEnum):
    """One line of the timeline: done, the one awaited now, still to come, or gone wrong."""

    DONE = "done"
    CURRENT = "current"
    WAITING = "waiting"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Tick:
    """One line of the timeline with its evidence."""

    title: str
    state: TickState
    evidence: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """What most likely holds a purchase up, and what to do; `page` is the endpoint that mends it."""

    code: str
    advice: str
    fix: str
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A purchase as shown while it happens."""

    ticks: tuple[Tick, ...]
    cause: Cause | None
    complete: bool
    over: bool
    """Whether there is nothing more to wait for: it is complete, or cannot get any further."""
    poll_again_ms: int | None
    """After how many milliseconds a page looks again by itself; none when it does not."""


def timeline(journey: JourneyFacts, connection: ConnectionFacts | None, now: datetime) -> Timeline:
    """The five lines of a purchase, and the likely cause once it has stood still for `PATIENCE`."""
    complete = journey.granted and journey.allowed
    failed = journey.status is AttemptStatus.FAILED and not journey.granted
    ended = journey.granted and not journey.allowed  # Refunded, expired: waiting brings it no further.
    ticks = _ticks(journey, connection)
    if failed or ended:
        ticks = _with_failure(ticks)
    cause = None if complete else _cause(journey, connection, now)
    over = complete or failed or ended
    still = None if over or now - journey.created_at >= WATCHED else (1500 if cause is None else 5000)
    return Timeline(ticks=ticks, cause=cause, complete=complete, over=over, poll_again_ms=still)


_AWAITED = (
    "Creating a Checkout Session in Stripe",
    "Waiting for the payment",
    "Verifying the signature",
    "Granting the entitlement",
    "Checking access",
)
"""The titles of the lines while they are awaited."""
_FAILED = (
    "No Checkout Session created",
    "Not paid",
    "Signature not verified",
    "No entitlement granted",
    "Access check answers false",
)
"""The titles of the lines where the purchase ended."""


def _ticks(journey: JourneyFacts, connection: ConnectionFacts | None) -> tuple[Tick, ...]:
    event = journey.event
    is_fetched = event.fetched if event is not None else _fetches(connection)
    arrived, event_text = (event.received_at, f"{event.type} · {event.event_id}") if event else (None, None)
    done = [
        journey.session_id is not None,
        event is not None,
        event is not None,  # Only events with a good signature, or read from Stripe itself, are stored.
        journey.granted,
        journey.granted and journey.allowed,
    ]
    lines = [
        ("Checkout Session created in Stripe", journey.session_id, journey.created_at),
        ("Stripe’s event fetched" if is_fetched else "Stripe’s event arrived", event_text, arrived),
        (*_proof(connection, is_fetched=is_fetched), arrived),
        ("Entitlement granted", journey.entitlement_id, journey.granted_at),
        ("Access check answers true", f"allowed: true for {journey.subject_ref}", journey.granted_at),
    ]
    awaited = done.index(False) if False in done else len(done)
    return tuple(
        Tick(
            _AWAITED[index] if index == awaited else title,
            _state(index, awaited),
            evidence if index < awaited else None,
            at if index < awaited else None,
        )
        for index, (title, evidence, at) in enumerate(lines)
    )


def _proof(connection: ConnectionFacts | None, *, is_fetched: bool) -> tuple[str, str | None]:
    """What makes an event Stripe's own, as a line of the timeline."""
    key, secret = (connection.key_masked, connection.secret_masked) if connection else (None, None)
    title, shown = ("Read from Stripe", key) if is_fetched else ("Signature verified", secret)
    return title, f"with {shown}" if shown else None


def _fetches(connection: ConnectionFacts | None) -> bool:
    """Whether the next event is expected to be fetched, and not delivered."""
    return connection is not None and connection.fetch is not None and not connection.proven


def _state(index: int, awaited: int) -> TickState:
    if index < awaited:
        return TickState.DONE
    return TickState.CURRENT if index == awaited else TickState.WAITING


def _with_failure(ticks: tuple[Tick, ...]) -> tuple[Tick, ...]:
    return tuple(
        replace(tick, title=_FAILED[index], state=TickState.FAILED)
        if tick.state is TickState.CURRENT
        else tick
        for index, tick in enumerate(ticks)
    )


def _cause(journey: JourneyFacts, connection: ConnectionFacts | None, now: datetime) -> Cause | None:
    """What is certain is said at once; what is only likely, after `PATIENCE`."""
    if journey.status is AttemptStatus.FAILED and not journey.granted:
        return _failed(journey)
    if connection is None or (connection.secret_saved_at is None and connection.fetch is None):
        return Cause(
            "webhook_secret_missing",
            "The webhook signing secret of this mode is missing, so payments cannot be recorded.",
            "Set up the webhook, then pay again.",
            "portal.project.connection",
        )
    if journey.event is not None:
        return _event_without_effect(journey, journey.event, now)
    if journey.session_id is None and journey.reason is not None:
        return Cause(
            "stripe_refused",
            f"Stripe refused to create a Checkout Session ({journey.reason}).",
            "Check the product’s price and the Stripe connection, then start again.",
            "portal.project.products",
        )
    if now - journey.created_at < PATIENCE:
        return None
    if journey.session_id is None:
        return Cause(
            "stripe_did_not_answer",
            "Stripe has not answered the request to create a Checkout Session.",
            "Start the purchase again. Nothing was charged.",
        )
    return _no_event(journey, connection)


def _failed(journey: JourneyFacts) -> Cause:
    if journey.reason == "expired":
        return Cause(
            "session_expired",
            "The payment page was closed or expired before anything was paid.",
            "Start a new purchase and pay it on the hosted page.",
        )
    if journey.reason == "payment_failed":
        return Cause("payment_failed", "The payment failed in Stripe.", "Start a new purchase.")
    reason = f" ({journey.reason})" if journey.reason else ""
    return Cause(
        "attempt_failed",
        f"The purchase failed before it was paid{reason}.",
        "Check the Stripe connection and the product’s price, then start a new purchase.",
        "portal.project.connection",
    )


def _event_without_effect(journey: JourneyFacts, event: EventFacts, now: datetime) -> Cause | None:
    if event.status is EventStatus.WRONG_MODE:
        return Cause(
            "event_of_other_mode",
            "The event arrived, but it is from the other mode, so it was stored and not applied.",
            "Send this mode’s events to this address only.",
            "portal.project.connection",
        )
    if event.status is EventStatus.WRONG_ACCOUNT:
        return Cause(
            "event_of_other_account",
            "The event arrived, but it is from another Stripe account, so it was stored and not applied.",
            "Set the endpoint in Stripe to listen to events on your account only.",
            "portal.project.connection",
        )
    if event.status in {EventStatus.FAILED, EventStatus.INVALID}:
        reason = f": {event.note}" if event.note else "."
        return Cause(
            "event_failed",
            f"The event arrived, but applying it failed{reason}",
            "It is stored and retried automatically.",
            "portal.project.events",
        )
    if journey.granted:
        refusal = (journey.refusal or "unknown").replace("_", " ")
        return Cause(
            "not_available",
            f"The entitlement was granted, but the access check now says no: {refusal}.",
            "The customer’s page shows what they have. Start a new purchase to see the check turn true.",
            "portal.project.customers",
        )
    if journey.status is AttemptStatus.PROCESSING:
        return Cause(
            "awaiting_payment",
            "The checkout is complete, but the money has not arrived yet, as with bank debits.",
            "Access starts when Stripe reports that it arrived.",
        )
    if now - event.received_at < PATIENCE:
        return None
    return Cause(
        "nothing_granted",
        "The event arrived, but did not lead to an entitlement.",
        "Stripe’s event for the paid invoice may be missing. The endpoint must send all events that the "
        "Stripe connection page lists.",
        "portal.project.connection",
    )


def _no_event(journey: JourneyFacts, connection: ConnectionFacts) -> Cause:
    if connection.fetch is not None and connection.fetch.problem is not None:
        return Cause(
            "events_not_fetched",
            f"Events cannot be fetched from Stripe. {connection.fetch.problem}",
            "The webhook step shows how to fix it. Nothing that is paid meanwhile is lost.",
            "portal.project.connection",
        )
    if connection.proven or _fetches(connection) or journey.last_event_at is not None:
        return Cause(
            "not_paid_yet",
            "Events arrive, but none for this checkout. It has probably not been paid yet.",
            "Open the payment page and finish the payment.",
        )
    if connection.provider is Provider.SANDBOX:
        return Cause(
            "not_paid_yet",
            "No event has arrived. The payment page has probably not been finished yet.",
            "Open the payment page and pay. If you have paid, set the webhook up again.",
            "portal.project.connection",
        )
    return Cause(
        "webhook_never_proven",
        "No event with a valid signature has arrived from Stripe yet. If you have paid, there is no "
        "endpoint in Stripe for the address shown, `stripe listen` is not running, or the signing secret "
        "belongs to another endpoint.",
        "Compare the address and the signing secret with the webhook’s page in Stripe.",
        "portal.project.connection",
    )
