"""The hot path's parts as tests use them: a committer for any statement, a reader on a loop of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Flask, Response
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Response as WerkzeugResponse

from licenzy.api.reply import Reply
from licenzy.db.unit_of_work import Database
from licenzy.hotpath.consume_sql import Run
from licenzy.hotpath.group_commit import GroupCommitter
from licenzy.hotpath.readers import make_reader
from licenzy.hotpath.snapshot import SnapshotReader, SubjectSnapshot
from licenzy.hotpath.sqlite_batches import SqliteBatches
from licenzy.kit import deadline
from licenzy.server.limits import route_of
from tests.support.loops import run_on_a_loop

T = TypeVar("T")
Work = Callable[[Run], Any]
"""Something to write: what it gives is its result."""


def make_writer(database: Database) -> Writer:
    """Writes pieces to SQLite through a committer of its own, which ends with the database."""
    batches: SqliteBatches[Work, Any] = SqliteBatches(database, _all)
    return Writer(GroupCommitter(database, batches, name="tests"), batches)


def _all(run: Run, pieces: Sequence[Work]) -> list[Any]:
    return [piece(run) for piece in pieces]


@dataclass
class Writer:
    """A committer for pieces, and what it writes with."""

    committer: GroupCommitter[Work, Any]
    batches: SqliteBatches[Work, Any]

    def run(self, piece: Work) -> Any:
        """For callers in threads, within the deadline that they have."""
        return self.committer.run(piece, ends_at=deadline.ends_at())

    @property
    def waiting(self) -> int:
        """How many callers wait for their turn or are being written for."""
        return len(self.committer._waiting) + len(self.committer._under_way)


def on_a_loop(
    database: Database, work: Callable[[SnapshotReader], Coroutine[Any, Any, T]], *, prepares: bool = True
) -> T:
    """What `work` gives with a reader, on a loop of its own, which closes the reader."""

    async def run() -> T:
        reader = make_reader(database, prepares=prepares)
        try:
            return await work(reader)
        finally:
            await reader.close()

    return run_on_a_loop(run())


def read_once(
    database: Database, key_hash: str = "none", ref: str = "nobody", *, seconds: float = 5.0
) -> SubjectSnapshot | None:
    """One snapshot, on a loop of its own."""
    return on_a_loop(database, lambda reader: reader.read(key_hash, ref, ends_at=time.monotonic() + seconds))


def called(app: Flask, *requests: Incoming) -> list[Reply | None]:
    """The answers to these, called at once on a loop of their own."""
    hot = app.extensions["licenzy_on_the_loop"]

    async def run() -> list[Reply | None]:
        await hot.open()
        try:
            return list(await asyncio.gather(*(hot.calls[each.method, each.path](each) for each in requests)))
        finally:
            await hot.close()

    return run_on_a_loop(run())


class LoopClient:
    """Posts on an event loop what a test client posts to the routes.

    Gives none for what is left to Flask, and for what the front does not let through to the loop.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app

    def post(self, path: str, **request: Any) -> Response | None:
        sent = EnvironBuilder(path, method="POST", **request).get_environ()
        body: bytes = sent["wsgi.input"].read()
        if len(body) > route_of(path).most_bytes:
            return None
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value if value.isascii() else "\ufffd"
            for name, value in sent.items()
            if name.startswith("HTTP_") or name == "CONTENT_TYPE"
        }
        incoming = Incoming("", path, body, {"authorization": None, "content-type": "", **headers})
        incoming.query = sent["QUERY_STRING"]
        (reply,) = called(self._app, incoming)
        return Response(reply.body, reply.status, reply.headers) if reply is not None else None


def compared_parts(answer: WerkzeugResponse) -> tuple[int, dict[str, Any], dict[str, str]]:
    """What must be equal in a route's answer and the loop's: status, body without its id, and headers."""
    body = answer.get_json()
    body.pop("request_id", None)
    compared_headers = ("Content-Type", "Licenzy-Mode", "WWW-Authenticate")
    headers = {name: answer.headers[name] for name in compared_headers if name in answer.headers}
    return answer.status_code, body, headers


@dataclass
class Incoming:
    """A request as the front hands it over."""

    token: str
    path: str
    body: bytes
    headers: Mapping[str, str | None] = field(default_factory=dict)
    query: str = ""
    method: str = "POST"
    arrived: float = field(default_factory=time.monotonic)

    def header(self, name: str) -> str | None:
        known = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        return {**known, **self.headers}.get(name)
