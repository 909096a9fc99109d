"""Posts events to webhook endpoints, after the answer that caused them, from what storage says is still to be
sent."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import queue
import sqlite3
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from licenzy.stripe_sandbox import fault_injection
from licenzy.stripe_sandbox.store import Store
from licenzy.stripe_sandbox.version import event_for

# Seconds before each further try. Stripe gives up on a sandbox after a few hours and on live after three
# days.
RETRY_SECONDS = (1.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 21600.0)
TIMEOUT_SECONDS = 10.0
STOP_SECONDS = 2.0
"""How long a stop waits for posts that are on their way."""
SENDER_THREADS = 6
BACKGROUND_POSTS = 3
"""How many posts of renewals in the background are under way at once: the other threads stay free."""
_IDLE_SECONDS = 30.0
_log = logging.getLogger(__name__)

Turn = tuple[str, str]
"""An endpoint and a lane: posts that go one after another."""


@dataclass(frozen=True)
class Post:
    """One event on its way to one endpoint."""

    number: int
    scope: str
    endpoint: str
    url: str
    secret: str
    payload: bytes
    attempts: int
    lane: str

    @property
    def turn(self) -> Turn:
        return self.endpoint, self.lane


def sign(payload: bytes, secret: str, *, at: int) -> str:
    """Stripe's `Stripe-Signature` of the payload, made at the real time `at`."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


class EventSender:
    """A thread that sends. Posts to one endpoint go one after another, so normally in the order of their
    events; a slow endpoint holds up no other. One process at a time may send from a storage.

    Renewals in the background have a lane for each subscription: each lane keeps its order, several are sent
    at once, and only one while something else is due, so that thousands of them hold up no purchase."""

    def __init__(self, store: Store, *, retry_seconds: tuple[float, ...] = RETRY_SECONDS) -> None:
        self._store = store
        self._retry_seconds = retry_seconds
        self._wanted = threading.Event()
        self._stopped = False
        self._busy: set[Turn] = set()
        self._last_lane = ""
        self._lock = threading.Lock()
        self._due: queue.SimpleQueue[Post | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        if self._threads:
            return
        # An endpoint that hangs must not hold up the end of the process, as a pool of threads would.
        self._threads = [threading.Thread(target=self._run, name="sandbox-sender", daemon=True)]
        self._threads += [
            threading.Thread(target=self._post, name=f"sandbox-post-{number}", daemon=True)
            for number in range(SENDER_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> bool:
        """Send nothing more, and give what is on its way STOP_SECONDS; whether all of it has ended.

        What is left stays in storage, and what was not noted as sent by then is sent once more.
        """
        self._stopped = True
        self._wanted.set()
        for _ in range(SENDER_THREADS):
            self._due.put(None)
        ends_at = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, ends_at - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self) -> None:
        """Something new may be waiting."""
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.clear()
            if self._stopped:  # Looked at after clearing: `stop` sets the one before the other.
                return
            try:
                sleep = self._send_due()
            except Exception:
                _log.exception("the sandbox could not read its posts")
                sleep = 1.0
            self._wanted.wait(sleep)

    def _post(self) -> None:
        while (post := self._due.get()) is not None:
            if not self._stopped:
                self._send(post)

    def _send_due(self) -> float:
        """Queue the next due post of each idle endpoint; returns for how many seconds nothing more is due."""
        for post in self._next_posts():
            with self._lock:
                self._busy.add(post.turn)
            self._due.put(post)
        with self._store.reading() as db:
            row = db.execute(
                "SELECT MIN(due) AS due FROM posts WHERE status = 'pending' AND due > ?", (time.time(),)
            ).fetchone()
        return (
            _IDLE_SECONDS if row["due"] is None else max(0.01, min(_IDLE_SECONDS, row["due"] - time.time()))
        )

    def _next_posts(self) -> list[Post]:
        with self._lock:
            busy = set(self._busy)
        with self._store.reading() as db:
            numbers = self._foreground(db, busy)
            somebody_waits = bool(numbers) or any(not lane for _endpoint, lane in busy)
            allowed = 1 if somebody_waits else BACKGROUND_POSTS
            numbers += self._background(db, busy, allowed - sum(1 for _endpoint, lane in busy if lane))
            return [self._load(db.execute(_LOAD, (number,)).fetchone()) for number in numbers]

    def _foreground(self, db: sqlite3.Connection, busy: set[Turn]) -> list[int]:
        waiting = db.execute(
            "SELECT endpoint, misbehaviour AS faults, MIN(CASE WHEN due <= ? THEN number END) AS first,"
            " MAX(number) AS last FROM posts JOIN accounts USING (scope)"
            " WHERE status = 'pending' AND lane = '' GROUP BY endpoint",
            (time.time(),),
        ).fetchall()
        return [
            # Reordered, the last goes first, whether it is due or not: it was gathered with the others.
            row["last"] if fault_injection.reorders_webhooks(row["faults"]) else row["first"]
            for row in waiting
            if row["first"] is not None and (row["endpoint"], "") not in busy
        ]

    def _background(self, db: sqlite3.Connection, busy: set[Turn], free: int) -> list[int]:
        """The next post of up to `free` lanes, in turns: after the lane that was sent last."""
        if free <= 0:
            return []
        waiting = db.execute(
            "SELECT endpoint, lane, MIN(number) AS first FROM posts"
            " WHERE status = 'pending' AND lane > '' AND due <= ? GROUP BY endpoint, lane"
            " ORDER BY lane <= ?, lane",
            (time.time(), self._last_lane),
        ).fetchall()
        chosen = [row for row in waiting if (row["endpoint"], row["lane"]) not in busy][:free]
        if chosen:
            self._last_lane = chosen[-1]["lane"]
        return [row["first"] for row in chosen]

    def _load(self, row: sqlite3.Row) -> Post:
        endpoint, event = json.loads(row["endpoint_body"]), json.loads(row["event_body"])
        payload = json.dumps(event_for(event, endpoint["api_version"]), indent=2, ensure_ascii=False).encode()
        return Post(
            row["number"],
            row["scope"],
            endpoint["id"],
            endpoint["url"],
            endpoint["_secret"],
            payload,
            row["attempts"],
            row["lane"],
        )

    def _send(self, post: Post) -> None:
        try:
            self._send_once(post)
        except Exception:
            _log.exception("the sandbox could not record the result of a post")
        finally:
            with self._lock:
                self._busy.discard(post.turn)
            self._wanted.set()

    def _send_once(self, post: Post) -> None:
        with self._store.writing() as db:
            fault = fault_injection.take_webhook_fault(db, post.scope)
            if fault == "lose":
                _note(db, post, "lost", None, "lost on purpose", None)
                return
        status, error = deliver(post)
        if fault == "duplicate":
            deliver(post)
        again = self._retry_seconds[post.attempts] if post.attempts < len(self._retry_seconds) else None
        state = "sent" if error is None else "failed" if again is None else "pending"
        with self._store.writing() as db:
            _note(db, post, state, status, error, again)


_LOAD = """
SELECT posts.number, posts.scope, posts.attempts, posts.lane,
  endpoints.body AS endpoint_body, events.body AS event_body
FROM posts
JOIN objects AS endpoints ON endpoints.scope = posts.scope AND endpoints.id = posts.endpoint
JOIN objects AS events ON events.scope = posts.scope AND events.id = posts.event
WHERE posts.number = ?
"""


def deliver(post: Post) -> tuple[int | None, str | None]:
    """Post once: the HTTP status, or why there is none. Follows no redirect and uses no proxy."""
    url = urlsplit(post.url)
    make = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "Stripe/1.0 (sandbox; +https://stripe.com/docs/webhooks)",
        "Stripe-Signature": sign(post.payload, post.secret, at=int(time.time())),
    }
    try:
        connection = make(url.hostname or "", url.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", target, post.payload, headers)
            response = connection.getresponse()
            response.read(65536)
            return response.status, None if 200 <= response.status < 300 else f"HTTP {response.status}"
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"[:200]


def _note(
    db: sqlite3.Connection, post: Post, state: str, status: int | None, error: str | None, again: float | None
) -> None:
    now = time.time()
    db.execute(
        "UPDATE posts SET status = ?, attempts = attempts + 1, last_status = ?, last_error = ?, sent_at = "
        "?, due = ?"
        " WHERE number = ?",
        (state, status, error, now if state == "sent" else None, now + (again or 0), post.number),
    )
