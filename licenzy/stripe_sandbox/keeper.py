"""Lets happen, in real time, what falls due while nobody moves a clock: expiries, renewals, trial ends."""

from __future__ import annotations

import logging
import threading

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.accounts import account_of
from licenzy.stripe_sandbox.lifecycle import clock
from licenzy.stripe_sandbox.running import Running

EVERY_SECONDS = 30.0
STOP_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Keeper:
    """A thread that looks at every account from time to time."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox-keeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Begin no further round, and give one that has begun STOP_SECONDS; whether it has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def keep(self) -> int:
        """One round over all accounts; answers how many events it gave off."""
        with self._running.store.reading() as db:
            scopes = [row["scope"] for row in db.execute("SELECT scope FROM accounts")]
        emitted = sum(self._keep_one(scope) for scope in scopes)
        if emitted:
            self._running.sender.wake()
        return emitted

    def _keep_one(self, scope: str) -> int:
        with self._running.store.writing() as db:
            session = AccountSession(db, account_of(db, scope), self._running.public_url)
            clock.catch_up(session, until=session.now)
            return len(session.emitted)

    def _run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            try:
                self.keep()
            except Exception:
                _log.exception("the sandbox could not catch up with real time")
