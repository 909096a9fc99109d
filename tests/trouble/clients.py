"""Who calls while the database is in trouble: one client for each route, and the answers that each got."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask

from tests.support.purchases import signed
from tests.trouble.installation import CONSUMER, RESERVER, SECRET, WORKERS, Installation, Web

LIMIT_SECONDS = 6.0
"""How long an answer may take: the five seconds that every caller has, and one for a busy machine."""
HEALTHZ_SECONDS = 1.0
"""How long the process may take to say that it lives, whatever the database does."""
GIVE_UP_SECONDS = 10.0
"""When a client stops waiting for an answer that is too late already."""
_PAUSE_SECONDS = 0.03
_AGAIN = 0.2
"""How often something that was acknowledged is sent once more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: str

    def json(self) -> Any:
        """The body as JSON; None when it is something else."""
        with suppress(ValueError):
            return json.loads(self.body)
        return None


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent."""

    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a route, and how it went."""

    route: str
    began: float
    seconds: float
    status: int
    """0 when there was no answer."""
    wrong: str
    """What no answer of this route may be, whatever trouble the database is in; empty when it is right."""

    @property
    def well(self) -> bool:
        return not self.wrong and self.status != 503


class RouteClient:
    """A client of one route. `next` gives what to send; `note_answer` receives the answer."""

    name = ""
    well: frozenset[int] = frozenset({200})
    may_fail = True
    """Whether 503 is an answer it may give."""
    pages = False
    """Whether it speaks HTML."""

    def __init__(self, installation: Installation, *, first: int = 0) -> None:
        self.installation = installation
        self._first = first
        """Its calls are numbered from here, so that several clients of a route send different ones."""

    def next(self) -> Request:
        raise NotImplementedError

    def note_answer(self, answer: Answer | None) -> None:
        """What was answered; None when there was no answer."""

    def mistake(self, answer: Answer) -> str:
        """What is wrong with an answer that says it is well; empty when nothing is."""
        return ""

    def _post(self, path: str, payload: dict[str, Any], **headers: str) -> Request:
        sent = {"Authorization": f"Bearer {self.installation.token}", "Content-Type": "application/json"}
        return Request("POST", path, json.dumps(payload).encode(), sent | headers)


class Healthz(RouteClient):
    name, may_fail = "healthz", False

    def next(self) -> Request:
        return Request("GET", "/healthz")


class Readyz(RouteClient):
    name = "readyz"

    def next(self) -> Request:
        return Request("GET", "/readyz")


class SignInPage(RouteClient):
    name, pages = "sign-in page", True

    def next(self) -> Request:
        return Request("GET", "/sign-in")


class SignedInPage(RouteClient):
    name, pages = "signed-in page", True

    def next(self) -> Request:
        return Request("GET", self.installation.page_path, headers={"Cookie": self.installation.cookie})


class Check(RouteClient):
    name = "check"

    def next(self) -> Request:
        return self._post("/v1/access/check", {"subject_ref": CONSUMER})

    def mistake(self, answer: Answer) -> str:
        return "" if answer.json().get("allowed") is True else "was denied"


class Repeating(RouteClient):
    """A client that repeats a call until it is acknowledged, and now and then after."""

    def __init__(self, installation: Installation, *, first: int = 0) -> None:
        super().__init__(installation, first=first)
        self.answered: list[dict[str, Any]] = []
        """Each time a call was sent: what it was, and what was answered."""
        self._chance = random.Random(f"{self.name} {first}")
        self._numbers = itertools.count(first)
        self._open: dict[str, Any] | None = None
        self._sent: dict[str, Any] = {}
        self._done: list[dict[str, Any]] = []

    def next(self) -> Request:
        if self._open is None:
            again = self._done and self._chance.random() < _AGAIN
            self._sent = self._chance.choice(self._done[-50:]) if again else self._fresh()
            self._open = None if again else self._sent
        else:
            self._sent = self._open
        return self._request(self._sent)

    def note_answer(self, answer: Answer | None) -> None:
        if answer is None:
            self.answered.append(self._sent | {"broken": True})
            return
        replayed = "idempotent-replayed" in answer.headers
        said = {"status": answer.status, "replayed": replayed, "body": answer.body}
        self.answered.append(self._sent | said)
        if answer.status in self.well and self._open is self._sent:
            self._done.append(self._sent)
            self._open = None

    @property
    def acknowledged(self) -> list[dict[str, Any]]:
        return [each for each in self.answered if each.get("status") in self.well]

    def repeats(self) -> list[dict[str, Any]]:
        """Everything that was ever sent, once: for sending all of it again in the end."""
        return list({each["key"]: each for each in self.answered}.values())

    def say(self, what: dict[str, Any]) -> Request:
        """Something that was sent before, as it was sent."""
        self._sent = what
        return self._request(what)

    def _fresh(self) -> dict[str, Any]:
        raise NotImplementedError

    def _request(self, what: dict[str, Any]) -> Request:
        raise NotImplementedError


class Consume(Repeating):
    name = "consume"

    def _fresh(self) -> dict[str, Any]:
        units = self._chance.randint(1, 9)
        return {"key": f"consume-{next(self._numbers)}", "subject": CONSUMER, "units": units}

    def _request(self, what: dict[str, Any]) -> Request:
        payload = {"subject_ref": what["subject"], "units": what["units"]}
        return self._post("/v1/usage/consume", payload, **{"Idempotency-Key": what["key"]})


class Reserve(Repeating):
    """Sets units aside, then commits some of them."""

    name, well = "reserve and commit", frozenset({200, 201})

    def __init__(self, installation: Installation, *, first: int = 0) -> None:
        super().__init__(installation, first=first)
        self._to_commit: dict[str, Any] | None = None

    def note_answer(self, answer: Answer | None) -> None:
        super().note_answer(answer)
        if answer is None or answer.status != 201 or self._open is not None:
            return
        reservation = answer.json()["reservation_id"]
        if "idempotent-replayed" not in answer.headers:
            units = self._chance.randint(1, self._sent["units"])
            self._to_commit = {"key": f"commit of {reservation}", "commit": reservation, "units": units}

    def _fresh(self) -> dict[str, Any]:
        if self._to_commit is not None:
            due, self._to_commit = self._to_commit, None
            return due
        return {"key": f"reserve-{next(self._numbers)}", "units": self._chance.randint(1, 9)}

    def _request(self, what: dict[str, Any]) -> Request:
        if "commit" in what:
            return self._post(f"/v1/usage/reservations/{what['commit']}/commit", {"units": what["units"]})
        payload = {"subject_ref": RESERVER, "units": what["units"], "ttl_seconds": 3600}
        return self._post("/v1/usage/reserve", payload, **{"Idempotency-Key": what["key"]})


class Webhook(Repeating):
    """Stripe, which tells of payments."""

    name = "webhook"

    def _fresh(self) -> dict[str, Any]:
        number = next(self._numbers) % len(self.installation.events)
        return {"key": self.installation.events[number]["id"], "event": number}

    def _request(self, what: dict[str, Any]) -> Request:
        event = self.installation.events[what["event"]]
        body, headers = signed(event, SECRET, at=datetime.now(UTC))
        return Request("POST", self.installation.webhook_path, body, headers)


ROUTE_CLIENTS: tuple[type[RouteClient], ...] = (
    Check,
    Consume,
    Reserve,
    Webhook,
    SignInPage,
    SignedInPage,
    Readyz,
    Healthz,
)
"""As many as there are threads, and as many of them for each process as it has."""


class Connection:
    """A client's kept-alive connection to one process of the product, opened anew when it breaks."""

    def __init__(self, web: Web, process: int) -> None:
        self._web, self._process = web, process
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, request: Request) -> Answer:
        """Raises OSError and HTTPException when there is no answer."""
        if self._connection is not None:
            # A server may close what is idle, and a client learns of it when it wants to say something.
            with suppress(BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected):
                return self._asked(self._connection, request)
        return self._asked(self._opened(), request)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _asked(self, connection: http.client.HTTPConnection, request: Request) -> Answer:
        try:
            connection.request(request.method, request.path, request.body, request.headers)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read().decode())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def _opened(self) -> http.client.HTTPConnection:
        self._connection = http.client.HTTPConnection("127.0.0.1", self._web.port, timeout=GIVE_UP_SECONDS)
        self._connection.sock = self._web.connect(self._process, timeout=GIVE_UP_SECONDS)
        return self._connection


def answer_in_process(app: Flask, request: Request) -> Answer:
    """What the product answers, called without any server."""
    client = app.test_client(use_cookies=False)
    answer = client.open(request.path, method=request.method, data=request.body, headers=request.headers)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Answer(answer.status_code, headers, answer.text)


def ask(line: Connection, client: RouteClient, request: Request) -> Call:
    """Send the request, give the client its answer, and judge it."""
    began = time.monotonic()
    try:
        answer = line.ask(request)
    except (OSError, http.client.HTTPException) as error:
        seconds = time.monotonic() - began
        client.note_answer(None)
        return Call(client.name, began, seconds, 0, f"no answer: {type(error).__name__}")
    seconds = time.monotonic() - began
    client.note_answer(answer)
    wrong = _mistake(client, answer)
    if not wrong and seconds > LIMIT_SECONDS:
        wrong = f"late: answered {answer.status} after {seconds:.1f} s"
    return Call(client.name, began, seconds, answer.status, wrong)


def _mistake(client: RouteClient, answer: Answer) -> str:
    if client.pages == (answer.json() is not None):
        return f"{answer.status} in the wrong format: {answer.body[:80]!r}"
    if answer.status in client.well:
        return client.mistake(answer)
    if answer.status != 503 or not client.may_fail:
        return f"{answer.status}: {answer.body[:120]!r}"
    if not answer.headers.get("retry-after", "").isdigit():
        return "503 without Retry-After"
    if not client.pages and answer.json().get("error") != "database_unavailable":
        return f"503: {answer.body[:120]!r}"
    return ""


class Load:
    """All routes called at once, over and over, until it is stopped."""

    def __init__(self, web: Web, route_clients: Sequence[RouteClient]) -> None:
        self.calls: list[Call] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run, args=(Connection(web, number % WORKERS), client), name=client.name
            )
            for number, client in enumerate(route_clients)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let every client have its answer, and end."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(4 * GIVE_UP_SECONDS)
            assert not thread.is_alive(), f"the client of {thread.name} hangs"

    def _run(self, line: Connection, client: RouteClient) -> None:
        while not self._stopping.is_set():
            self.calls.append(ask(line, client, client.next()))
            self._stopping.wait(_PAUSE_SECONDS)
        line.close()


def table(calls: Iterable[tuple[str, Call]]) -> str:
    """A line per route and phase: how many calls, how they went, and the slowest."""
    found: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for phase, call in calls:
        found[call.route, phase].append(call)
    lines = [f"{'route':18} {'phase':8} {'calls':>5} {'well':>5} {'503':>5} {'wrong':>5} {'slowest':>9}"]
    for name in [client.name for client in ROUTE_CLIENTS]:
        for phase in ("before", "trouble", "after"):
            those = found[name, phase]
            well = sum(each.well for each in those)
            refused = sum(each.status == 503 for each in those)
            wrong = sum(bool(each.wrong) for each in those)
            slowest = max((each.seconds for each in those), default=0.0)
            lines.append(
                f"{name:18} {phase:8} {len(those):5} {well:5} {refused:5} {wrong:5} {slowest:7.2f} s"
            )
    return "\n".join(lines)


def wait_for(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came true within the time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
