"""When events are fetched by polling, where Stripe cannot deliver them: the schedule and its state."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlmodel import Session, col, update

from licenzy.alignment.facts import FetchFacts
from licenzy.alignment.modes import Mode
from licenzy.connections.models import Connection, EventPoll, Provider
from licenzy.connections.rules import fetches_events
from licenzy.db.upsert import insert_unless_there

QUICK = timedelta(seconds=3)
"""Between two polls while a checkout is open or somebody waits."""

CALM = timedelta(seconds=30)
"""Between two polls while nothing is awaited."""

WATCHED = timedelta(seconds=15)
"""For so long polls stay quick after a page asked for one, and after events arrived."""


def schedule_polls(db: Session, connection: Connection, *, anew: bool, now: datetime) -> None:
    """Begin with the connection's saved key at once, or end where its events are not to be fetched.

    `anew` begins with what happens from `now` on: the events so far were another account's. A poll that is
    under way with the key before can no longer record anything.
    """
    here = col(EventPoll.connection_id) == connection.id
    is_stripe = connection.provider is Provider.STRIPE and connection.mode is Mode.TEST
    if not is_stripe or connection.key_sealed is None:
        db.exec(update(EventPoll).where(here).values(next_at=None, leased_until=None))
        return
    insert_unless_there(db, EventPoll, {"connection_id": connection.id, "seen_to": now, "failures": 0})
    begun = {"next_at": now, "leased_until": None, "failures": 0, "problem": None, "permission": None}
    forgotten = {"seen_to": now, "polled_at": None} if anew else {}
    db.exec(update(EventPoll).where(here).values({**begun, **forgotten}))


def poll_soon(db: Session, *, connection_id: str, now: datetime) -> None:
    """Have the worker poll at its next turn, because somebody waits, unless it will within QUICK anyway.

    Polls that fail keep their distance; a person can ask for one of those with `poll_now`.
    """
    db.exec(
        update(EventPoll)
        .where(
            col(EventPoll.connection_id) == connection_id,
            col(EventPoll.failures) == 0,
            col(EventPoll.next_at) > now + QUICK,
        )
        .values(next_at=now, quick_until=now + WATCHED)
    )


def poll_now(db: Session, *, connection_id: str, now: datetime) -> None:
    """Have the worker poll at its next turn, also after polls that failed: a person asked for it."""
    db.exec(
        update(EventPoll)
        .where(col(EventPoll.connection_id) == connection_id, col(EventPoll.next_at).is_not(None))
        .values(next_at=now, quick_until=now + WATCHED)
    )


def fetch_facts(db: Session, connection: Connection, *, base_url: str) -> FetchFacts | None:
    """How fetching the connection's events goes; None where they are only delivered."""
    if connection.key_sealed is None:
        return None
    if not fetches_events(connection.provider, connection.mode, base_url):
        return None
    poll = db.get(EventPoll, connection.id)
    if poll is None:
        return FetchFacts()
    return FetchFacts(poll.polled_at, poll.next_at, poll.problem, poll.permission)
