"""Runs, in real time, what falls due while nobody moves a clock: expiries, renewals, trial ends."""

from __future__ import annotations

import logging
import threading

from licenzy.stripe_sandbox import advances
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import account_of
from licenzy.stripe_sandbox.lifecycle import clock
from licenzy.stripe_sandbox.services import Services

INTERVAL_SECONDS = 30.0
STOP_SECONDS = 1.0
_MOST_IN_A_TRANSACTION = 20
_BETWEEN_SECONDS = 0.01
"""Others can write in between, however much fell due while the machine slept."""
_log = logging.getLogger(__name__)


class Scheduler:
    """A thread that runs every account's due work from time to time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sandbox-scheduler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> bool:
        """Begin no further round, and give one that has begun STOP_SECONDS; whether it has ended."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
        return not self._thread.is_alive()

    def run_due(self) -> int:
        """One round over all accounts; returns how many events it emitted."""
        with self._services.store.reading() as db:
            scopes = [row["scope"] for row in db.execute("SELECT scope FROM accounts")]
        emitted = sum(self._run_account(scope) for scope in scopes)
        if emitted:
            self._services.sender.wake()
        return emitted

    def _run_account(self, scope: str) -> int:
        emitted, is_done = 0, False
        while not is_done and not self._stopped.is_set():
            with self._services.store.writing() as db:
                if advances.running(db, scope) is not None:
                    break  # The move runs it, and delivers its events as was asked.
                session = AccountStore(db, account_of(db, scope), self._services.public_url)
                is_done = clock.run_due(session, until=session.now, at_most=_MOST_IN_A_TRANSACTION)
                emitted += len(session.emitted)
            if not is_done:
                self._stopped.wait(_BETWEEN_SECONDS)
        return emitted

    def _run(self) -> None:
        while not self._stopped.wait(INTERVAL_SECONDS):
            try:
                self.run_due()
            except Exception:
                _log.exception("the sandbox could not catch up with real time")
