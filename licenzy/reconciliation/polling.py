"""Polling: on a machine that Stripe cannot reach, fetch the events of test mode every few seconds.

A poll lists events newest first, back to what an earlier one has seen, and applies what is new, oldest first,
as a walk does. More than one poll can list is left to a walk.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from licenzy.alignment.modes import Mode
from licenzy.checkout.queries import has_open_checkout
from licenzy.connections.event_polls import CALM, QUICK, WATCHED
from licenzy.connections.models import Connection, EventPoll, Provider
from licenzy.connections.queries import connection_by_id
from licenzy.connections.rate_limit import paced_access
from licenzy.connections.rules import fetches_events
from licenzy.db.leases import is_free, take_lease
from licenzy.db.reads import read_first
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable, LicenzyError
from licenzy.kit.backoff import Backoff
from licenzy.kit.clock import Clock, from_unix, rfc3339
from licenzy.kit.lease import Lease
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.queries import is_worked_on
from licenzy.reconciliation.actions import EVENTS_KEPT, request_walk_of
from licenzy.reconciliation.models import Reconciliation
from licenzy.reconciliation.walk import AT_A_TIME, OVERLAP, Report, Walk
from licenzy.stripe_events.queries import known_event_ids
from licenzy.stripe_gateway.client import StripeGateway
from licenzy.stripe_gateway.permissions import READS_EVENTS
from licenzy.stripe_gateway.translate import StripePermissionMissing, busy_seconds
from licenzy.stripe_gateway.values import LAST_INSTANT

POLL_SECONDS = 10.0
"""After it a poll begins nothing more: no call to Stripe, and no transaction."""

LEASE = Lease(timedelta(seconds=40))
"""Longer than a poll with the last call that it began. After a poll that died, so long passes at most."""

MOST_PAGES = 50
"""Of 100 events; a poll keeps those of them in memory that are new."""

BACKOFF = Backoff(first=3.0, longest=300.0, jitter=(0.9, 1.1))
"""Between polls that fail."""

_BEHIND = "More events are waiting than one poll fetches. A sync fetches them now."


def poll_next(
    database: Database, gateway: StripeGateway, secret_box: SecretBox, *, base_url: str, clock: Clock
) -> bool:
    """Poll the account whose turn it is, of any project; whether there was one. For the worker.

    What Stripe refuses is recorded for people to see, and tried again later and later.
    """
    if not fetches_events(Provider.STRIPE, Mode.TEST, base_url):
        return False
    with database.read() as db:
        due = _due(db, now=clock())
    if due is None:
        return False
    claim = database.retrying(lambda db: _claim(db, due, base_url=base_url, now=clock()))
    if claim is not None:
        _Poll(database, gateway, secret_box, claim, clock).run()
    return True


@read_first
def _due(*, now: datetime) -> SelectOfScalar[str]:
    return (
        select(EventPoll.connection_id)
        .join(Connection, col(Connection.id) == col(EventPoll.connection_id))
        .where(
            col(EventPoll.next_at) <= now,
            is_free(col(EventPoll.leased_until), now),
            is_worked_on(Connection.project_id),
        )
        .order_by(col(EventPoll.next_at))
        .limit(1)
    )


@dataclass(frozen=True, slots=True)
class _Claim:
    """A connection that is polled now, and how far its events were fetched."""

    connection: Connection
    leased_until: datetime
    seen_to: datetime | None
    failures: int


def _claim(db: Session, connection_id: str, *, base_url: str, now: datetime) -> _Claim | None:
    if not take_lease(db, EventPoll, {"connection_id": connection_id}, LEASE, now=now):
        return None  # Another worker was quicker.
    poll = db.get_one(EventPoll, connection_id, populate_existing=True)
    connection = connection_by_id(db, connection_id=connection_id)
    is_fetched = connection is not None and connection.key_sealed is not None
    if connection is None or not is_fetched or not _is_polled(connection, base_url):
        poll.next_at = poll.leased_until = None
        db.flush()
        return None
    walked = db.get(Reconciliation, connection_id)
    seen_to, saved_at = poll.seen_to, connection.key_saved_at
    if (
        walked is not None
        and walked.ran_at
        and walked.reconciled_to
        and saved_at
        and walked.ran_at > saved_at
    ):
        seen_to = max(seen_to or walked.reconciled_to, walked.reconciled_to)
    assert poll.leased_until is not None
    return _Claim(connection, poll.leased_until, seen_to, poll.failures)


def _is_polled(connection: Connection, base_url: str) -> bool:
    return fetches_events(connection.provider, connection.mode, base_url)


@dataclass(frozen=True, slots=True)
class _Listed:
    """What Stripe listed: the events that are new here, oldest first, and its own time of the list."""

    new: Sequence[Mapping[str, Any]]
    at: datetime
    is_whole: bool
    """Whether the list was read back to what was seen before."""


class _Poll:
    """One poll of one connection."""

    def __init__(
        self, database: Database, gateway: StripeGateway, secret_box: SecretBox, claim: _Claim, clock: Clock
    ) -> None:
        self._database, self._gateway, self._secret_box = database, gateway, secret_box
        self._claim, self._connection, self._clock = claim, claim.connection, clock
        self._ends_at = time.monotonic() + POLL_SECONDS

    def run(self) -> None:
        """Fetch, apply and record. Raises only what says that the database cannot be used."""
        try:
            self._fetch()
        except DatabaseUnavailable:
            raise
        except LicenzyError as problem:
            self._database.retrying(partial(self._failed, problem=problem))

    def _fetch(self) -> None:
        at = paced_access(
            self._database, self._gateway, self._secret_box, self._connection, within=POLL_SECONDS
        )
        report = Report(self._connection.id, rfc3339(self._clock()))
        walk = Walk(
            self._database, self._gateway, self._secret_box, at, self._connection, self._clock, report
        )
        began = self._clock()
        start = self._claim.seen_to or self._connection.key_saved_at or began
        oldest_kept = began - EVENTS_KEPT
        listed = self._list(walk, start, from_=max(start - OVERLAP, oldest_kept))
        if not listed.is_whole:
            self._database.retrying(self._left_to_a_walk)
            return
        fed = self._feed(walk, listed.new)
        if fed < len(listed.new):
            seen_to = _created(listed.new[fed - 1]) or start
            self._database.retrying(lambda db: self._went_on(db, max(start, seen_to)))
            return
        self._database.retrying(lambda db: self._ended(db, listed, is_too_late=start < oldest_kept))

    def _list(self, walk: Walk, seen_to: datetime, *, from_: datetime) -> _Listed:
        wanted = walk.wanted()
        new: list[Mapping[str, Any]] = []
        at: datetime | None = None
        pages = self._gateway.latest_events(walk.at, created_from=int(from_.timestamp()))
        for number, page in enumerate(pages, start=1):
            # Without Stripe's own time of the answer what it listed last is what is known to be seen.
            at = at or page.at or _newest(page.entries) or seen_to
            told = [raw for raw in page.entries if raw.get("type") in wanted]
            with self._database.read() as db:
                ids = [raw["id"] for raw in told]
                known = known_event_ids(db, self._connection.scope, event_ids=ids)
            unknown = [raw for raw in told if raw["id"] not in known]
            new += unknown
            newest = _newest(page.entries)
            if page.after is None or (not unknown and newest is not None and newest <= seen_to):
                return _Listed(new[::-1], at, True)
            if number == MOST_PAGES or self._is_over:
                break
        return _Listed((), at or seen_to, False)

    def _feed(self, walk: Walk, new: Sequence[Mapping[str, Any]]) -> int:
        """How many of the events are applied, the oldest ones, before the poll's time is up."""
        fed = 0
        while fed < len(new) and (fed == 0 or not self._is_over):
            walk.feed(new[fed : fed + AT_A_TIME])
            fed = min(fed + AT_A_TIME, len(new))
        return fed

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._ends_at

    def _ended(self, db: Session, listed: _Listed, *, is_too_late: bool) -> None:
        now = self._clock()
        poll = self._lock_poll(db)
        if poll is None:
            return
        poll.seen_to, poll.polled_at = listed.at, now
        poll.failures, poll.problem, poll.permission = 0, None, None
        if listed.new:
            poll.quick_until = now + WATCHED
        is_quick = poll.quick_until is not None and poll.quick_until > now
        is_quick = is_quick or has_open_checkout(
            db, self._connection.scope, connection_id=self._connection.id, now=now
        )
        poll.next_at = now + (QUICK if is_quick else CALM)
        db.flush()
        if is_too_late:
            _request_walk(db, self._connection, now)

    def _went_on(self, db: Session, seen_to: datetime) -> None:
        poll = self._lock_poll(db)
        if poll is not None:
            poll.seen_to, poll.next_at = seen_to, self._clock()
            poll.failures, poll.problem, poll.permission = 0, None, None
            db.flush()

    def _left_to_a_walk(self, db: Session) -> None:
        now = self._clock()
        poll = self._lock_poll(db)
        if poll is not None:
            poll.next_at = now + CALM
            poll.failures, poll.problem, poll.permission = 0, _BEHIND, None
            db.flush()
            _request_walk(db, self._connection, now)

    def _failed(self, db: Session, *, problem: LicenzyError) -> None:
        poll = self._lock_poll(db)
        if poll is None:
            return
        poll.failures = self._claim.failures + 1
        poll.problem = problem.message[:500]
        is_forbidden = isinstance(problem, StripePermissionMissing)
        poll.permission = (getattr(problem, "permission", None) or READS_EVENTS) if is_forbidden else None
        asked = busy_seconds(problem) or 0.0
        poll.next_at = self._clock() + BACKOFF.delay(poll.failures, random.random, at_least=asked)
        db.flush()

    def _lock_poll(self, db: Session) -> EventPoll | None:
        """The row, locked and without its lease; None when the lease is not this poll's any more."""
        poll = db.get_one(EventPoll, self._connection.id, populate_existing=True, with_for_update=True)
        if poll.leased_until != self._claim.leased_until:
            return None
        poll.leased_until = None
        return poll


def _request_walk(db: Session, connection: Connection, now: datetime) -> None:
    """Have a walk fetch what a poll cannot, unless one is asked for or under way."""
    walked = db.get(Reconciliation, connection.id, populate_existing=True)
    if walked is None or (walked.requested_at is None and walked.step is None):
        request_walk_of(db, connection_id=connection.id, now=now)


def _newest(entries: Sequence[Mapping[str, Any]]) -> datetime | None:
    return next((at for at in map(_created, entries) if at is not None), None)


def _created(raw: Mapping[str, Any]) -> datetime | None:
    """Stripe's time of an event; None of what is none."""
    value = raw.get("created")
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return from_unix(value) if is_number and 0 <= value <= LAST_INSTANT else None  # type: ignore[operator, arg-type]
