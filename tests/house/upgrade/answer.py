"""Answer requests by the code first on the path: `python -P answer.py REQUESTS ANSWERS`.

Both are files of JSON lines.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from flask import Flask

from licenzy.factory import create_app
from licenzy.settings import load_settings
from tests.support.clock import StandingClock


@dataclass(frozen=True, slots=True)
class Request:
    """One request, and the instant at which it arrives."""

    at: datetime
    method: str
    path: str
    headers: dict[str, str]
    body: str | None
    reserved_by: int | None = None
    """The place of the request whose answer has the reservation that `{}` of the path stands for."""

    def __str__(self) -> str:
        key = self.headers.get("Idempotency-Key", "")
        return f"{self.at:%d %b %H:%M:%S} {self.method} {self.path} {self.body or ''} {key}".rstrip()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client sees of an answer, but for what is another one each time."""

    status: int
    headers: dict[str, str]
    body: Any


def answered(app: Flask, clock: StandingClock, requests: Iterable[Request]) -> Iterator[Answer]:
    """The answers, one after the other, each at its instant."""
    client, base_url = app.test_client(), app.extensions["licenzy"].settings.base_url
    answers: list[Answer] = []
    for request in requests:
        clock.now = request.at
        path = request.path
        if request.reserved_by is not None:
            path = path.format(answers[request.reserved_by].body.get("reservation_id", "rsv_none"))
        found = client.open(
            path, method=request.method, headers=request.headers, data=request.body, base_url=base_url
        )
        body = found.get_json(silent=True)
        if isinstance(body, dict):
            body.pop("request_id", None)
        headers = {
            name: value
            for name, value in found.headers.items()
            if name not in {"Licenzy-Request-Id", "Content-Length", "Date"}
        }
        answers.append(Answer(found.status_code, headers, body))
        yield answers[-1]


def write_lines(path: Path, values: Iterable[Request | Answer]) -> None:
    path.write_bytes(b"".join(orjson.dumps(asdict(each)) + b"\n" for each in values))


def read_requests(path: Path) -> list[Request]:
    found = [Request(**orjson.loads(line)) for line in path.read_bytes().splitlines()]
    return [replace(each, at=datetime.fromisoformat(str(each.at))) for each in found]


def read_answers(path: Path) -> list[Answer]:
    return [Answer(**orjson.loads(line)) for line in path.read_bytes().splitlines()]


def main(requests: Path, answers: Path) -> None:
    clock = StandingClock()
    app = create_app(replace(load_settings(), testing=True), clock=clock)
    write_lines(answers, answered(app, clock, read_requests(requests)))
    app.extensions["licenzy"].database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
