"""An installation with something behind every route, served by `licenzy web` on a database of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from licenzy.catalog.models import Kind
from licenzy.factory import create_app
from licenzy.kit.secret_box import SecretBox
from licenzy.settings import Settings
from tests.support.cast import make_cast, make_connection, make_key, make_product, make_subject
from tests.support.ports import wait_until
from tests.support.purchases import event, make_attempt, make_entitlement, session_object
from tests.support.visits import visiting
from tests.support.web_processes import WEB, serving, web_processes

WORKERS, THREADS = 2, 4
SECRET = "whsec_of_the_trouble_0123456789abcdef"
METRICS_TOKEN = "metrics-token-of-the-trouble"
CONSUMER, RESERVER, BUYER = "consumer", "reserver", "buyer"
PURCHASES = 400
_PLENTY = 10_000_000
_PLACING_SECONDS = 10.0


@dataclass(frozen=True)
class Installation:
    """What a merchant's backend, Stripe and a signed-in person know of it."""

    settings: Settings
    token: str
    """The API key."""
    cookie: str
    """Of somebody who is signed in."""
    webhook_path: str
    page_path: str
    """A page for who is signed in."""
    events: Sequence[dict[str, Any]]
    """Each tells of another paid session of the buyer's."""


def install(settings: Settings) -> Installation:
    """Write what stands before anything happens, and sign somebody in. The database must be migrated."""
    app = create_app(settings)
    database, now = app.extensions["licenzy"].database, datetime.now(UTC)
    with database.write() as db:
        cast = make_cast(db, now=now)
        where: dict[str, Any] = {"project_id": cast.project_id, "now": now}
        _key, token = make_key(db, **where)
        connection = make_connection(
            db, secret_box=SecretBox(settings.encryption_keys), webhook_secret=SECRET, **where
        )
        pack = make_product(db, kind=Kind.USAGE_PACK, product_code="PACK", **where)
        for ref in (CONSUMER, RESERVER):
            subject = make_subject(db, subject_ref=ref, **where)
            make_entitlement(
                db,
                subject=subject,
                product_code="PACK",
                kind=Kind.USAGE_PACK,
                starts_at=now,
                ends_at=None,
                granted_units=_PLENTY,
            )
        buyer = make_subject(db, subject_ref=BUYER, **where)
        events = []
        for number in range(PURCHASES):
            attempt = make_attempt(db, connection=connection, subject=buyer, product=pack, now=now)
            paid = session_object(attempt, payment_intent=f"pi_{number}", customer="cus_buyer")
            events.append(event("checkout.session.completed", paid, at=now, event_id=f"evt_{number}"))
    person = visiting(app, cast.owner.email)
    name = app.config["SESSION_COOKIE_NAME"]
    cookie = person.get_cookie(name)
    assert cookie is not None
    database.close()
    return Installation(
        settings,
        token,
        f"{name}={cookie.value}",
        f"/v1/webhooks/stripe/{connection.id}",
        f"/projects/{cast.project_id}/test",
        events,
    )


@dataclass(frozen=True)
class Web:
    """A running `licenzy web` with its two processes of four threads."""

    installation: Installation
    server: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return self.installation.settings.port

    @property
    def pids(self) -> list[int]:
        """Its processes that answer, in an order that lasts as long as they do."""
        return sorted(web_processes(self.server.pid))

    def connect(self, process: int, *, timeout: float) -> socket.socket:
        """A connection that one of its processes has accepted, chosen by its place in `pids`.

        The kernel deals new connections out by chance. Who opens no more to a process than it has threads
        never waits for a thread, so that what a call takes is the time from its arrival.
        """
        deadline = time.monotonic() + _PLACING_SECONDS
        while True:
            connection = socket.create_connection(("127.0.0.1", self.port), timeout=timeout)
            if _accepted_by(connection, self.pids[process], self.port):
                return connection
            if time.monotonic() > deadline:
                return connection
            connection.close()


@contextmanager
def running(installation: Installation, command: Sequence[str] = WEB, **environ: str) -> Iterator[Web]:
    """Serve an installation until the block ends."""
    defaults: dict[str, Any] = {
        "LICENZY_WORKERS": str(WORKERS),
        "LICENZY_THREADS": str(THREADS),
        "LICENZY_SANDBOX": "off",
        "LICENZY_METRICS_TOKEN": METRICS_TOKEN,
    }
    with serving(installation.settings, command, **defaults | environ) as server:
        web = Web(installation, server)
        wait_until(lambda: len(web.pids) == WORKERS, seconds=30, what="both processes are there")
        for process in range(WORKERS):
            wait_until(partial(_listens, web, process), seconds=30, what="each of them accepts")
        yield web


def _listens(web: Web, process: int) -> bool:
    connection = socket.create_connection(("127.0.0.1", web.port), timeout=5)
    with connection:
        return _accepted_by(connection, web.pids[process], web.port)


def _accepted_by(connection: socket.socket, pid: int, port: int) -> bool:
    """Whether this process of this machine holds the other end; waits a moment until somebody does."""
    ours = connection.getsockname()[1]
    for _ in range(100):
        inode = _inode_of_other_end(ours, port)
        if inode:
            return f"socket:[{inode}]" in _open_files(pid)
        time.sleep(0.002)
    return False


def _inode_of_other_end(ours: int, port: int) -> int:
    local, remote = f"0100007F:{port:04X}", f"0100007F:{ours:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines():
        columns = line.split()
        if columns[1] == local and columns[2] == remote:
            return int(columns[9])
    return 0


def _open_files(pid: int) -> list[str]:
    """What the open files of a process are."""
    found = []
    with suppress(OSError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(os.readlink(each))
    return found


def open_database_files(pids: Sequence[int], database: Path) -> int:
    """How many times processes have the main file of a SQLite database open: once per connection."""
    return sum(_open_files(pid).count(str(database)) for pid in pids)
