"""The sender: claims what is due, posts it, writes down what came of it. Several may run at once."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from sqlmodel import Session

from licenzy.db.unit_of_work import Database
from licenzy.deliveries.claims import DeliveryClaim, DeliveryOutcome, claim_due, record_outcomes
from licenzy.deliveries.models import WebhookEndpoint
from licenzy.deliveries.queries import endpoints_with_work
from licenzy.deliveries.rules import is_success, retry_after
from licenzy.deliveries.signing import signed_headers, signing_secrets
from licenzy.errors import DatabaseUnavailable
from licenzy.kit.backoff import Random
from licenzy.kit.clock import Clock
from licenzy.kit.outbound_http import OutboundHttp, Unreachable
from licenzy.kit.repeats import Repeats
from licenzy.kit.secret_box import SecretBox

THREADS = 64
PARALLEL = 8
"""How many deliveries one sender has under way to one endpoint that answers quickly."""

PARALLEL_SLOW = 2
"""The same for one that is slow, failing, or not known to this process yet."""

_QUICK_SECONDS = 1.0
_IDLE_SECONDS = 0.5
_LINGER_SECONDS = 0.02
_GRACE_SECONDS = 6.5
_log = logging.getLogger("licenzy.deliveries")


class Sender:
    """Delivers until told to stop.

    A receiver that hangs keeps few threads, and half are never its like's; an eighth are never for the quick
    ones, however much there is to send them.
    """

    def __init__(
        self,
        database: Database,
        secret_box: SecretBox,
        http: OutboundHttp,
        *,
        clock: Clock,
        threads: int = THREADS,
        random: Random = random.random,
    ) -> None:
        self._database = database
        self._secret_box = secret_box
        self._http = http
        self._clock = clock
        self._threads = threads
        self._random = random
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="deliver")
        self._done: queue.SimpleQueue[DeliveryOutcome] = queue.SimpleQueue()
        self._unrecorded: list[DeliveryOutcome] = []
        self._under_way: Counter[str] = Counter()
        self._quick: set[str] = set()
        self._begun_at: dict[str, float] = {}
        self._failures = Repeats(60.0)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then let what is under way come to its end, and write it down."""
        while not stop.is_set():
            try:
                begun = self.round()
            except DatabaseUnavailable:  # Which is logged where it is met.
                stop.wait(_IDLE_SECONDS)
                continue
            except Exception as error:
                if times := self._failures.due(type(error).__name__):
                    _log.exception("sending deliveries failed and will be retried (%d times)", times)
                stop.wait(_IDLE_SECONDS)
                continue
            if self._under_way:
                self._await(0.25)
            elif not begun:
                stop.wait(_IDLE_SECONDS)
        self.close()

    def close(self) -> None:
        """Wait for what is under way, within bounds; what is not told by then is sent again elsewhere."""
        until = time.monotonic() + _GRACE_SECONDS
        while self._under_way and time.monotonic() < until:
            self._await(0.25)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._unrecorded:
            with self._database.write() as db:
                record_outcomes(db, self._unrecorded, now=self._clock(), random=self._random)
            self._unrecorded = []

    def round(self) -> int:
        """Write down what has come of tries, and begin as many as there is room for; how many were begun."""
        now = self._clock()
        room, secrets = self._room()
        outcomes = self._unrecorded
        if not outcomes and not room:
            return 0

        def work(db: Session) -> list[DeliveryClaim]:
            record_outcomes(db, outcomes, now=now, random=self._random)
            return claim_due(db, room=room, now=now)

        claims = self._database.retrying(work)
        self._unrecorded = []
        for claim in claims:
            self._under_way[claim.endpoint_id] += 1
            self._begun_at[claim.endpoint_id] = time.monotonic()
            self._pool.submit(self._try, claim, secrets[claim.endpoint_id])
        return len(claims)

    def _room(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """How many more deliveries each endpoint with work may have under way, and its secrets."""
        free = self._threads - self._under_way.total()
        if free <= 0:
            return {}, {}
        now = self._clock()
        with self._database.read() as db:
            found = endpoints_with_work(db, now=now)
        slow = sum(count for each, count in self._under_way.items() if each not in self._quick)
        left = {
            True: self._threads - self._threads // 8 - (self._under_way.total() - slow),
            False: self._threads // 2 - slow,
        }
        room: dict[str, int] = {}
        signing: dict[str, list[str]] = {}
        for each in sorted(found, key=self._rank):
            is_quick = each.id in self._quick
            most = (PARALLEL if is_quick else PARALLEL_SLOW) - self._under_way[each.id]
            most = min(most, free, left[is_quick])
            secrets = signing_secrets(self._secret_box, each, now=now) if most > 0 else []
            if not secrets:
                continue  # Without the right encryption key nothing can be signed; it all waits.
            room[each.id], signing[each.id] = most, secrets
            free -= most
            left[is_quick] -= most
        return room, signing

    def _rank(self, endpoint: WebhookEndpoint) -> tuple[bool, float, bool]:
        """The quick ones first, and of either sort those whose turn was longest ago."""
        is_failing = endpoint.failing_since is not None
        return endpoint.id not in self._quick, self._begun_at.get(endpoint.id, 0.0), is_failing

    def _try(self, claim: DeliveryClaim, secrets: list[str]) -> None:
        began = time.monotonic()
        try:
            outcome = self._post(claim, secrets, began)
        except Exception as error:
            # A delivery must end in an outcome, or its place in the pool would be lost for good.
            _log.exception("the delivery %s could not be attempted", claim.delivery_id)
            outcome = DeliveryOutcome(
                claim, self._clock(), _ms(began), error=f"Licenzy could not send it ({type(error).__name__})."
            )
        self._done.put(outcome)

    def _post(self, claim: DeliveryClaim, secrets: list[str], began: float) -> DeliveryOutcome:
        now = self._clock()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Licenzy",
            "Accept-Encoding": "identity",
            **signed_headers(claim.event_id, claim.body, with_secrets=secrets, now=now),
        }
        try:
            answer = self._http.post(claim.url, body=claim.body.encode(), headers=headers)
        except Unreachable as problem:
            return DeliveryOutcome(claim, self._clock(), _ms(began), error=str(problem))
        at = self._clock()
        return DeliveryOutcome(
            claim,
            at,
            _ms(began),
            status=answer.status,
            error=None if is_success(answer.status) else f"The endpoint answered {answer.status}.",
            answer=answer.body.decode("utf-8", "replace").replace("\x00", "\ufffd"),
            retry_after=retry_after(answer.headers, at),
        )

    def _await(self, seconds: float) -> None:
        """Take in what has come of tries: wait for the first, then a moment for others beside it."""
        until = time.monotonic() + seconds
        while True:
            try:
                outcome = self._done.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if not self._unrecorded:
                until = time.monotonic() + _LINGER_SECONDS
            self._take_in(outcome)

    def _take_in(self, outcome: DeliveryOutcome) -> None:
        endpoint_id = outcome.claim.endpoint_id
        self._under_way[endpoint_id] -= 1
        if not self._under_way[endpoint_id]:
            del self._under_way[endpoint_id]
        if outcome.sent and outcome.milliseconds < _QUICK_SECONDS * 1000:
            self._quick.add(endpoint_id)
        else:
            self._quick.discard(endpoint_id)
        self._unrecorded.append(outcome)


def _ms(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
