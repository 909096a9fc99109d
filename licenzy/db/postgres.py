"""Connections to Postgres on which every wait has a deadline, and the deadline is the client's.

Neither `statement_timeout` nor `tcp_user_timeout` helps against a server that is paused or behind a network
that swallows, and to cancel a statement one waits for that very server. So a wait that has lasted too long
ends here, and the connection with it.

Imported only where the database is Postgres: where it is SQLite, the driver would take ten megabytes of
every process and a twentieth of its start.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import psycopg
from psycopg import waiting
from sqlalchemy import Engine

from licenzy.kit import deadline

CONNECT_SECONDS = 5.0
"""How long connecting may take, all hosts of the address together."""

SERVER_SECONDS = 4.2
"""After how long Postgres itself ends a statement of `with_limits`: before the client gives it up."""

_LAST_WORD_SECONDS = 0.25
"""What a wait has at least: a rollback when the time is up must not cost the connection."""

_SLOWEST_CONNECT = 0.9
"""How long connecting takes before it says something of the server, not of the little time given."""

_CHECK_EVERY = 0.1

_SILENT_PEERS = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""Has the system notice within half a minute that the host of an idle connection has vanished."""

T = TypeVar("T")


class NoAnswer(psycopg.OperationalError):
    """Postgres did not answer until the caller's time was up; the connection is closed."""

    def __init__(self, waited: float, speaks_within: float = SERVER_SECONDS) -> None:
        super().__init__(f"Postgres did not answer within {waited:.1f} s")
        self.is_silence = waited > speaks_within
        """Whether a server that lives would have spoken by then."""


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection of psycopg's that waits no longer than the caller."""

    speaks_within: float = SERVER_SECONDS
    """After so many seconds Postgres itself ends a statement, as it was told last, and no sooner."""

    def note_statement_timeout(self, milliseconds: int) -> None:
        """Note the limits that a transaction has set."""
        self.speaks_within = max(SERVER_SECONDS, milliseconds / 1000)

    def wait(
        self, gen: Generator[Any, Any, T], interval: float = _CHECK_EVERY, timeout: float | None = None
    ) -> T:
        """What the generator gives. Raises NoAnswer when the caller's time is up; nothing is cancelled."""
        left = max(deadline.seconds_left(), _LAST_WORD_SECONDS)
        if timeout is not None:
            left = min(left, timeout)
        began = time.monotonic()
        try:
            return waiting.wait(gen, self.pgconn.socket, interval=interval, timeout=left)
        except psycopg.OperationalError as error:
            waited = time.monotonic() - began
            if error.sqlstate is not None or waited < left:
                raise
            self.pgconn.finish()
            raise NoAnswer(waited, self.speaks_within) from None
        except BaseException as interrupted:
            # What was interrupted is in an unknown state, and to find out would take another wait.
            if not isinstance(interrupted, Exception):
                self.pgconn.finish()
            raise

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        """psycopg's own way to connect to one host, as far as the caller's time goes."""
        return _connecting_in_time(super()._connect_gen(conninfo))


class AsyncConnection(psycopg.AsyncConnection[Any]):
    """The same for an event loop; its tasks have their deadlines in `kit/deadline.py`, too."""

    async def wait(
        self, gen: Generator[Any, Any, T], interval: float = _CHECK_EVERY, timeout: float | None = None
    ) -> T:
        """What the generator gives. Raises NoAnswer when the caller's time is up; nothing is cancelled."""
        left = max(deadline.seconds_left(), _LAST_WORD_SECONDS)
        if timeout is not None:
            left = min(left, timeout)
        began = time.monotonic()
        try:
            return await waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=left)
        except psycopg.OperationalError as error:
            waited = time.monotonic() - began
            if error.sqlstate is not None or waited < left:
                raise
            self.pgconn.finish()
            raise NoAnswer(waited) from None
        except BaseException as interrupted:
            if not isinstance(interrupted, Exception):
                self.pgconn.finish()
            raise

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> Generator[Any, Any, Self]:
        """psycopg's own way to connect to one host, as far as the caller's time goes."""
        return _connecting_in_time(super()._connect_gen(conninfo))


def _connecting_in_time(connecting: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
    ends_at = deadline.ends_at()
    try:
        wanted = next(connecting)
        while True:
            if time.monotonic() >= ends_at:
                connecting.close()
                raise psycopg.errors.ConnectionTimeout("connection timeout expired")
            wanted = connecting.send((yield wanted))
    except StopIteration as connected:
        return connected.value  # type: ignore[no-any-return]


def connect(parameters: Mapping[str, Any]) -> DeadlineConnection:
    """A connection by psycopg's keywords. Raises psycopg.OperationalError.

    Its `was_open` is false: a server that has no connection left goes on serving those that are open. What
    was given up for the caller's little time says nothing of the server, and has `is_silence` false.
    """
    with _connecting():
        return DeadlineConnection.connect(**{**_SILENT_PEERS, **parameters})


@contextmanager
def _connecting() -> Iterator[None]:
    began = time.monotonic()
    try:
        with deadline.within(min(deadline.seconds_left(), CONNECT_SECONDS)):
            yield
    except psycopg.OperationalError as error:
        error.was_open = False  # type: ignore[attr-defined]
        if isinstance(error, psycopg.errors.ConnectionTimeout):
            error.is_silence = time.monotonic() - began > _SLOWEST_CONNECT  # type: ignore[attr-defined]
        raise


def parameters_of(engine: Engine) -> dict[str, Any]:
    """The keywords of psycopg that say what the engine's address says.

    An address rendered anew would not: it writes a space as `+`, which libpq takes for a plus sign.
    """
    _, parameters = engine.dialect.create_connect_args(engine.url)
    return dict(parameters)


def connect_with_limits(parameters: Mapping[str, Any], *, options: str = "") -> DeadlineConnection:
    """A connection in autocommit whose statements Postgres itself ends after SERVER_SECONDS.

    So a server that is only busy, or waits for somebody's lock, says so, and keeps no statement that nobody
    waits for any more. `options` are further ones. Where a pooler takes none, it is left to the client.
    """
    try:
        return connect(_with_limits(parameters, options))
    except psycopg.OperationalError as refused:
        if not _refuses_limits(refused):
            raise
    return connect({**parameters, "autocommit": True})


async def connect_async_with_limits(parameters: Mapping[str, Any], *, options: str = "") -> AsyncConnection:
    """The same for an event loop."""
    try:
        with _connecting():
            return await AsyncConnection.connect(**{**_SILENT_PEERS, **_with_limits(parameters, options)})
    except psycopg.OperationalError as refused:
        if not _refuses_limits(refused):
            raise
    with _connecting():
        return await AsyncConnection.connect(**{**_SILENT_PEERS, **parameters, "autocommit": True})


def _with_limits(parameters: Mapping[str, Any], options: str) -> dict[str, Any]:
    milliseconds = int(SERVER_SECONDS * 1000)
    limits = f"-c lock_timeout={milliseconds} -c statement_timeout={milliseconds}"
    own = str(parameters.get("options") or "")
    # What the address says comes later and wins.
    return {**parameters, "options": f"{limits} {options} {own}".rstrip(), "autocommit": True}


def _refuses_limits(refused: psycopg.OperationalError) -> bool:
    # The driver gives no code for what is refused at connecting; these are the words of PgBouncer.
    return "startup parameter" in str(refused)


def probe(engine: Engine) -> None:
    """Whether Postgres answers, on a connection that is open if there is one. Raises what the engine does."""
    with deadline.within(min(deadline.seconds_left(), 1.0)), engine.connect() as connection:
        connection.exec_driver_sql("SELECT 1")


RawCursor = psycopg.AsyncRawCursor
"""For statements whose parameters are numbered, as Postgres takes them."""
