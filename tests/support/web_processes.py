"""The product as a process of its own: the server, and the processes of Granian's that answer for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from licenzy.settings import Settings
from tests.support.ports import answers, wait_until

ROOT = Path(__file__).resolve().parents[2]
WEB = ("-m", "licenzy", "web")


@contextmanager
def serving(
    settings: Settings, command: Sequence[str] = WEB, *, tree: Path = ROOT, **environ: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command of the product's with these settings until the block ends; its log is `server.log`.

    `tree` is the folder that the code and the files are in: this checkout, or a copy of it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
    environ = kept | {
        "LICENZY_INSTANCE": str(settings.instance),
        "LICENZY_DATABASE_URL": settings.database_url,
        "LICENZY_PORT": str(settings.port),
        # One key stands for many merchants; the limiter runs, it only never says no.
        "LICENZY_RATE_LIMIT": "1000000",
        **environ,
    }
    with (settings.instance / "server.log").open("a") as log:
        server = subprocess.Popen([sys.executable, *command], cwd=tree, env=environ, stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(settings.port), seconds=60, what="the product listens")
            yield server
        finally:
            _stop(server)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """In good order when it can; what hangs does not outlive the test."""
    with ExitStack() as files:
        children = []
        for pid in web_processes(server.pid):
            with suppress(ProcessLookupError):
                children.append(os.pidfd_open(pid))
                files.callback(os.close, children[-1])
        server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(15)
        server.kill()
        server.wait()
        for child in children:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)


def web_processes(pid: int) -> list[int]:
    """The processes that answer: children of the server which run Python, whatever Granian calls them."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return [child for child in found if b"resource_tracker" not in _command_of(child)]


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
