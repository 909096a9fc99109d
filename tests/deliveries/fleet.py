"""Several `licenzy worker` processes on one outbox, killed and begun anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func
from sqlmodel import col, select

from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Delivery, DeliveryAttempt, DeliveryStatus
from licenzy.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Fleet:
    """The processes that deliver."""

    mother: subprocess.Popen[str]
    database: Database
    pids: list[int] = field(default_factory=list)
    """Those that run, the oldest first."""
    kills: int = 0

    def start(self) -> None:
        assert self.mother.stdin is not None
        assert self.mother.stdout is not None
        self.mother.stdin.write("one more\n")
        self.mother.stdin.flush()
        self.pids.append(int(self.mother.stdout.readline()))

    def kill_one(self) -> None:
        """`kill -9` to the process that has run longest, and another in its place."""
        os.kill(self.pids.pop(0), signal.SIGKILL)
        self.kills += 1
        self.start()

    def stop(self) -> list[int]:
        """Tell those that run to stop; how they ended."""
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)
        try:
            ended = json.loads(self.mother.communicate(timeout=15)[0])
        except subprocess.TimeoutExpired:
            for pid in (*self.pids, self.mother.pid):
                os.kill(pid, signal.SIGKILL)
            raise
        return [ended[str(pid)] for pid in self.pids]

    def await_sent(self, count: int, *, seconds: float) -> None:
        """Wait until so many deliveries are sent."""
        until = time.monotonic() + seconds
        while (sent := self.count(DeliveryStatus.SENT)) < count:
            assert time.monotonic() < until, f"{sent} of {count} were sent in {seconds} s: {self.state()}"
            time.sleep(0.1)

    def count(self, status: DeliveryStatus) -> int:
        with self.database.read() as db:
            counted = select(func.count()).select_from(Delivery).where(col(Delivery.status) == status)
            return db.exec(counted).one()

    def state(self) -> Counter[str]:
        with self.database.read() as db:
            return Counter(db.exec(select(Delivery.status)).all())

    def tries(self) -> tuple[int, int]:
        """How many tries were begun, and how many of them never told how they ended."""
        with self.database.read() as db:
            begun = select(func.count()).select_from(DeliveryAttempt)
            untold = begun.where(col(DeliveryAttempt.milliseconds).is_(None))
            return db.exec(begun).one(), db.exec(untold).one()


@contextmanager
def fleet(settings: Settings, database: Database, *, size: int) -> Iterator[Fleet]:
    """`size` workers on the database of `settings`; they are stopped at the end, and must stop in order."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")},
        "LICENZY_INSTANCE": str(settings.instance),
        "LICENZY_DATABASE_URL": settings.database_url,
        "LICENZY_ALLOW_PRIVATE_WEBHOOKS": "on",
    }
    command = [sys.executable, "-m", "tests.deliveries.senders"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdin=pipe, stdout=pipe, text=True) as mother:
        made = Fleet(mother, database)
        try:
            for _ in range(size):
                made.start()
            yield made
        finally:
            statuses = made.stop()
    assert statuses == [0] * size, "a worker that is told to stop stops in good order"
