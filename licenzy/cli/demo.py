"""`licenzy demo`: purchases from start to finish in the terminal, or only the project for them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.running_instance import address_status
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.settings import load_settings

if TYPE_CHECKING:
    from licenzy.runtime import Runtime
    from licenzy.stripe_gateway.sandbox_control import ExistingCustomers

_START_SECONDS = 60.0
_STOP_SECONDS = 12.0


@click.command(cls=LicenzyCommand)
@click.option("--seed", "seed_only", is_flag=True, help="Only create the demo project and a new API key.")
@click.option(
    "--existing",
    type=click.IntRange(1, 50_000),
    metavar="N",
    help="With --seed: give the demo project's Stripe account N subscriptions that were not sold by Licenzy.",
)
@json_option
@pass_wiring
def demo(wiring: Wiring, seed_only: bool, existing: int | None, as_json: bool) -> None:
    """Sell three products in the Stripe sandbox and print each call as curl.

    Uses the Licenzy that is running. If none is, starts a temporary one in a folder that is
    deleted afterwards.
    """
    from licenzy.cli.seeding import is_served, seed

    if as_json and not seed_only:
        raise click.UsageError("--json works only with --seed.")
    if existing is not None and not seed_only:
        raise click.UsageError("--existing works only with --seed.")
    settings = wiring.command_settings()
    if seed_only:
        seeded = seed(wiring.make_runtime(settings), existing=existing)
        if as_json:
            print_json(seeded.as_dict())
        else:
            click.echo(f"The demo project is {seeded.project_id}. Its new API key is {seeded.api_key}")
            if seeded.existing is not None:
                click.echo(_summary(seeded.existing))
            click.echo(address_status(settings))
        return
    runtime = wiring.make_runtime(settings)
    if settings.sandbox and is_served(runtime):
        _run(runtime)
        return
    with _temporary_server(wiring) as temporary:
        _run(temporary)


def _summary(existing: ExistingCustomers) -> str:
    """How many of the subscriptions made elsewhere have which status."""
    counts = Counter(str(each["status"]) for each in existing.subscriptions)
    by_status = ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in counts.most_common())
    return (
        f"Its Stripe account has {len(existing.subscriptions)} subscriptions that Licenzy did not sell "
        f"({by_status}), and {len(existing.sessions)} one-time payments by guests."
    )


def _run(runtime: Runtime) -> None:
    from licenzy.cli.demo_script import run_demo
    from licenzy.cli.seeding import seed

    if not run_demo(seed(runtime)):
        raise SystemExit(1)


@contextmanager
def _temporary_server(wiring: Wiring) -> Iterator[Runtime]:
    """A server in a temporary folder, on free ports."""
    with tempfile.TemporaryDirectory(prefix="licenzy-demo-") as folder:
        port = _free_port_pair()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
        environ = {**inherited, "LICENZY_INSTANCE": folder, "LICENZY_PORT": str(port), "LICENZY_WORKERS": "1"}
        with (Path(folder) / "serve.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "licenzy", "serve"], env=environ, stdout=log, stderr=log
            )
        try:
            runtime = wiring.make_runtime(load_settings(environ))
            _wait_for(server, runtime, Path(log.name))
            yield runtime
            runtime.database.engine.dispose()
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(_STOP_SECONDS)


def _wait_for(server: subprocess.Popen[bytes], runtime: Runtime, log: Path) -> None:
    from licenzy.cli.seeding import is_served

    deadline = time.monotonic() + _START_SECONDS
    while not is_served(runtime):
        if server.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text(errors="replace").strip().splitlines()
            raise click.ClickException(f"The temporary server did not start. {lines[-1] if lines else ''}")
        time.sleep(0.1)


def _free_port_pair() -> int:
    """A port that is free together with the one above it, where the sandbox goes."""
    for _ in range(100):
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
    raise click.ClickException(
        "The demo needs two adjacent free ports and found none. Close programs that listen on ports."
    )
