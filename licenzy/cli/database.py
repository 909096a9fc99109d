"""`licenzy db …`: the schema."""

from __future__ import annotations

import click

from licenzy.cli.plain import PlainGroup, as_json, json_option
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

    engine = wiring.runtime().database.engine
    migrate.upgrade(engine)
    if json_wanted:
        as_json({"revision": migrate.head()})
    else:
        click.echo(f"The database is at {migrate.head()}.")
