"""Servers that the bench runs, each a process of its own with an instance folder of its own."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from licenzy.api.access import STATEMENT
from licenzy.api_keys.rules import presented_hash
from licenzy.db.prepared import PreparedRead, ThreadConnections
from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from tests.bench.shop import Shop, make_shop
from tests.support.ports import answers, free_port_pair, wait_until

WORKERS = int(os.environ.get("BENCH_WORKERS", "2"))
THREADS = int(os.environ.get("BENCH_THREADS", "8"))


@dataclass(frozen=True, slots=True)
class Served:
    """A running server, and the shop behind it."""

    pid: int
    port: int
    shop: Shop
    environ: dict[str, str]
    running: ExitStack

    def beside(self, name: str) -> Served:
        """Another application of tests/bench/apps.py on the same database; it ends with this one."""
        environ = {**self.environ, "LICENZY_PORT": str(free_port_pair())}
        return self.running.enter_context(_running(["-m", "tests.bench.apps", name], environ, self.shop))


@contextmanager
def serve_app(name: str, instance: Path, shop: Shop) -> Iterator[Served]:
    """An application of tests/bench/apps.py."""
    with _running(["-m", "tests.bench.apps", name], _environ(instance, None), shop) as served:
        yield served


@contextmanager
def serve_product(
    instance: Path, database_url: str | None, stripe_base: str, *, subjects: int, everything: bool
) -> Iterator[Served]:
    """The product over a newly filled database; with `everything` also its worker and sandbox."""
    environ = _environ(instance, database_url) | {"LICENZY_STRIPE_API_BASE": stripe_base}
    runtime = make_runtime(load_settings(environ))
    shop = make_shop(runtime, subjects=subjects)
    runtime.database.close()
    with _running(["-m", "licenzy", "serve" if everything else "web"], environ, shop) as served:
        yield served


def point_queries(served: Served, *, seconds: float = 2.0) -> float:
    """How often a second one thread of one process runs the check's statement, with nothing around it."""
    runtime = make_runtime(load_settings(served.environ))
    read = PreparedRead(ThreadConnections(runtime.database), STATEMENT)
    key_hash, done = presented_hash(served.shop.key), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for _ in range(100):
            ref = f"user_{random.randrange(served.shop.subjects)}"
            assert read.rows(key_hash=key_hash, subject_ref=ref)
        done += 100
    runtime.database.close()
    return done / seconds


def _environ(instance: Path, database_url: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
    return {
        **kept,
        **({"LICENZY_DATABASE_URL": database_url} if database_url else {}),
        "LICENZY_INSTANCE": str(instance),
        "LICENZY_PORT": str(free_port_pair()),
        "LICENZY_WORKERS": str(WORKERS),
        "LICENZY_THREADS": str(THREADS),
        # One key stands for many merchants here; the limiter runs, it only never says no.
        "LICENZY_RATE_LIMIT": "1000000",
    }


@contextmanager
def _running(arguments: list[str], environ: dict[str, str], shop: Shop) -> Iterator[Served]:
    process = subprocess.Popen(
        [sys.executable, *arguments],
        env=environ,
        stdout=subprocess.DEVNULL,
        # `serve` gives its children sessions of their own, and Linux shares the processor out by sessions:
        # whoever stayed in that of the load generator would be measured under other conditions.
        start_new_session=True,
    )
    port = int(environ["LICENZY_PORT"])
    try:
        wait_until(lambda: answers(port), seconds=60, what="the server listens")
        with ExitStack() as beside:
            yield Served(process.pid, port, shop, environ, beside)
    finally:
        process.terminate()
        process.wait(12)
