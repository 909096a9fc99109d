"""Many subscribers of one product: how they buy, renew by the clock, and become known to Licenzy."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import httpx
from sqlmodel import Session, insert

from licenzy.catalog.models import Product
from licenzy.catalog.rules import as_sold
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import CLOCK_MOVED, REQUIRED_EVENTS
from licenzy.db.upsert import table_of
from licenzy.entitlements.models import Entitlement
from licenzy.kit.clock import from_unix, utc_now
from licenzy.kit.ids import new_id
from licenzy.reconciliation.actions import reconcile
from licenzy.reconciliation.walk import Report
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.receive import read_payload, receive
from licenzy.stripe_sandbox.account_store import AccountStore, public
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.stripe_sandbox.api import sessions
from licenzy.stripe_sandbox.version import event_for
from licenzy.subjects.models import Subject
from licenzy.usage.access import Access, Wanted, access_of, answer
from tests.checkout.conftest import Shop
from tests.support.cast import WEBHOOK_SECRET
from tests.support.clock import StandingClock
from tests.support.ports import wait_until
from tests.support.purchases import signed

Json = dict[str, Any]
AT_THE_DOOR = 50
"""How many of the events of one delivery are posted to the webhook's address. The others are given to the
function that it calls, because a test client takes as long as the rest of the work."""
_IN_A_TRANSACTION = 50
_AT_A_TIME = 500
_MOST_SECONDS = 3_000


class AtStripe(NamedTuple):
    """What the sandbox says of one subscription."""

    status: str
    price_id: str
    period_end: datetime


@dataclass
class Subscribers:
    """`count` buyers of one product at one price, each with a subscription of their own."""

    shop: Shop
    clock: StandingClock
    product: Product
    count: int
    random: random.Random = field(default_factory=lambda: random.Random(1))
    subscriptions: list[str] = field(default_factory=list)
    """By the number of the buyer."""
    seen: int = 0
    """The last event of the sandbox that was looked at."""

    # --- how they began ---------------------------------------------------------------------------

    def buy(self) -> None:
        """Subscriptions at the sandbox, each made by a completed Checkout Session of an attempt of ours."""
        prefix, price_id = new_id("att")[:-7], self.product.prices[0].stripe_price_id
        metadata = {"licenzy_attempt": prefix + "{n}"}
        self._control("subscriptions", {"count": self.count, "prices": [price_id], "metadata": metadata})
        rows = self._rows("json_extract(body, '$.metadata.licenzy_attempt') AS attempt")
        self.subscriptions = [row["id"] for row in rows]
        assert [row["attempt"] for row in rows] == [f"{prefix}{n}" for n in range(self.count)]
        numbers = iter(range(self.count))
        while batch := list(itertools.islice(numbers, _AT_A_TIME)):
            with self._account_store() as account_store:
                made = [self._session(account_store, number, f"{prefix}{number}") for number in batch]
            self._keep_attempts(batch, prefix, made)

    def _session(self, account_store: AccountStore, number: int, attempt_id: str) -> str:
        """The session that made a subscription; its completion is announced."""
        subscription = account_store.get("subscription", self.subscriptions[number], param="id")
        account_store.now = subscription["created"]
        asked = {
            "mode": "subscription",
            "line_items": [{"price": self.product.prices[0].stripe_price_id, "quantity": 1}],
            "success_url": "https://shop.test/thanks",
            "customer": subscription["customer"],
            "metadata": {"licenzy_attempt": attempt_id},
        }
        session = sessions.create(account_store, asked)
        account_store.change(
            session, status="complete", payment_status="paid", url=None, subscription=subscription["id"]
        )
        account_store.emit("checkout.session.completed", session)
        account_store.forget()
        return str(session["id"])

    def _keep_attempts(self, numbers: Sequence[int], prefix: str, session_ids: Sequence[str]) -> None:
        scope, now = self.shop.connection.scope, self.clock() - timedelta(days=8)
        subjects = [
            Subject(
                id=new_id("sbj"),
                project_id=scope.project_id,
                mode=scope.mode,
                subject_ref=ref(number),
                search_text=ref(number),
                created_at=now,
            )
            for number in numbers
        ]
        attempts = [
            CheckoutAttempt(
                id=f"{prefix}{number}",
                project_id=scope.project_id,
                mode=scope.mode,
                connection_id=self.shop.connection.id,
                subject_id=subject.id,
                product_id=self.product.id,
                product_code=self.product.product_code,
                sold=as_sold(self.product, price_id=self.product.prices[0].stripe_price_id),
                quantity=1,
                stripe_params={},
                stripe_checkout_session_id=session_id,
                status=AttemptStatus.OPEN,
                created_at=now,
                updated_at=now,
            )
            for number, subject, session_id in zip(numbers, subjects, session_ids, strict=True)
        ]
        with self.shop.runtime.database.write() as db:
            for table, rows in ((Subject, subjects), (CheckoutAttempt, attempts)):
                db.connection().execute(insert(table_of(table)), [row.model_dump() for row in rows])

    # --- what happens at Stripe -------------------------------------------------------------------

    def move_clock(self, **how_far: float) -> None:
        """Let the sandbox's clock move on. What falls due happens; of all events only the move's arrives."""
        advance_id, seconds = new_id("x"), int(timedelta(**how_far).total_seconds())
        self._control("advances", {"id": advance_id, "action": "advance_clock", "seconds": seconds})
        services = self.shop.sandbox.app.services

        def has_arrived() -> bool:
            with services.store.reading() as db:
                row = db.execute(
                    "SELECT status, problem FROM advances WHERE id = ?", (advance_id,)
                ).fetchone()
            assert row["problem"] is None
            return bool(row["status"] == "ready")

        wait_until(has_arrived, seconds=_MOST_SECONDS, what="the clock has arrived")
        newest = self._events("json_extract(body, '$.type') = ? ORDER BY seq DESC LIMIT 1", CLOCK_MOVED)
        self._post(self._payload(newest[0]["id"]))

    def truth(self) -> list[AtStripe]:
        """What the sandbox says of each, by the number of the buyer."""
        rows = self._rows(
            "json_extract(body, '$.status') AS status, json_extract(body, '$.items.data[0]') AS item"
        )
        assert [row["id"] for row in rows] == self.subscriptions
        found = []
        for row in rows:
            item = json.loads(row["item"])
            found.append(AtStripe(row["status"], item["price"]["id"], from_unix(item["current_period_end"])))
        return found

    def _rows(self, columns: str) -> list[Any]:
        """The subscriptions of the account, the first that was made first."""
        with self.shop.sandbox.app.services.store.reading() as db:
            found = db.execute(
                f"SELECT id, {columns} FROM objects WHERE scope = ? AND kind = 'subscription' ORDER BY seq",
                (self._account_scope(db),),
            )
            return list(found)

    def _account_scope(self, db: sqlite3.Connection) -> str:
        account = find_account(db, self.shop.account)
        assert account is not None
        return account.scope

    def _control(self, what: str, body: Json) -> None:
        answer = httpx.post(
            f"{self.shop.sandbox.url}/_sandbox/accounts/{self.shop.account}/{what}",
            json=body,
            headers={"Authorization": f"Bearer {self.shop.sandbox.control_token}"},
            timeout=_MOST_SECONDS,
        )
        assert answer.status_code < 300, answer.text

    @contextmanager
    def _account_store(self) -> Iterator[AccountStore]:
        services = self.shop.sandbox.app.services
        with services.store.writing() as db:
            account = find_account(db, self.shop.account)
            assert account is not None
            yield AccountStore(db, account, services.public_url)

    # --- how Licenzy learns of it -----------------------------------------------------------------

    def new_events(self) -> list[str]:
        """The ids of the events since the last call that a webhook endpoint of ours is sent."""
        rows = self._events("seq > ? ORDER BY seq", self.seen)
        self.seen = rows[-1]["seq"] if rows else self.seen
        return [row["id"] for row in rows if row["type"] in REQUIRED_EVENTS]

    def _events(self, which: str, *values: Any) -> list[Any]:
        with self.shop.sandbox.app.services.store.reading() as db:
            found = db.execute(
                "SELECT seq, id, json_extract(body, '$.type') AS type FROM objects"
                f" WHERE scope = ? AND kind = 'event' AND {which}",
                (self._account_scope(db), *values),
            )
            return list(found)

    def deliver(self, event_ids: Sequence[str]) -> None:
        """Deliver these in an order made at random, every tenth of them twice."""
        order = [*event_ids, *event_ids[::10]]
        self.random.shuffle(order)
        for event_id in order[:AT_THE_DOOR]:
            self._post(self._payload(event_id))
        parts, rest = self.shop.runtime, iter(order[AT_THE_DOOR:])
        while batch := list(itertools.islice(rest, _IN_A_TRANSACTION)):
            bodies = [self._payload(event_id) for event_id in batch]
            parts.database.retrying(partial(self._receive, bodies=bodies))

    def _receive(self, db: Session, *, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            received = receive(
                db, connection=self.shop.connection, event=read_payload(body), body=body, now=utc_now()
            )
            assert received.status is EventStatus.APPLIED, received

    def _payload(self, event_id: str) -> bytes:
        with self.shop.sandbox.app.services.store.reading() as db:
            row = db.execute("SELECT body FROM objects WHERE id = ?", (event_id,)).fetchone()
        return json.dumps(event_for(public(json.loads(row["body"])), None)).encode()

    def _post(self, payload: bytes) -> None:
        body, headers = signed(payload, WEBHOOK_SECRET, at=self.clock())
        address = f"/v1/webhooks/stripe/{self.shop.connection.id}"
        posted = self.shop.client.post(address, data=body, headers=headers)
        assert posted.status_code == 200, posted.text

    def walk(self, **how: Any) -> Report:
        """A walk over the account as the worker makes it; it can read and apply everything."""
        parts = self.shop.runtime
        report = reconcile(
            parts.database,
            parts.gateway,
            parts.secret_box,
            connection=self._connection,
            clock=utc_now,
            **how,
        )
        assert (report.problems, report.failed) == ([], 0)
        self.clock.now = datetime.now(UTC)
        return report

    @property
    def _connection(self) -> Connection:
        """The shop's, with its clock as it now is."""
        with self.shop.runtime.database.read() as db:
            found = connection_of(db, self.shop.connection.scope)
        assert found is not None
        return found

    # --- what Licenzy answers ---------------------------------------------------------------------

    def answers(self) -> Iterator[tuple[int, Access[Entitlement]]]:
        """The answer of the access check for each, by number."""
        now = self.clock.now = datetime.now(UTC)
        scope = self._connection.scope
        for first in range(0, self.count, _AT_A_TIME):
            numbers = range(first, min(first + _AT_A_TIME, self.count))
            with self.shop.runtime.database.read() as db:
                found = access_of(
                    db,
                    scope,
                    subject_refs=[ref(number) for number in numbers],
                    now=scope.at(now),
                    asked_at=now,
                    wanted=Wanted(self.product.product_code),
                )
            yield from ((number, found[ref(number)]) for number in numbers)

    def checked(self, number: int, **wanted: str) -> Json:
        """What a merchant's backend is answered."""
        answered = self.shop.client.post(
            "/v1/access/check",
            json={"subject_ref": ref(number), **wanted},
            headers={"Authorization": f"Bearer {self.shop.token}"},
        )
        assert answered.status_code == 200, answered.text
        body: Json = answered.get_json()
        return body


def has_feature(access: Access[Entitlement], feature: str) -> bool:
    """Whether who was answered so may use a feature as well."""
    return answer(access.owned, Wanted(feature=feature), access.now).allowed


def ref(number: int) -> str:
    """The merchant's own id of a buyer."""
    return f"buyer_{number}"
