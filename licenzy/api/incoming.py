"""What a call of `/v1` arrives as: the same face for WSGI's environment and for the front's own requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from licenzy.wsgi_json import read_body


class Incoming(Protocol):
    """A request, whole or about to be read."""

    @property
    def query(self) -> str: ...
    @property
    def body(self) -> bytes:
        """All of it."""
        ...

    def header(self, name: str) -> str | None:
        """The value of a header by its name in small letters; those that were sent twice joined by commas."""
        ...


class Arrived(Incoming, Protocol):
    """A whole request on the event loop."""

    @property
    def arrived(self) -> float:
        """When it arrived, as `time.monotonic` tells it."""
        ...


class WsgiIncoming:
    """A request of a WSGI server, whose body is read when it is asked for."""

    __slots__ = ("environ",)

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self.environ = environ

    @property
    def query(self) -> str:
        return str(self.environ.get("QUERY_STRING", ""))

    @property
    def body(self) -> bytes:
        return read_body(self.environ)

    def header(self, name: str) -> str | None:
        key = name.upper().replace("-", "_")
        value: str | None = self.environ.get(key if key in _WITHOUT_PREFIX else f"HTTP_{key}")
        return value


_WITHOUT_PREFIX = {"CONTENT_TYPE", "CONTENT_LENGTH"}
