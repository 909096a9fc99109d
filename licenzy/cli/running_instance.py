"""Where Licenzy answers: recorded in the instance folder by what serves it, and read by the other commands.

Each `licenzy web` has a file of its own, named after its port, and locks it for as long as it lives. The
kernel ends the lock with the process, after `kill -9` as well. A file that was left behind is therefore never
taken for a running process, whatever has the same process id or port by then.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click

from licenzy.cli.ports import reachable
from licenzy.kit.clock import utc_now
from licenzy.settings import Settings

_PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class RunningInstance:
    """A process that serves the product on this machine."""

    base_url: str
    host: str
    port: int
    sandbox: bool
    """Whether the Stripe sandbox is on; it has the port above."""
    pid: int
    started_at: str


@contextmanager
def recorded(settings: Settings) -> Iterator[None]:
    """Record that this process serves the product, until this ends or the process does.

    Without a file, which needs a folder that can be written to, only a note is printed: serving needs none.
    """
    path = settings.instance / f"running-{settings.port}.json"
    try:
        descriptor = _write_locked(path, _described(settings))
    except OSError as error:
        click.echo(
            f"NOTE: The address could not be written to {path} ({error.strerror}). "
            "Set LICENZY_BASE_URL for other commands on this machine.",
            err=True,
        )
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                path.unlink()
        os.close(descriptor)


def running_instance(settings: Settings) -> RunningInstance | None:
    """What serves this instance folder on this machine; the one that started last if several do."""
    found = [_read(path) for path in settings.instance.glob("running-*.json")]
    return max((each for each in found if each), key=lambda each: each.started_at, default=None)


def with_running_address(settings: Settings) -> Settings:
    """The settings with the address of what runs, unless the environment sets an address."""
    running = None if settings.address_is_set else running_instance(settings)
    if running is None:
        return settings
    return replace(
        settings,
        base_url=running.base_url,
        host=running.host,
        port=running.port,
        sandbox=running.sandbox,
    )


def address_status(settings: Settings) -> str:
    """A sentence for people: where Licenzy answers, or that it does not and what to do."""
    running = running_instance(settings)
    if running is not None and running.base_url == settings.base_url:
        host = reachable(running.host)
        if _answers(f"http://{f'[{host}]' if ':' in host else host}:{running.port}"):
            return f"Licenzy is running at {settings.base_url}."
        return f"Licenzy is starting, or does not answer at {settings.base_url}. Check its log."
    if not settings.address_is_set:
        return (
            f"Licenzy is not running with the instance folder {settings.instance}. "
            "Start it with `licenzy serve`, or set LICENZY_INSTANCE or LICENZY_BASE_URL."
        )
    if _answers(settings.base_url):
        return f"Licenzy is running at {settings.base_url}."
    return (
        f"Nothing answers at {settings.base_url}. "
        "Start Licenzy with `licenzy serve`, or check LICENZY_BASE_URL and LICENZY_PORT."
    )


def _described(settings: Settings) -> RunningInstance:
    return RunningInstance(
        base_url=settings.base_url,
        host=settings.host,
        port=settings.port,
        sandbox=settings.sandbox,
        pid=os.getpid(),
        started_at=utc_now().isoformat(),
    )


def _write_locked(path: Path, described: RunningInstance) -> int:
    """Put the file in its place in one step, locked already; gives the descriptor that has the lock."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(descriptor, (json.dumps(asdict(described)) + "\n").encode())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def _read(path: Path) -> RunningInstance | None:
    """What a file says; None where its process has ended, and for anything else that has such a name."""
    try:
        with path.open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return RunningInstance(**json.load(file))
    except (OSError, TypeError, ValueError):
        pass
    return None


def _answers(base_url: str) -> bool:
    import httpx  # Here, because `licenzy serve` needs none and stays light.

    try:
        answer = httpx.get(f"{base_url}/healthz", timeout=_PROBE_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200
