"""Moves of an account's clock that run in the background, as those of Stripe's test clocks do.

Each runs in short transactions, so that others can write between them, and goes on after a restart.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from dataclasses import dataclass

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import account_of, set_offset
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused, StripeRefusal
from licenzy.stripe_sandbox.lifecycle import clock
from licenzy.stripe_sandbox.sender import EventSender
from licenzy.stripe_sandbox.store import Store
from licenzy.stripe_sandbox.version import Json

STOP_SECONDS = 1.0
_TRANSACTION_SECONDS = 0.1
_MOST_IN_A_TRANSACTION = 20
_BETWEEN_SECONDS = 0.01
"""SQLite's writers do not queue: without a pause the others would hardly ever find the file free."""
_IDLE_SECONDS = 30.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Advance:
    """One move of a clock. `owner` is the subscription or session whose events are reported."""

    id: str
    scope: str
    status: str
    """`advancing`, `ready` or `failed`."""
    delivery: str
    owner: str | None
    from_offset: int
    to_offset: int
    started: int
    emitted: list[Json]
    """Id and type of the owner's events, and of the clock's, in their order."""
    problem: str | None


def begin(
    account_store: AccountStore, *, id_: str, seconds: int, delivery: str, owner: str | None
) -> Advance:
    """Note a move that begins now; `id_` is new, and the clock stands still."""
    clock.require_movable(seconds)
    offset = account_store.account.offset
    account_store.db.execute(
        "INSERT INTO advances (id, scope, delivery, owner, from_offset, to_offset, started)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            id_,
            account_store.account.scope,
            delivery,
            owner,
            offset,
            offset + seconds,
            account_store.now,
        ),
    )
    begun = find(account_store.db, account_store.account.scope, id_)
    assert begun is not None
    return begun


def find(db: sqlite3.Connection, scope: str, id_: str) -> Advance | None:
    return _advance(db.execute("SELECT * FROM advances WHERE scope = ? AND id = ?", (scope, id_)).fetchone())


def running(db: sqlite3.Connection, scope: str) -> Advance | None:
    """The move that the account's clock is making now."""
    return _advance(
        db.execute("SELECT * FROM advances WHERE scope = ? AND status = 'advancing'", (scope,)).fetchone()
    )


def require_still(account_store: AccountStore) -> None:
    """Refuse what cannot happen while the clock moves."""
    if running(account_store.db, account_store.account.scope) is not None:
        raise RequestRefused("The account's clock is still moving. Wait until it stops.")


def report(account_store: AccountStore, advance: Advance) -> Json:
    """The move as the control API shows it, with how often each event is posted."""
    posted = {
        event["id"]: account_store.db.execute(
            "SELECT COUNT(*) AS n FROM posts WHERE scope = ? AND event = ?", (advance.scope, event["id"])
        ).fetchone()["n"]
        for event in advance.emitted
    }
    whole = advance.to_offset - advance.from_offset
    done = account_store.account.offset - advance.from_offset
    return {
        "id": advance.id,
        "status": advance.status,
        "problem": advance.problem,
        "percent": 100 if advance.status == "ready" else max(0, min(99, 100 * done // whole)),
        "now": account_store.now,
        "emitted": advance.emitted,
        "posted": posted,
    }


class ClockAdvancer:
    """A thread that runs the moves under way, in turns."""

    def __init__(self, store: Store, sender: EventSender, public_url: str) -> None:
        self._store, self._sender, self._public_url = store, sender, public_url
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox-advancer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Begin no further transaction; whether the one under way ended within STOP_SECONDS."""
        self._stopped.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def wake(self) -> None:
        """A move was begun."""
        self._wanted.set()

    def run_round(self) -> int:
        """One transaction of each move under way; how many there were."""
        with self._store.reading() as db:
            found = db.execute("SELECT scope, id FROM advances WHERE status = 'advancing'").fetchall()
        for row in found:
            if self._stopped.is_set():
                break
            self._run_one(row["scope"], row["id"])
        if found:
            self._sender.wake()
        return len(found)

    def _run_one(self, scope: str, id_: str) -> None:
        try:
            with self._store.writing() as db:
                advance = find(db, scope, id_)
                if advance is not None and advance.status == "advancing":
                    _run_some(AccountStore(db, account_of(db, scope), self._public_url), advance)
        except sqlite3.Error:
            raise  # The file cannot be written now; the move goes on when it can.
        except Exception as problem:
            _log.exception("the sandbox could not move the clock of %s", scope)
            known = problem.message if isinstance(problem, StripeRefusal) else type(problem).__name__
            with self._store.writing() as db:
                db.execute(
                    "UPDATE advances SET status = 'failed', problem = ? WHERE scope = ? AND id = ?",
                    (known, scope, id_),
                )

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wanted.clear()
            pause = _IDLE_SECONDS
            try:
                if self.run_round():
                    self._stopped.wait(_BETWEEN_SECONDS)
                    continue
            except Exception:
                _log.exception("the sandbox could not move a clock")
                pause = 1.0
            if not self._stopped.is_set():
                self._wanted.wait(pause)


def _run_some(account_store: AccountStore, advance: Advance) -> None:
    """Run what is due for one transaction's time; at the end of the way the clock arrives."""
    ends_at, last = time.monotonic() + _TRANSACTION_SECONDS, account_store.last_post()
    target = int(time.time()) + advance.to_offset
    reported: list[Json] = []
    arrived = False
    for _ in range(_MOST_IN_A_TRANSACTION):
        if arrived or time.monotonic() >= ends_at:
            break
        before = len(account_store.emitted)
        happened_to = clock.run_next(account_store, until=target, owner=advance.owner)
        arrived = happened_to is None
        if not arrived and happened_to == advance.owner:
            reported += account_store.emitted[before:]
    if arrived:
        clock.arrive(account_store, offset=advance.to_offset, now=target)
        reported.append(account_store.emitted[-1])
    else:
        reached = account_store.now - int(time.time())
        set_offset(
            account_store.db,
            account_store.account,
            max(account_store.account.offset, reached),
        )
    _deliver(account_store, advance.delivery, last=last, arrived=arrived)
    emitted = advance.emitted + [{"id": event["id"], "type": event["type"]} for event in reported]
    account_store.db.execute(
        "UPDATE advances SET status = ?, emitted = ? WHERE scope = ? AND id = ?",
        ("ready" if arrived else "advancing", json.dumps(emitted), advance.scope, advance.id),
    )


def _deliver(account_store: AccountStore, delivery: str, *, last: int, arrived: bool) -> None:
    """Bring the posts queued since `last` into the way that was asked for."""
    db, scope = account_store.db, account_store.account.scope
    if delivery == "never":
        account_store.lose_posts(after=last)
    elif delivery == "twice":
        posts = account_store.posts(after=last)
        account_store.requeue_posts([post for post in posts for _ in "12"], after=last)
    elif delivery == "last_first":
        db.execute(
            "UPDATE posts SET status = 'gathered' WHERE scope = ? AND number > ? AND lane = ''", (scope, last)
        )
        if arrived:
            rows = db.execute(
                "SELECT event, endpoint FROM posts WHERE scope = ? AND status = 'gathered'"
                " ORDER BY number DESC",
                (scope,),
            ).fetchall()
            db.execute("DELETE FROM posts WHERE scope = ? AND status = 'gathered'", (scope,))
            for row in rows:
                account_store.queue_post(row["event"], row["endpoint"])


def _advance(row: sqlite3.Row | None) -> Advance | None:
    return None if row is None else Advance(**{**dict(row), "emitted": json.loads(row["emitted"])})


def require_id(value: object) -> str:
    """The caller's id of a move, by which it is found again."""
    if not isinstance(value, str) or not 1 <= len(value) <= 100:
        raise InvalidParameter("id must be a string of 1 to 100 characters", param="id")
    return value
