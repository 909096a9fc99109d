"""Load on one address: wrk where it is installed, else threads of Python."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path

from tests.bench.apps import ANSWER
from tests.bench.shop import PACKS, Shop, write_events

CONNECTIONS = 64 if shutil.which("wrk") else 8
_PATHS = {
    "check": "/v1/access/check",
    "constant": "/v1/access/check",
    "healthz": "/healthz",
    "consume": "/v1/usage/consume",
    "hot": "/v1/usage/consume",
    "plan": "/v1/access/check",
    "window": "/v1/usage/consume",
}
_OF_PACKS = frozenset({"consume", "plan", "window"})
MOST_EVENTS_A_SECOND = 3000
_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send which call.

    `call` is `check`, `constant` (the same against an application that always says yes), `healthz`, `consume`
    (one unit of a usage pack drawn from many), `hot` (always of the same one), `plan` (a check of who has a
    plan with included units), `window` (one unit of such a plan) or `webhook`.
    """

    port: int
    shop: Shop
    call: str = "check"

    @property
    def path(self) -> str:
        if self.call == "webhook":
            return f"/v1/webhooks/stripe/{self.shop.connection_id}"
        return _PATHS[self.call]


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load came to.

    `unanswered` are calls that got 503, or nothing in time.
    """

    right: int
    wrong: int
    unanswered: int
    yes: int
    seconds: float
    p50_ms: float
    p99_ms: float
    example: str = ""

    @property
    def per_second(self) -> float:
        return self.right / self.seconds


def generator() -> str:
    """Which load generator this machine has."""
    return "wrk" if shutil.which("wrk") else "Python threads"


def load(target: Target, *, seconds: float) -> Round:
    """Ask as fast as the server answers for so many seconds; every answer is compared."""
    with tempfile.TemporaryDirectory(prefix="licenzy-load-") as folder:
        events = Path(folder) / "events"
        if target.call == "webhook":
            write_events(target.shop, events, count=int(MOST_EVENTS_A_SECOND * seconds))
        ask = _with_wrk if shutil.which("wrk") else _with_python
        return ask(target, seconds, events)


def verify(target: Target, *, calls: int) -> None:
    """Ask one after the other and hold each answer against the very subject that was asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    draw = random.Random(20_261_123)
    for _ in range(calls):
        number = draw.randrange(target.shop.subjects)
        body = json.dumps({"subject_ref": f"user_{number}"}).encode()
        status, answer = _send(connection, target.path, body, {"Authorization": f"Bearer {target.shop.key}"})
        truth = {"subject_ref": f"user_{number}", "allowed": number % 2 == 0}
        assert (status, json.loads(answer)) == (200, truth), f"{answer!r} instead of {truth}"
    connection.close()


def _with_wrk(target: Target, seconds: float, events: Path) -> Round:
    environ = {
        **os.environ,
        "BENCH_CALL": target.call,
        "BENCH_KEY": target.shop.key,
        "BENCH_COUNT": str(PACKS if target.call in _OF_PACKS else target.shop.subjects),
        "BENCH_RUN": secrets.token_hex(6),
        "BENCH_PATH": target.path,
        "BENCH_EVENTS": str(events),
    }
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(_SCRIPT)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{target.port}"], env=environ, capture_output=True, text=True, check=True
    )
    told = re.search(
        r"BENCH right=(\d+) wrong=(\d+) unanswered=(\d+) yes=(\d+) "
        r"seconds=([\d.]+) p50=([\d.]+) p99=([\d.]+)",
        done.stdout,
    )
    assert told is not None, done.stdout + done.stderr
    example = re.search(r"BENCH-EXAMPLE (.*)", done.stdout)
    right, wrong, unanswered, yes = (int(told.group(n)) for n in range(1, 5))
    taken, p50, p99 = (float(told.group(n)) for n in range(5, 8))
    return Round(right, wrong, unanswered, yes, taken, p50, p99, example.group(1) if example else "")


Request = tuple[bytes, dict[str, str]]


_NOTHING: Request = (b"", {})


@dataclass(slots=True)
class _Tally:
    taken: list[float] = field(default_factory=list)
    yes: list[bool] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    unanswered: int = 0


def _with_python(target: Target, seconds: float, events: Path) -> Round:
    until = time.monotonic() + seconds
    tally, requests = _Tally(), _requests(target, events)
    guard = threading.Lock()

    def ask_on() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
        while (began := time.monotonic()) < until:
            with guard:
                body, headers = next(requests)
            status, answer = _sent(connection, target.path, body, headers)
            tally.taken.append(time.monotonic() - began)
            says = _JUDGES[target.call](body, answer) if status == 200 else None
            if status == 503:
                tally.unanswered += 1
            elif says is None:
                tally.wrong.append(f"{status} {answer[:150]!r}")
            else:
                tally.yes.append(says)
        connection.close()

    threads = [threading.Thread(target=ask_on) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = sorted(tally.taken)
    return Round(
        right=len(tally.yes),
        wrong=len(tally.wrong),
        unanswered=tally.unanswered,
        yes=sum(tally.yes),
        seconds=seconds,
        p50_ms=1000 * taken[len(taken) // 2],
        p99_ms=1000 * taken[len(taken) * 99 // 100],
        example=tally.wrong[0] if tally.wrong else "",
    )


def _requests(target: Target, events: Path) -> Iterator[Request]:
    """Bodies and headers of the calls, without end (webhooks: as many as were signed)."""
    if target.call == "webhook":
        with events.open(encoding="utf-8") as lines:
            for line in lines:
                signature, _, body = line.rstrip("\n").partition("\t")
                yield body.encode(), {"Stripe-Signature": signature}
        return
    if target.call == "healthz":
        yield from repeat(_NOTHING)
    headers, run = {"Authorization": f"Bearer {target.shop.key}"}, secrets.token_hex(6)
    for number in count():
        if target.call in {"check", "constant"}:
            yield b'{"subject_ref": "user_%d"}' % random.randrange(target.shop.subjects), headers
        elif target.call == "plan":
            yield b'{"subject_ref": "plan_%d"}' % random.randrange(PACKS), headers
        elif target.call == "window":
            consumed = f'{{"subject_ref": "plan_{random.randrange(PACKS)}", "units": 1, "unit": "images"}}'
            yield consumed.encode(), {**headers, "Idempotency-Key": f"{run}-{number}"}
        else:
            ref = "hot" if target.call == "hot" else str(random.randrange(PACKS))
            consumed = f'{{"subject_ref": "pack_{ref}", "units": 1}}'
            yield consumed.encode(), {**headers, "Idempotency-Key": f"{run}-{number}"}


def _truth(body: bytes, answer: bytes) -> bool | None:
    told = json.loads(answer)
    allowed = int(told["subject_ref"].removeprefix("user_")) % 2 == 0
    right = told == {**json.loads(body), "allowed": allowed}
    return allowed if right else None


def _consumed(_body: bytes, answer: bytes) -> bool | None:
    told = json.loads(answer)
    return True if told.get("ok") is True and told.get("consumed") == 1 else None


_JUDGES: dict[str, Callable[[bytes, bytes], bool | None]] = {
    "check": _truth,
    "constant": lambda _body, answer: True if answer == ANSWER else None,
    "consume": _consumed,
    "hot": _consumed,
    "window": _consumed,
    "plan": lambda body, answer: (
        True if json.loads(answer) == {**json.loads(body), "allowed": True} else None
    ),
    "healthz": lambda _body, answer: True if json.loads(answer) == {"status": "ok"} else None,
    "webhook": lambda _body, _answer: True,
}
"""Whether an answer says yes; none when it is not the right one."""


def _sent(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    """Send it once more where the connection was closed, as clients do; 503 when that is no use either."""
    for _ in range(2):
        try:
            return _send(connection, path, body, headers)
        except (OSError, http.client.HTTPException):
            connection.close()
    return 503, b""


def _send(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    """POST the body; GET where there is none."""
    connection.request(
        "POST" if body else "GET", path, body or None, {"Content-Type": "application/json", **headers}
    )
    answer = connection.getresponse()
    return answer.status, answer.read()
