"""`licenzy db …`: the schema."""

from __future__ import annotations

import click

from licenzy.cli.plain import PlainGroup, as_json, json_option, warn_of_open_files
from licenzy.cli.wiring import Wiring, pass_wiring


@click.group(cls=PlainGroup)
def db() -> None:
    """Look after the database."""


@db.command()
@json_option
@pass_wiring
def upgrade(wiring: Wiring, json_wanted: bool) -> None:
    """Bring the database to the schema of this version; safe to repeat."""
    from licenzy.db import migrate

    runtime = wiring.runtime()
    found = migrate.upgrade(runtime.database.engine)
    warn_of_open_files(runtime.settings)
    if json_wanted:
        as_json({"revision": found.revision})
    elif found.is_newer:
        click.echo(newer_but_compatible(found.revision))
    else:
        click.echo(f"The database is at {found.revision}.")


def newer_but_compatible(revision: str) -> str:
    """What to tell where a newer version has migrated the database and this one still works with it."""
    return (
        f"The database is at {revision}, which is newer than this version of Licenzy and works with it. "
        "There is nothing to do."
    )
