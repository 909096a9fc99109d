"""Files that are read from the database while they are sent, and recorded: exports of lists however long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from flask import Flask, Response, abort, current_app
from sqlmodel import Session

from licenzy.kit import deadline
from licenzy.runtime import runtime

_AT_ONCE = 2
"""How many are sent at a time by a process. A long one holds a thread for seconds, which pages need, too."""


def register_exports(app: Flask) -> None:
    """Give the application its turns for exports."""
    app.extensions["licenzy_exports"] = threading.BoundedSemaphore(_AT_ONCE)


def export_file(
    name: str, mimetype: str, parts: Callable[[Session], Iterator[str]], *, note: Callable[[Session], object]
) -> Response:
    """A file of these parts, once `note` has recorded who takes it away; 429 while too many others are sent.

    The parts are read as the browser takes them, each wait for the database with a deadline of its own.
    """
    turns: threading.BoundedSemaphore = current_app.extensions["licenzy_exports"]
    database = runtime().database
    if not turns.acquire(blocking=False):
        abort(429, "Other exports are being sent. Wait until they are done, then export again.")
    with ExitStack() as until_noted:
        until_noted.callback(turns.release)
        with database.write() as db:
            note(db)
        turn = until_noted.pop_all()

    def read() -> Iterator[str]:
        with turn, deadline.for_each_wait(), database.read() as db:
            yield from parts(db)

    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    response = Response(read(), mimetype=mimetype, headers=headers)
    response.call_on_close(turn.close)  # Also where nobody began to read.
    return response
