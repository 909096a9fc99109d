"""What answers every connection of a web process: a small application of Granian's RSGI interface.

It reads bodies on the loop, so that no client holds a thread with a slow one. Calls that need no thread are
answered on the loop; everything else is run by the Flask application, in threads, and its answer is sent
whole.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import IO, Any, NamedTuple, Protocol

from flask import Flask
from granian._granian import RSGIProtocolClosed

from licenzy.errors import LicenzyError, Overloaded
from licenzy.kit import deadline
from licenzy.kit.ids import new_id
from licenzy.server.bodies import Bodies, ignore
from licenzy.server.http_hardening import PROBES, address_problem, security_headers
from licenzy.server.limits import Queue, Route, declared_length, route_of
from licenzy.server.proxies import TrustedProxies
from licenzy.server.refusals import Refusals, json_headers
from licenzy.server.threads import Job, Threads
from licenzy.server.wsgi import Headers, RsgiScope, WsgiResponse, answer_of, environ_of, header
from licenzy.settings import Settings

_FILE_SECONDS = 60.0
"""How long the file of an answer is kept; the server opens it anew, at once."""
_SOON_SECONDS = 0.05
"""What a thread has not begun by then is looked after while it waits."""
_SERVER = ("Server", "Licenzy")
_CLOSE = ("Connection", "close")
_ALIVE = b'{"status":"ok"}'

_log = logging.getLogger("licenzy.server")


class FinishedReply(Protocol):
    """A finished answer."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def body(self) -> bytes: ...


class RsgiRequest:
    """A request whose body is whole, for what answers on the loop."""

    __slots__ = ("_headers", "_scope", "arrived", "body", "method", "path")

    def __init__(self, scope: RsgiScope, headers: Headers, method: str, path: str) -> None:
        self._scope, self._headers = scope, headers
        self.method, self.path = method, path
        self.body = b""
        self.arrived = 0.0
        """When the body was whole, in seconds of the monotonic clock."""

    @property
    def query(self) -> str:
        """What follows the question mark, as it was sent."""
        return self._scope.query_string

    def header(self, name: str) -> str | None:
        """The value of a header, whose name is given in lower case; repeated ones are joined by commas.

        U+FFFD for one that was sent with a value that cannot be told.
        """
        return header(self._headers, name)


HotCall = Callable[[RsgiRequest], Awaitable[FinishedReply | None]]
"""Answers a call on the loop; None when it takes more than that, and the application shall answer it."""


class OnTheLoop(Protocol):
    """What answers some calls on the loop; `open` and `close` are called there, once each."""

    @property
    def calls(self) -> Mapping[tuple[str, str], HotCall]:
        """By method and path."""
        ...

    async def open(self) -> None: ...
    async def close(self) -> None: ...


class Front:
    """Answers the requests of one process. `open`, `answer` and `close` belong to one loop.

    What `app.extensions["licenzy_on_the_loop"]` holds, an `OnTheLoop`, answers its calls there.
    """

    def __init__(self, app: Flask, settings: Settings) -> None:
        self._app = app
        self._base_host, self._https = settings.base_host, settings.https
        self._always = [*security_headers(https=settings.https), _SERVER]
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._bodies = Bodies(self._proxies)
        self._refusals = Refusals(app, settings.base_url)
        self._threads = Threads(settings.threads)
        self._on_the_loop: OnTheLoop | None = app.extensions.get("licenzy_on_the_loop")
        calls: dict[tuple[str, str], HotCall] = {
            ("GET", "/healthz"): _healthz,
            ("HEAD", "/healthz"): _healthz,
        }
        if self._on_the_loop is not None:
            calls.update(self._on_the_loop.calls)
        self._calls = {route_key: (call, route_of(route_key[1])) for route_key, call in calls.items()}
        self._waiting: set[asyncio.Future[WsgiResponse | None]] = set()
        """For threads to answer."""
        self._under_way = 0
        self._stopping = False
        self._files: dict[IO[bytes], asyncio.TimerHandle] = {}

    async def open(self) -> None:
        """Begin; before the first request."""
        self._loop = asyncio.get_running_loop()
        if self._on_the_loop is not None:
            await self._on_the_loop.open()
        self._threads.open()
        self._bodies.open()

    async def close(self, seconds: float) -> None:
        """Refuse bodies that are not whole, wait so long for what is under way, and end."""
        self._stopping = True
        until = time.monotonic() + seconds
        self._bodies.end_all(_stopped())
        while self._under_way and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for future in self._waiting:
            _fail(future, _stopped(hint="Repeat the call with the same Idempotency-Key."))
        for _ in range(5):
            if self._under_way:  # Those are being told so.
                await asyncio.sleep(0.01)
        self._bodies.close()
        for file in list(self._files):
            self._forget(file)
        self._threads.close()
        if self._on_the_loop is not None:
            await self._on_the_loop.close()

    async def answer(self, watcher: Any) -> None:
        """Answer one request; whatever comes of it, Granian is told that it is done."""
        scope, proto = watcher.scope, watcher.proto
        self._under_way += 1
        body = None
        try:
            method, path, headers = scope.method, scope.path, scope.headers
            call, route = self._calls.get((method, path)) or (None, route_of(path))
            incoming = RsgiRequest(scope, headers, method, path)
            try:
                declared = headers.get("content-length")
                length = declared_length(declared, is_chunked="transfer-encoding" in headers, route=route)
                if self._stopping:
                    raise _stopped()
                if length:
                    body = self._bodies.begin(length, scope, headers, route)
                    incoming.body = await self._bodies.read(body, proto)
            except LicenzyError as error:
                self._refuse(proto, scope, error, _CLOSE)
                if body is None and not self._stopping and "expect" not in headers:
                    await ignore(proto)
                return
            incoming.arrived = time.monotonic()
            if call is not None and self._may_be_answered_here(scope, headers, path):
                reply = await call(incoming)
                if reply is not None:
                    told = b"" if method == "HEAD" else reply.body
                    proto.response_bytes(reply.status, reply.headers + self._always, told)
                    return
            await self._run(proto, scope, headers, incoming, route)
        except RSGIProtocolClosed:
            pass  # Nobody is there any more to be answered.
        except LicenzyError as error:
            self._refuse(proto, scope, error)
        except Exception:
            _log.exception("unexpected failure in front of the application")
            self._refuse(proto, scope, LicenzyError())
        finally:
            self._under_way -= 1
            if body is not None:
                self._bodies.release(body)
            watcher.done()

    def _may_be_answered_here(self, scope: RsgiScope, headers: Headers, path: str) -> bool:
        """Whether its address is in order; what is wrong with it, the application says."""
        if path in PROBES:
            return True
        host, scheme = self._proxies.host(headers), self._proxies.scheme(scope, headers)
        return address_problem(path, host, scheme, base_host=self._base_host, https=self._https) is None

    async def _run(
        self, proto: Any, scope: RsgiScope, headers: Headers, incoming: RsgiRequest, route: Route
    ) -> None:
        """Have a thread run the application, and send its answer. Raises Overloaded when none is free."""
        future: asyncio.Future[WsgiResponse | None] = self._loop.create_future()
        arrived, body = incoming.arrived, incoming.body

        def work() -> None:
            # A webhook may wait for longer than a call may take: its time counts from here.
            begun = time.monotonic() if route.queue is Queue.WEBHOOKS else arrived
            try:
                with deadline.until(begun + deadline.CALL_SECONDS):
                    answer = answer_of(self._app, environ_of(scope, headers, body))
            except BaseException:
                # SystemExit too: it would take the thread with it, and a future does not hold everything.
                _log.exception("unexpected failure of the application")
                self._loop.call_soon_threadsafe(_fail, future, LicenzyError())
            else:
                self._loop.call_soon_threadsafe(_resolve, future, answer)

        job = Job(route.queue, arrived, work)
        self._threads.submit(job)
        self._waiting.add(future)
        watches: list[asyncio.Task[None]] = []

        def check_soon() -> None:
            if not job.begun:
                watches.append(self._loop.create_task(self._watch(proto, job, route, future)))

        timer = self._loop.call_later(_SOON_SECONDS, check_soon)
        try:
            answer = await future
        finally:
            self._waiting.discard(future)
            timer.cancel()
            for watch in watches:
                watch.cancel()
        if answer is not None:
            self._send(proto, scope, answer)

    async def _watch(
        self, proto: Any, job: Job, route: Route, future: asyncio.Future[WsgiResponse | None]
    ) -> None:
        """Refuse what waits for a thread for too long, and do not begin what nobody waits for any more."""
        try:
            async with asyncio.timeout(job.arrived + route.waits_seconds - time.monotonic()):
                await proto.client_disconnect()
        except TimeoutError:
            if self._threads.withdraw(job):
                _fail(future, Overloaded())
        else:
            if self._threads.withdraw(job):
                _resolve(future, None)

    def _send(self, proto: Any, scope: RsgiScope, answer: WsgiResponse) -> None:
        headers, file = [*answer.headers, _SERVER], answer.file
        if file is not None and scope.method != "HEAD":
            self._files[file] = self._loop.call_later(_FILE_SECONDS, self._forget, file)
            proto.response_file(answer.status, headers, f"/dev/fd/{file.fileno()}")
            return
        if file is not None:
            file.close()
        proto.response_bytes(answer.status, headers, b"" if scope.method == "HEAD" else answer.body)

    def _forget(self, file: IO[bytes]) -> None:
        self._files.pop(file).cancel()
        file.close()

    def _refuse(self, proto: Any, scope: RsgiScope, error: LicenzyError, *more: tuple[str, str]) -> None:
        """Answer with a refusal of our own."""
        told, body = self._refusals.render(error, scope.path, by_htmx="hx-request" in scope.headers)
        headers = [*told, *more, *self._always]
        with suppress(RSGIProtocolClosed):
            proto.response_bytes(error.status, headers, b"" if scope.method == "HEAD" else body)


class _Finished(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes


async def _healthz(_incoming: RsgiRequest) -> FinishedReply:
    """`GET /healthz`: the process answers."""
    return _Finished(200, json_headers(_ALIVE, new_id("req")), _ALIVE)


def _stopped(hint: str | None = None) -> Overloaded:
    return Overloaded("The server is shutting down.", hint=hint)


def _resolve(future: asyncio.Future[WsgiResponse | None], answer: WsgiResponse | None) -> None:
    if not future.done():
        future.set_result(answer)
    elif answer is not None and answer.file is not None:
        answer.file.close()


def _fail(future: asyncio.Future[WsgiResponse | None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
