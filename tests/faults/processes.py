"""The processes that are killed: forked from a warm parent, they serve Stripe or do the worker's work."""

from __future__ import annotations

import gc
import json
import logging
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO
from typing import Any, NoReturn

from flask import Flask
from sqlalchemy.pool import QueuePool

from licenzy.runtime import Runtime
from licenzy.stripe_gateway import transport
from licenzy.worker import loop
from tests.faults.failpoints import Failpoints
from tests.faults.places import Place
from tests.faults.shop import SECRET, Break, Deliver, Mend, Step, Work
from tests.support.clock import START, StandingClock
from tests.support.purchases import signed

_MOST_SECONDS = 60


@dataclass
class Ended:
    """What came of an order: what was told before the end of it, or before the process died."""

    acknowledged: list[int] = field(default_factory=list)
    """The numbers of the steps whose event was answered with 2xx."""
    killed: dict[str, Any] | None = None
    labels: list[str] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


class Parent:
    """A process that has imported and used everything once, and has no connection open when it forks."""

    def __init__(self, app: Flask, clock: StandingClock, place: Place, address: str) -> None:
        self.app = app
        self.clock = clock
        self.place = place
        self.address = address
        self.parts: Runtime = app.extensions["licenzy"]
        self.failpoints = Failpoints()
        self.failpoints.listen(self.parts.database.engine)

    def warm_up(self, stories: Sequence[Sequence[Step]], beginning: str) -> None:
        """Do everything once in this process, so that its children find it compiled."""
        for steps in stories:
            self.place.reset(beginning)
            for step in steps:
                self.perform(step, lambda _status: None)
            self.parts.database.engine.dispose()
        # Connections to Stripe are not carried over a fork either.
        transport.client_of.cache_clear()
        transport.http_client.cache_clear()
        gc.collect()
        gc.freeze()

    def fork(self, plant: Callable[[], None] | None = None) -> Process:
        """A process that waits for orders."""
        pool = self.parts.database.engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedin() == pool.checkedout() == 0, "a connection would be carried over the fork"
        orders, our_orders = os.pipe()
        our_reports, reports = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(our_orders)
            os.close(our_reports)
            self._obey(orders, reports, plant)
        os.close(orders)
        os.close(reports)
        return Process(pid, our_orders, our_reports)

    def perform(self, step: Step, answered: Callable[[int], None]) -> None:
        """One step; `answered` is told the status as soon as it stands, before the response is closed."""
        match step:
            case Deliver(event=event):
                self._deliver(event, answered)
            case Work(after=seconds, settle=settle):
                self.clock.now = START + timedelta(seconds=seconds)
                jobs = dict(loop.JOBS)
                jobs["apply due events"](self.parts)
                if settle:
                    jobs["settle"](self.parts)
            case Break():
                self.place.refuse()
            case Mend():
                self.place.accept()

    def _deliver(self, event: dict[str, Any], answered: Callable[[int], None]) -> None:
        body, headers = signed(event, SECRET, at=self.clock.now)
        statuses: list[int] = []

        def start_response(status: str, *_: Any) -> Any:
            statuses.append(int(status[:3]))

        answer = self.app.wsgi_app(_environ(self.address, body, headers), start_response)
        list(answer)
        answered(statuses[-1])
        if hasattr(answer, "close"):
            answer.close()

    def _obey(self, orders: int, reports: int, plant: Callable[[], None] | None) -> NoReturn:
        """Follow orders until there are none, or until a failpoint ends it."""

        def report(what: dict[str, Any]) -> None:
            os.write(reports, json.dumps(what).encode() + b"\n")

        try:
            gc.disable()
            logging.disable(logging.CRITICAL)
            engine = self.parts.database.engine
            if plant is not None:
                plant()
            with os.fdopen(orders, "rb") as file:
                while True:
                    signal.alarm(_MOST_SECONDS)
                    steps, kill_at = pickle.load(file)
                    self.failpoints.arm(report, kill_at)
                    for number, step in enumerate(steps):
                        self._perform_and_report(number, step)
                    labels = self.failpoints.labels
                    engine.dispose()
                    report({"labels": labels})
        except EOFError:
            os._exit(0)
        except BaseException:
            report({"trouble": traceback.format_exc()[-1500:]})
            os._exit(1)

    def _perform_and_report(self, number: int, step: Step) -> None:
        points = self.failpoints

        def answered(status: int) -> None:
            points.pass_by("before the answer")
            assert points.report is not None
            points.report({"answered": number, "status": status})
            points.answering = False
            points.pass_by("after the answer")

        points.answering = isinstance(step, Deliver)
        points.pass_by(f"before {type(step).__name__}")
        self.clock.now = START
        self.perform(step, answered)
        points.pass_by(f"after {type(step).__name__}")


class Process:
    """A forked process, seen from its parent."""

    def __init__(self, pid: int, orders: int, reports: int) -> None:
        self.pid = pid
        self._orders = orders
        self._reports = os.fdopen(reports, "rb")
        self.alive = True

    def order(self, steps: Sequence[Step], *, kill_at: int | None = None) -> None:
        """Have the steps performed, with death at the point of this number; afterwards it is disconnected."""
        os.write(self._orders, pickle.dumps((steps, kill_at)))

    def outcome(self) -> Ended:
        """What came of the order; waits for it."""
        ended = Ended()
        for line in self._reports:
            told = json.loads(line)
            if "labels" in told:
                ended.labels = told["labels"]
                return ended
            if "killed" in told:
                ended.killed = told
            elif "trouble" in told:
                ended.trouble.append(told["trouble"])
            elif 200 <= told["status"] < 300:
                ended.acknowledged.append(told["answered"])
        status = self.end()
        if status != signal.SIGKILL or not ended.killed:
            ended.trouble.append(f"the process ended with {status}")
        return ended

    def end(self) -> int:
        """Give no more orders, and wait for the end of the process; how it ended."""
        if not self.alive:
            return 0
        self.alive = False
        os.close(self._orders)
        self._reports.close()
        return os.waitpid(self.pid, 0)[1]


def _environ(address: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": address,
        "QUERY_STRING": "",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_TYPE": headers["Content-Type"],
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_STRIPE_SIGNATURE": headers["Stripe-Signature"],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
