"""Places where a process can die: around every SQL statement, every commit, every answer, every call out.

They are found by listening to SQLAlchemy, so a statement that somebody adds is one more of them without
anybody naming it.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

import requests.adapters
from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from tests.support.patches import replace

WRITERS = ("INSERT", "UPDATE", "DELETE")
_LABEL = 60

Report = Callable[[dict[str, Any]], None]


class Failpoints:
    """Counts the points that this process passes; at number `kill_at` it tells its state and kills itself."""

    def __init__(self) -> None:
        self.report: Report | None = None
        self.kill_at: int | None = None
        self.labels: list[str] = []
        self.in_transaction = False
        self.has_written = False
        self.answering = False

    def arm(self, report: Report, kill_at: int | None) -> None:
        """Count from here."""
        self.report, self.kill_at, self.labels = report, kill_at, []

    def pass_by(self, label: str) -> None:
        """Die here if it is our turn."""
        if self.report is None:
            return
        self.labels.append(label)
        if len(self.labels) != self.kill_at:
            return
        self.report(
            {
                "killed": label,
                "in_flight": self.in_transaction or self.answering,
                "uncommitted": self.has_written,
            }
        )
        os.kill(os.getpid(), signal.SIGKILL)

    def listen(self, engine: Engine) -> None:
        """Attach to everything that this process and its children do from now on."""
        event.listen(engine, "begin", self._begun)
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        event.listen(engine, "commit", lambda _connection: self.pass_by("before COMMIT"))
        event.listen(engine, "rollback", lambda _connection: self.pass_by("before ROLLBACK"))
        event.listen(Session, "after_commit", self._committed)
        event.listen(engine, "checkin", self._given_back)
        self._listen_to_calls_out()

    def _begun(self, _connection: Any) -> None:
        self.in_transaction, self.has_written = True, False

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.pass_by(f"before {_short(statement)}")

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        self.has_written |= statement.startswith(WRITERS)
        self.pass_by(f"after {_short(statement)}")

    def _committed(self, _session: Any) -> None:
        self.in_transaction = self.has_written = False
        self.pass_by("after COMMIT")

    def _given_back(self, _connection: Any, _record: Any) -> None:
        self.in_transaction = self.has_written = False
        self.pass_by("connection given back")

    def _listen_to_calls_out(self) -> None:
        send = requests.adapters.HTTPAdapter.send

        def watched(adapter: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            self.pass_by(f"before the call {request.method} {request.path_url[:30]}")
            answer = send(adapter, request, *args, **kwargs)
            self.pass_by(f"after the call {request.method} {request.path_url[:30]}")
            return answer

        replace(requests.adapters.HTTPAdapter, send=watched)


@functools.cache
def _short(statement: str) -> str:
    return " ".join(statement.split())[:_LABEL]
