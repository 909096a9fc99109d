"""A network before a Postgres which can go silent: it keeps connections open and passes nothing on."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.threads import join

_PIECE = 65_536


@dataclass(eq=False)
class _Link:
    """One connection: the product's end, the server's, and what has been read and not yet passed on."""

    near: socket.socket
    far: socket.socket | None
    silent: bool = False
    waiting: dict[socket.socket, bytes] = field(default_factory=dict)

    @property
    def ends(self) -> list[socket.socket]:
        return [self.near] if self.far is None else [self.near, self.far]

    def other(self, end: socket.socket) -> socket.socket | None:
        return self.far if end is self.near else self.near


class SilentNetwork:
    """Listens on a port of this machine and leads to a server's socket file."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._guard = threading.Lock()
        self._links: list[_Link] = []
        self._silent = False
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._wake, self._woken = socket.socketpair()
        for each in (self._listener, self._woken):
            self._selector.register(each, selectors.EVENT_READ)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="silent network")
        self._thread.start()

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Pass nothing in either direction; what was sent meanwhile arrives afterwards, as TCP has it."""
        self._be_silent(True)
        try:
            yield
        finally:
            self._be_silent(False)

    def forget_the_old(self) -> None:
        """Leave all connections of now open and silent for ever, as after a failover; new ones work.

        The server that they led to is gone, and what it was doing for them with it.
        """
        with self._guard:
            for link in self._links:
                link.silent = True
                self._drop_far(link)
        self._wake.send(b".")

    def close(self) -> None:
        self._stopping = True
        self._wake.send(b".")
        join(self._thread, seconds=10)
        for link in self._links:
            for end in link.ends:
                end.close()
        for each in (self._listener, self._wake, self._woken):
            each.close()
        self._selector.close()

    def _be_silent(self, silent: bool) -> None:
        with self._guard:
            self._silent = silent
            for link in self._links:
                link.silent = silent or link.far is None
        self._wake.send(b".")

    def _run(self) -> None:
        while not self._stopping:
            events = self._selector.select(timeout=1)
            with self._guard:
                for key, _ in events:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj is self._woken:
                        self._woken.recv(_PIECE)
                    elif not key.data.silent:
                        self._pass_on(key.data, key.fileobj)  # type: ignore[arg-type]
                for link in self._links:
                    self._watch(link)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        near.setblocking(False)
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(str(self._server))
        except OSError:
            far.close()
            near.close()
            return
        far.setblocking(False)
        self._links.append(_Link(near, far, self._silent))

    def _pass_on(self, link: _Link, end: socket.socket) -> None:
        """Read from one end what is there, and write what fits to the other."""
        other = link.other(end)
        if other is None or link not in self._links:
            return
        try:
            if not link.waiting.get(end):
                heard = end.recv(_PIECE)
                if not heard:
                    raise ConnectionError
                link.waiting[end] = heard
            passed = other.send(link.waiting[end])
            link.waiting[end] = link.waiting[end][passed:]
        except BlockingIOError:
            return
        except OSError:
            self._links.remove(link)
            for each in link.ends:
                with suppress(KeyError):
                    self._selector.unregister(each)
                each.close()

    def _watch(self, link: _Link) -> None:
        """Listen to both ends of a link that works, and to none of one that is silent."""
        known = self._selector.get_map()
        for end in link.ends:
            if link.silent and end in known:
                self._selector.unregister(end)
            elif not link.silent and end not in known:
                self._selector.register(end, selectors.EVENT_READ, link)

    def _drop_far(self, link: _Link) -> None:
        far, link.far = link.far, None
        if far is not None:
            with suppress(KeyError):
                self._selector.unregister(far)
            far.close()
