"""`licenzy db …`: the schema."""

from __future__ import annotations

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json, warn_about_open_files
from licenzy.cli.wiring import Wiring, pass_wiring


@click.group(cls=LicenzyGroup)
def db() -> None:
    """Manage the database."""


@db.command()
@json_option
@pass_wiring
def upgrade(wiring: Wiring, as_json: bool) -> None:
    """Migrate the database to this version. Safe to repeat."""
    from licenzy.db import migrate

    runtime = wiring.runtime()
    found = migrate.upgrade(runtime.database.engine)
    warn_about_open_files(runtime.settings)
    if as_json:
        print_json({"revision": found.revision})
    elif found.is_newer:
        click.echo(newer_but_compatible(found.revision))
    else:
        click.echo(f"The database is at {found.revision}.")


def newer_but_compatible(revision: str) -> str:
    """The sentence for a database that a newer version has migrated and this one still works with."""
    return (
        f"The database is at {revision}, which is newer than this version of Licenzy and works with it. "
        "There is nothing to do."
    )
