"""DOOR: the command line, one file per group of commands."""

from __future__ import annotations

import copy

import click

from licenzy.cli.error_handling import LicenzyGroup
from licenzy.cli.wiring import Wiring


def make_command_line(wiring: Wiring) -> click.Group:
    """The `licenzy` command with everything it can do."""
    group = LicenzyGroup(
        "licenzy",
        help="Self-hosted entitlements on your own Stripe account.",
        context_settings={"help_option_names": ["-h", "--help"], "obj": wiring},
    )
    click.version_option(package_name=None, version=_version(), prog_name="licenzy")(group)
    for command in _commands():
        group.add_command(command)
    return group


def attach(group: click.Group, wiring: Wiring) -> None:
    """Add the same commands to Flask's own command line (`flask --app app …`)."""
    for command in _commands():
        wired = copy.copy(command)
        wired.context_settings = {**command.context_settings, "obj": wiring}
        group.add_command(wired)


def _commands() -> list[click.Command]:
    import licenzy.cli.team  # noqa: F401 - its commands are in the group of users
    from licenzy.cli.apply import apply
    from licenzy.cli.audit import audit
    from licenzy.cli.database import db
    from licenzy.cli.demo import demo
    from licenzy.cli.doctor import doctor
    from licenzy.cli.endpoints import endpoints
    from licenzy.cli.export import export
    from licenzy.cli.forget import forget
    from licenzy.cli.imports import import_
    from licenzy.cli.keys import keys
    from licenzy.cli.products import products
    from licenzy.cli.repair import reconcile, replay
    from licenzy.cli.serve import check_schema, prepare, sandbox, serve, web, worker
    from licenzy.cli.users import users

    processes = [serve, worker, web, sandbox, prepare, check_schema]
    things = [keys, products, endpoints, users]
    repairs = [reconcile, replay, forget, audit, doctor]
    return [*processes, db, *things, apply, export, import_, *repairs, demo]


def _version() -> str:
    from licenzy import __version__

    return __version__
