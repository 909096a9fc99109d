"""Load on one address: wrk where it is installed, else threads of Python."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 16
_SCRIPT = Path(__file__).with_name("load.lua")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send checks, with which key, and what is true there."""

    port: int
    key: str
    subjects: int
    truth: str
    """`parity`: even subjects are allowed. `constant`: every answer says yes."""

    def expected(self, number: int) -> bool:
        return self.truth == "constant" or number % 2 == 0


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of load came to."""

    right: int
    wrong: int
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
    return _with_wrk(target, seconds) if shutil.which("wrk") else _with_python(target, seconds)


def verify(target: Target, *, calls: int) -> None:
    """Ask one after the other and hold each answer against the very subject that was asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
    draw = random.Random(20_261_123)
    for _ in range(calls):
        number = draw.randrange(target.subjects)
        told = _ask(connection, target, number)
        truth = {"subject_ref": f"user_{number}", "allowed": target.expected(number)}
        assert told == truth, f"{told} instead of {truth}"
    connection.close()


def _with_wrk(target: Target, seconds: float) -> Round:
    environ = {
        **os.environ,
        "BENCH_KEY": target.key,
        "BENCH_SUBJECTS": str(target.subjects),
        "BENCH_TRUTH": target.truth,
    }
    command = ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(_SCRIPT)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{target.port}"], env=environ, capture_output=True, text=True, check=True
    )
    told = re.search(
        r"BENCH right=(\d+) wrong=(\d+) yes=(\d+) failed=(\d+) seconds=([\d.]+) p50=([\d.]+) p99=([\d.]+)",
        done.stdout,
    )
    assert told is not None, done.stdout + done.stderr
    example = re.search(r"BENCH-EXAMPLE (.*)", done.stdout)
    right, wrong, yes, failed = (int(told.group(n)) for n in range(1, 5))
    rate, p50, p99 = (float(told.group(n)) for n in range(5, 8))
    return Round(right, wrong + failed, yes, rate, p50, p99, example.group(1) if example else "")


def _with_python(target: Target, seconds: float) -> Round:
    until = time.monotonic() + seconds
    taken: list[float] = []
    wrong: list[str] = []
    yes: list[bool] = []

    def ask_on() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=10)
        while (began := time.monotonic()) < until:
            number = random.randrange(target.subjects)
            told = _ask(connection, target, number)
            taken.append(time.monotonic() - began)
            if told.get("allowed") is target.expected(number):
                yes.append(bool(told["allowed"]))
            else:
                wrong.append(str(told))
        connection.close()

    threads = [threading.Thread(target=ask_on) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken.sort()
    return Round(
        right=len(yes),
        wrong=len(wrong),
        yes=sum(yes),
        seconds=seconds,
        p50_ms=1000 * taken[len(taken) // 2],
        p99_ms=1000 * taken[len(taken) * 99 // 100],
        example=wrong[0] if wrong else "",
    )


def _ask(connection: http.client.HTTPConnection, target: Target, number: int) -> dict[str, object]:
    headers = {"Authorization": f"Bearer {target.key}", "Content-Type": "application/json"}
    body = json.dumps({"subject_ref": f"user_{number}"})
    connection.request("POST", "/v1/access/check", body, headers)
    answer: dict[str, object] = json.loads(connection.getresponse().read())
    return answer
