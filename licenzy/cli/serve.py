"""`licenzy serve` and the processes it looks after: web, worker and sandbox."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

import click

from licenzy.cli.leash import hold
from licenzy.cli.plain import PlainCommand, as_json, warn_of_open_files
from licenzy.cli.ports import check_port, held_port
from licenzy.cli.wiring import Wiring, pass_wiring
from licenzy.kit.stopping import StopSignal
from licenzy.settings import Settings

leash_option = click.option("--leash", type=int, hidden=True, help="The reading end of the parent's pipe.")


@click.command(cls=PlainCommand)
@pass_wiring
def serve(wiring: Wiring) -> None:
    """Run everything: the product, its worker and, where it is on, the Stripe sandbox.

    Migrates the database first. Stops within ten seconds on SIGTERM or Ctrl-C.
    """
    from licenzy.cli.supervisor import Child, Supervisor

    wiring.stop.listen()
    settings = wiring.settings()
    for address in _addresses(settings):
        check_port(*address)
    supervisor = Supervisor(stop=wiring.stop, say=_say)
    prepared = supervisor.finish(["prepare"])
    if prepared is None:
        return  # Told to stop already.
    state: dict[str, Any] = json.loads(prepared.splitlines()[-1])
    if settings.sandbox and state["live_connection"]:
        raise click.ClickException(
            "The Stripe sandbox must not run beside a live connection: set LICENZY_SANDBOX=off."
        )
    children = [Child("web", ["web"]), Child("worker", ["worker"])]
    if settings.sandbox:
        children.append(Child("sandbox", ["sandbox"]))
    supervisor.run(
        children,
        ready=lambda: _all_listen(settings),
        on_ready=lambda: _greet(settings, claimed=state["claimed"], locked_out=state["locked_out"]),
    )


@click.command(cls=PlainCommand)
@leash_option
@pass_wiring
def web(wiring: Wiring, leash: int | None) -> None:
    """Serve the product alone; for machines that run beside a worker elsewhere."""
    wiring.stop.listen()
    hold(leash)
    if leash is None and not _schema_is_looked_at(wiring.stop):  # `serve` has looked at it already.
        return
    settings = wiring.settings()
    with held_port(settings.host, settings.port):
        wiring.run_web(settings)


@click.command(cls=PlainCommand)
@leash_option
@pass_wiring
def worker(wiring: Wiring, leash: int | None) -> None:
    """Run the background worker alone: what is due is settled, retried and delivered."""
    wiring.stop.listen()
    hold(leash)
    wiring.refuse_newer_schema()
    wiring.run_worker(wiring.settings())


@click.command(cls=PlainCommand, hidden=True)
@leash_option
@pass_wiring
def sandbox(wiring: Wiring, leash: int | None) -> None:
    """Serve the Stripe sandbox alone."""
    wiring.stop.listen()
    hold(leash)
    settings = wiring.settings()
    if not settings.sandbox:
        raise click.ClickException("The Stripe sandbox is off: set LICENZY_SANDBOX=on.")
    check_port(settings.sandbox_host, settings.port + 1)
    wiring.run_sandbox(settings)


@click.command(cls=PlainCommand, hidden=True)
@leash_option
@pass_wiring
def prepare(wiring: Wiring, leash: int | None) -> None:
    """Migrate, and print what `serve` must know. A process of its own, so that `serve` stays light.

    A stop ends it at once: a migration that has not come to its end is rolled back whole.
    """
    from licenzy.cli.database import newer_but_compatible
    from licenzy.cli.seeding import has_live_connection
    from licenzy.connections.credentials import is_locked_out
    from licenzy.connections.queries import connected
    from licenzy.db import migrate
    from licenzy.workspace.queries import is_claimed

    hold(leash)
    runtime = wiring.runtime()
    found = migrate.upgrade(runtime.database.engine)
    if found.is_newer:
        click.echo(newer_but_compatible(found.revision), err=True)
    warn_of_open_files(runtime.settings)
    with runtime.database.read() as db:
        state = {
            "claimed": is_claimed(db),
            "live_connection": has_live_connection(db),
            "locked_out": sum(
                is_locked_out(runtime.secret_box, each) for each in connected(db, project_id=None)
            ),
        }
    as_json(state)


@click.command("check-schema", cls=PlainCommand, hidden=True)
@leash_option
@pass_wiring
def check_schema(wiring: Wiring, leash: int | None) -> None:
    """Leave with 1 on a database that is too new. Run apart, so that `web` stays light."""
    hold(leash)
    wiring.refuse_newer_schema()


def _schema_is_looked_at(stop: StopSignal) -> bool:
    """Whether `check-schema` came to its end, and not a stop before it. Leaves when it found something."""
    from licenzy.cli.supervisor import Supervisor

    return Supervisor(stop=stop, say=_say).finish(["check-schema"]) is not None


def _addresses(settings: Settings) -> list[tuple[str, int]]:
    """Where the processes listen."""
    web = (settings.host, settings.port)
    return [web, (settings.sandbox_host, settings.port + 1)] if settings.sandbox else [web]


def _all_listen(settings: Settings) -> bool:
    for host, port in _addresses(settings):
        reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        try:
            socket.create_connection((reachable, port), timeout=1).close()
        except OSError:
            return False
    return True


def _greet(settings: Settings, *, claimed: bool, locked_out: int) -> None:
    _say(f"Licenzy runs at {settings.base_url}")
    if settings.sandbox:
        _say(f"The Stripe sandbox runs at {settings.sandbox_url} (a stand-in for Stripe: no money moves)")
    if not claimed:
        _say(
            "This installation has no owner yet. Open this one-time link to claim it:\n\n"
            f"    {settings.base_url}/claim/{settings.derived_secret('claim')}\n"
        )
    if locked_out:
        _say(
            f"WARNING: {locked_out} stored Stripe key(s) cannot be opened with the encryption keys given. "
            "Access checks go on; checkouts and webhooks of these connections do not. Restore "
            "LICENZY_ENCRYPTION_KEYS, or save the Stripe keys and webhook secrets again."
        )
    _say("Stop with Ctrl-C.")


_say: Callable[[str], None] = click.echo
