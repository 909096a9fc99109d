"""`licenzy serve` and the processes that it runs: web, worker and sandbox."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import click

from licenzy.cli.error_handling import LicenzyCommand, print_json, warn_about_open_files
from licenzy.cli.parent_watch import watch_parent
from licenzy.cli.ports import check_port, reachable, reserved_port
from licenzy.cli.running_instance import recorded
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.kit.stopping import StopSignal
from licenzy.settings import Settings

parent_pipe_option = click.option(
    "--parent-pipe", type=int, hidden=True, help="The reading end of the parent's pipe."
)


@click.command(cls=LicenzyCommand)
@pass_wiring
def serve(wiring: Wiring) -> None:
    """Run everything: web, worker and, where it is on, the Stripe sandbox.

    Migrates the database first. Stops within ten seconds on SIGTERM or Ctrl-C.
    """
    from licenzy.cli.supervisor import Child, Supervisor

    wiring.stop.listen()
    settings = wiring.settings()
    for address in _addresses(settings):
        check_port(*address)
    supervisor = Supervisor(stop=wiring.stop, report=_report)
    prepared = supervisor.finish(["prepare"])
    if prepared is None:
        return  # Stopped meanwhile.
    state: dict[str, Any] = json.loads(prepared.splitlines()[-1])
    if settings.sandbox and state["live_connection"]:
        raise click.ClickException(
            "The Stripe sandbox must be off, because this installation has a live Stripe connection. "
            "Set LICENZY_SANDBOX=off."
        )
    children = [Child("web", ["web"]), Child("worker", ["worker"])]
    if settings.sandbox:
        children.append(Child("sandbox", ["sandbox"]))
    supervisor.run(
        children,
        ready=lambda: _all_listen(settings),
        on_ready=lambda: _print_welcome(settings, claimed=state["claimed"], locked_out=state["locked_out"]),
    )


@click.command(cls=LicenzyCommand)
@parent_pipe_option
@pass_wiring
def web(wiring: Wiring, parent_pipe: int | None) -> None:
    """Run only the web processes. Run a worker as well."""
    wiring.stop.listen()
    watch_parent(parent_pipe)
    if parent_pipe is None and not _schema_check_completed(wiring.stop):  # `serve` has checked it already.
        return
    settings = wiring.settings()
    with reserved_port(settings.host, settings.port), recorded(settings):
        wiring.run_web(settings)


@click.command(cls=LicenzyCommand)
@parent_pipe_option
@pass_wiring
def worker(wiring: Wiring, parent_pipe: int | None) -> None:
    """Run only the background worker: webhook deliveries, retries and syncs."""
    wiring.stop.listen()
    watch_parent(parent_pipe)
    wiring.refuse_newer_schema()
    wiring.run_worker(wiring.settings())


@click.command(cls=LicenzyCommand, hidden=True)
@parent_pipe_option
@pass_wiring
def sandbox(wiring: Wiring, parent_pipe: int | None) -> None:
    """Run only the Stripe sandbox."""
    wiring.stop.listen()
    watch_parent(parent_pipe)
    settings = wiring.settings()
    if not settings.sandbox:
        raise click.ClickException("The Stripe sandbox is off. Set LICENZY_SANDBOX=on.")
    check_port(settings.sandbox_host, settings.port + 1)
    wiring.run_sandbox(settings)


@click.command(cls=LicenzyCommand, hidden=True)
@parent_pipe_option
@pass_wiring
def prepare(wiring: Wiring, parent_pipe: int | None) -> None:
    """Migrate, and print what `serve` must know. A process of its own, so that `serve` stays light.

    A stop ends it at once: a migration that has not come to its end is rolled back whole.
    """
    from licenzy.cli.database import newer_but_compatible
    from licenzy.cli.seeding import has_live_connection
    from licenzy.connections.credentials import is_locked_out
    from licenzy.connections.queries import connected
    from licenzy.db import migrate
    from licenzy.workspace.queries import is_claimed

    watch_parent(parent_pipe)
    runtime = wiring.runtime()
    found = migrate.upgrade(runtime.database.engine)
    if found.is_newer:
        click.echo(newer_but_compatible(found.revision), err=True)
    warn_about_open_files(runtime.settings)
    with runtime.database.read() as db:
        state = {
            "claimed": is_claimed(db),
            "live_connection": has_live_connection(db),
            "locked_out": sum(
                is_locked_out(runtime.secret_box, each) for each in connected(db, project_id=None)
            ),
        }
    print_json(state)


@click.command("check-schema", cls=LicenzyCommand, hidden=True)
@parent_pipe_option
@pass_wiring
def check_schema(wiring: Wiring, parent_pipe: int | None) -> None:
    """Leave with 1 on a database that is too new. Run apart, so that `web` stays light."""
    watch_parent(parent_pipe)
    wiring.refuse_newer_schema()


def _schema_check_completed(stop: StopSignal) -> bool:
    """Whether `check-schema` has finished, rather than been stopped. Exits when it found something."""
    from licenzy.cli.supervisor import Supervisor

    return Supervisor(stop=stop, report=_report).finish(["check-schema"]) is not None


def _addresses(settings: Settings) -> list[tuple[str, int]]:
    """Where the processes listen."""
    web = (settings.host, settings.port)
    return [web, (settings.sandbox_host, settings.port + 1)] if settings.sandbox else [web]


def _all_listen(settings: Settings) -> bool:
    for host, port in _addresses(settings):
        try:
            socket.create_connection((reachable(host), port), timeout=1).close()
        except OSError:
            return False
    return True


def _print_welcome(settings: Settings, *, claimed: bool, locked_out: int) -> None:
    _report(f"Licenzy runs at {settings.base_url}")
    if settings.sandbox:
        _report(f"The Stripe sandbox runs at {settings.sandbox_url} (a stand-in for Stripe: no money moves)")
    if not claimed:
        _report(
            "This installation has no owner yet. Open this one-time link to claim it:\n\n"
            f"    {settings.base_url}/claim/{settings.derived_secret('claim')}\n"
        )
    if locked_out:
        _report(
            f"WARNING: {locked_out} saved Stripe key(s) cannot be decrypted with the current encryption "
            "keys. Access checks work; checkouts and webhooks of these connections fail. Restore "
            "LICENZY_ENCRYPTION_KEYS, or save the Stripe keys and webhook secrets again."
        )
    _report("Stop with Ctrl-C.")


_report: Callable[[str], None] = click.echo
