"""One walk over an account at Stripe: each step looks at one list and feeds what was missed."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlmodel import Session, col, select

from licenzy.catalog.queries import has_trials
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.connections.rules import wanted_events
from licenzy.db.unit_of_work import Database
from licenzy.entitlements import statuses
from licenzy.entitlements.events import Change
from licenzy.entitlements.queries import was_recorded
from licenzy.errors import CustomerErased, LicenzyError
from licenzy.kit.backoff import Random
from licenzy.kit.clock import Clock
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.reconciliation.untracked import (
    adopt_untracked,
    attempt_named,
    keep_untracked,
    known_subscriptions,
)
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.paid_periods import made_at
from licenzy.stripe_events.pipeline import apply_reading
from licenzy.stripe_events.read import (
    Found,
    Origin,
    listed_origin,
    session_found,
    subscription_found,
    unknown_word,
)
from licenzy.stripe_events.receive import ReceivedEvent, keep_invalid, receive
from licenzy.stripe_events.settling import claim_now, read_done
from licenzy.stripe_events.snapshots import record_snapshot, settle_one
from licenzy.stripe_events.untracked import SubscriptionState
from licenzy.stripe_gateway import shapes
from licenzy.stripe_gateway.client import ListPage, StripeAccess, StripeGateway
from licenzy.stripe_gateway.invoices import invoice_email
from licenzy.stripe_gateway.shapes import NotAnEvent, Reading, read_event
from licenzy.stripe_gateway.translate import StripeObjectMissing
from licenzy.stripe_gateway.values import Unreadable

OVERLAP = timedelta(minutes=10)
"""Walked again each time: an event may be listed a little after its `created`."""

REFUNDS_SETTLE = timedelta(days=30)
"""A refund may fail this long after it was made."""

DISPUTES_LAST = timedelta(days=120)
"""A dispute may be decided this long after it was opened."""

AT_A_TIME = 10
"""Events fed in one transaction: few commits, and nobody else who writes waits long."""

MOST_KEPT = 500
"""Differences, and problems, that a report holds, which is stored as one value. More are counted."""


@dataclass(slots=True)
class Report:
    """What one walk found and repaired."""

    connection_id: str
    began_at: str
    events_seen: int = 0
    events_missed: int = 0
    subscriptions_seen: int = 0
    sessions_seen: int = 0
    refunds_seen: int = 0
    disputes_seen: int = 0
    failed: int = 0
    """Events that could not be applied; the worker goes on trying them."""
    differences_found: int = 0
    differences: list[Change] = field(default_factory=list)
    """The first `MOST_KEPT` entitlements that changed, before and after."""
    problems_found: int = 0
    problems: list[dict[str, str]] = field(default_factory=list)
    """The first `MOST_KEPT` objects whose state at Stripe could not be compared, each with the reason."""

    @property
    def repaired(self) -> int:
        return self.events_missed + self.differences_found

    def add_differences(self, changes: Sequence[Change]) -> None:
        """Count entitlements that changed."""
        self.differences_found += len(changes)
        self.differences += changes[: MOST_KEPT - len(self.differences)]

    def add_problem(self, object_id: str, problem: str) -> None:
        """Count an object that could not be compared."""
        self.problems_found += 1
        if len(self.problems) < MOST_KEPT:
            self.problems.append({"object": object_id, "problem": problem})


@dataclass(slots=True)
class Walk:
    """A walk under way. Its steps raise Stripe's refusals; what was repaired until then stays."""

    database: Database
    gateway: StripeGateway
    secret_box: SecretBox
    at: StripeAccess
    connection: Connection
    clock: Clock
    report: Report
    on_progress: Callable[[int], None] = field(default=lambda _seen: None)
    """Is told, page by page, how much of the list under way has been seen."""
    random: Random = random.random
    """Spreads the instants at which what failed is tried again."""

    @property
    def now_at_stripe(self) -> datetime:
        """The account's own time, ahead of ours when it is a sandbox whose clock was moved."""
        return self.clock() + self._offset

    def events(self, start: datetime) -> str | None:
        """Feed the events since `start` by Stripe's clock, oldest first; the newest one's id."""
        newest: str | None = None
        wanted = self.wanted()
        for page in self.gateway.events(self.at, created_from=int(start.timestamp())):
            self.report.events_seen += len(page)
            newest = page[-1]["id"] if page else newest
            # What the webhook's address is not sent either has not been missed.
            missed = [raw for raw in page if raw.get("type") in wanted]
            for first in range(0, len(missed), AT_A_TIME):
                self.feed(missed[first : first + AT_A_TIME])
        return newest

    def wanted(self) -> set[str]:
        """The types of events that can change something here."""
        with self.database.read() as db:
            sells_trials = has_trials(db, self.connection.scope)
        return set(wanted_events(self.connection.provider, has_trials=sells_trials))

    def present_state(self, start: datetime) -> list[tuple[str, Callable[[], None]]]:
        """The steps that look at what Stripe says now of all that is known, in their order, by name."""
        return [
            ("subscriptions", self.subscriptions),
            ("sessions", self.sessions),
            ("refunds", partial(self.refunds, start)),
            ("disputes", partial(self.disputes, start)),
            ("open questions", self.settle),
        ]

    def subscriptions(self) -> None:
        """Compare every known subscription with what Stripe says it is now, and keep those of nobody."""
        for page, began in self._dated(self._with_progress(self.gateway.subscriptions(self.at))):
            self.report.subscriptions_seen += len(page.entries)
            with self.database.read() as db:
                known = known_subscriptions(db, self.connection, page.entries)
            others = [obj for obj in page.entries if str(obj["id"]) not in known]
            for obj in page.entries:
                if str(obj["id"]) in known:
                    self._compare(subscription_found, obj, began, read_at=page.at)
            self._keep(others, page.at or began + self._offset)

    def _keep(self, others: Sequence[Mapping[str, Any]], state_at: datetime) -> None:
        """Keep subscriptions that nobody here sold, all of a page at once."""
        states: list[SubscriptionState] = []
        for obj in others:
            try:
                data = shapes.subscription(obj)
            except Unreadable as problem:
                self.report.add_problem(str(obj["id"]), f"Unreadable: {problem}"[:300])
                continue
            if data["status"] in statuses.KNOWN:
                email = invoice_email(obj.get("latest_invoice"))
                states.append(SubscriptionState(str(obj["id"]), data, state_at, email))
        if not states:
            return
        keep = partial(keep_untracked, connection=self.connection, states=states, now=self.clock())
        for state in self.database.retrying(keep):
            adopt = partial(adopt_untracked, connection=self.connection, state=state, now=self.clock())
            self._repair(state.key, partial(self.database.retrying, adopt))

    def sessions(self) -> None:
        """Compare the sessions of attempts that may have ended unnoticed."""
        with self.database.read() as db:
            waiting = _unsettled_attempts(db, self.connection)
        if not waiting:
            return
        oldest = min(attempt.created_at for attempt in waiting) - OVERLAP
        ours = {name for each in waiting for name in (each.id, each.stripe_checkout_session_id) if name}
        # An attempt is dated by our own clock, which a moved clock of the account leaves behind.
        listed = self.gateway.sessions(self.at, created_from=int(oldest.timestamp()))
        for page, began in self._dated(self._with_progress(listed)):
            for obj in page.entries:
                if obj["id"] in ours or attempt_named(obj) in ours:
                    self.report.sessions_seen += 1
                    self._compare(session_found, obj, began, read_at=page.at)

    def refunds(self, start: datetime) -> None:
        """Feed what refunds have become, those made before `start` that could still change included."""
        listed = self.gateway.refunds(self.at, created_from=int((start - REFUNDS_SETTLE).timestamp()))
        for page in self._with_progress(listed):
            for obj in page.entries:
                self.report.refunds_seen += 1
                self._announce("refund", shapes.refund, obj, read_at=page.at)

    def disputes(self, start: datetime) -> None:
        """Feed what disputes have become, likewise."""
        listed = self.gateway.disputes(self.at, created_from=int((start - DISPUTES_LAST).timestamp()))
        for page in self._with_progress(listed):
            for obj in page.entries:
                self.report.disputes_seen += 1
                self._announce("dispute", shapes.dispute, obj, read_at=page.at)

    def settle(self) -> None:
        """Make the settling reads that this walk has asked for, so that its report is whole."""
        while True:
            changes = settle_one(
                self.database,
                self.gateway,
                self.secret_box,
                clock=self.clock,
                random=self.random,
                connection_id=self.connection.id,
            )
            if changes is None:
                return
            self.report.add_differences(changes)

    def purchases(self, keys: Iterable[str], payments: Iterable[str]) -> None:
        """Compare these purchases, and what became of these payments, with what Stripe says now."""
        for key in keys:
            began = self.clock()
            try:
                if key.startswith("sub_"):
                    self.report.subscriptions_seen += 1
                    read = self.gateway.subscription(self.at, key)
                    self._compare(subscription_found, read.value, began, read_at=read.at)
                else:
                    self.report.sessions_seen += 1
                    self._compare(session_found, self.gateway.checkout_session(self.at, key), began)
            except StripeObjectMissing:
                self.report.add_problem(key, "It does not exist in Stripe.")
        for payment in payments:
            for refund in self.gateway.refunds_of(self.at, payment):
                self.report.refunds_seen += 1
                self._announce("refund", shapes.refund, refund)
            for dispute in self.gateway.disputes_of(self.at, payment):
                self.report.disputes_seen += 1
                self._announce("dispute", shapes.dispute, dispute)

    @property
    def _offset(self) -> timedelta:
        return timedelta(seconds=self.connection.clock_offset_seconds)

    @property
    def _scope(self) -> Scope:
        return self.connection.scope

    def _with_progress(self, pages: Iterable[ListPage]) -> Iterable[ListPage]:
        seen = 0
        for page in pages:
            seen += len(page.entries)
            self.on_progress(seen)
            yield page

    def _dated(self, pages: Iterable[ListPage]) -> Iterable[tuple[ListPage, datetime]]:
        """Each page with our own instant at which asking for it began: what comes later is not in it."""
        began = self.clock()
        for page in pages:
            yield page, began
            began = self.clock()

    def feed(self, raws: Sequence[Mapping[str, Any]]) -> None:
        """Keep and apply events that Stripe listed, in one transaction; those that are here are counted."""
        for row in self.database.retrying(partial(self._receive, raws=raws)):
            if row is not None and row.duplicates == 0 and row.tries == 1:
                self.report.events_missed += 1
                self.report.add_differences(row.changes)
            self.report.failed += row is None or row.status is EventStatus.FAILED

    def _receive(self, db: Session, *, raws: Sequence[Mapping[str, Any]]) -> list[ReceivedEvent | None]:
        """The rows of the inbox, each applied in a savepoint of its own; none for what is no event."""
        rows: list[ReceivedEvent | None] = []
        for raw in raws:
            body = json.dumps(raw, ensure_ascii=False, separators=(",", ":")).encode()
            kept: dict[str, Any] = {"connection": self.connection, "body": body, "now": self.clock()}
            try:
                rows.append(receive(db, event=read_event(raw), signed=False, random=self.random, **kept))
            except NotAnEvent:
                keep_invalid(db, **kept)
                rows.append(None)
        return rows

    def _compare(
        self,
        read: Callable[[Mapping[str, Any]], Found | None],
        obj: Mapping[str, Any],
        began: datetime,
        *,
        read_at: datetime | None = None,
    ) -> None:
        def repair() -> list[Change]:
            found = read(obj)
            if found is None:
                return []
            about: dict[str, Any] = {"object_id": str(obj["id"]), "began": began, "read_at": read_at}
            record = partial(self._record, found=found, **about)
            return self.database.retrying(record)

        self._repair(str(obj["id"]), repair)

    def _record(
        self,
        db: Session,
        *,
        found: Found,
        object_id: str,
        began: datetime,
        read_at: datetime | None,
    ) -> list[Change]:
        claim = claim_now(db, self._scope, connection_id=self.connection.id, object_id=object_id, began=began)
        as_of = read_at or began + self._offset
        changes = record_snapshot(db, claim, found, as_of=as_of, now=self.clock())
        read_done(db, claim, now=self.clock(), problem=unknown_word(found))
        return changes

    def _announce(
        self,
        kind: str,
        read: Callable[[Mapping[str, Any]], dict[str, Any]],
        obj: Mapping[str, Any],
        *,
        read_at: datetime | None = None,
    ) -> None:
        def repair() -> list[Change]:
            reading = Reading(kind, str(obj["id"]), {**read(obj), "event": "snapshot"})
            origin = listed_origin(
                self._scope,
                connection_id=self.connection.id,
                reading=reading,
                occurred_at=made_at(reading) or read_at or self.now_at_stripe,
            )
            on_progress = partial(_announce_once, origin=origin, reading=reading, now=self.clock())
            return self.database.retrying(on_progress)

        self._repair(str(obj["id"]), repair)

    def _repair(self, object_id: str, repair: Callable[[], list[Change]]) -> None:
        """One object that cannot be read, or projected, does not keep the others from being repaired."""
        try:
            self.report.add_differences(repair())
        except CustomerErased:
            return
        except LicenzyError:
            raise
        except Exception as problem:
            self.report.add_problem(object_id, f"{type(problem).__name__}: {problem}"[:300])


def _announce_once(db: Session, *, origin: Origin, reading: Reading, now: datetime) -> list[Change]:
    """What a listed status changes, unless an earlier walk has told it."""
    if was_recorded(db, origin.scope, source_id=origin.source_id):
        return []
    return apply_reading(db, origin, reading, now=now).changes


def _unsettled_attempts(db: Session, connection: Connection) -> list[CheckoutAttempt]:
    return list(
        db.exec(
            select(CheckoutAttempt).where(
                CheckoutAttempt.connection_id == connection.id,
                CheckoutAttempt.project_id == connection.project_id,
                CheckoutAttempt.mode == connection.mode,
                col(CheckoutAttempt.status).in_(
                    [AttemptStatus.CREATED, AttemptStatus.OPEN, AttemptStatus.PROCESSING]
                ),
            )
        )
    )
