"""`licenzy export`: write products and webhook endpoints as a file that `licenzy apply` takes."""

from __future__ import annotations

from pathlib import Path

import click

from licenzy.cli.error_handling import LicenzyCommand, json_option, print_json
from licenzy.cli.projects import chosen_project, only_project_option, scope_of, test_mode_option
from licenzy.cli.wiring import Wiring, pass_wiring


@click.command(cls=LicenzyCommand)
@only_project_option
@test_mode_option
@click.option("--output", "file", help="Write to this file instead of the terminal.")
@json_option
@pass_wiring
def export(wiring: Wiring, project_id: str | None, mode: str, file: str | None, as_json: bool) -> None:
    """Print products and webhook endpoints as TOML for `licenzy apply`, without any secret.

    Archived products and disabled endpoints are left out.
    """
    from licenzy.configuration.queries import exported
    from licenzy.configuration.toml_text import as_document, as_toml

    if as_json and file is not None:
        raise click.UsageError("--output is for TOML. Leave out --json.")
    runtime = wiring.migrated_runtime()
    scope = scope_of(chosen_project(runtime.database, project_id, archived_too=True), mode)
    with runtime.database.read() as db:
        configuration = exported(db, scope)
    if as_json:
        print_json(as_document(configuration))
    elif file is None:
        click.echo(as_toml(configuration), nl=False)
    else:
        _write(file, as_toml(configuration))


def _write(file: str, written: str) -> None:
    try:
        Path(file).write_text(written, encoding="utf-8", newline="\n")
    except OSError as error:
        raise click.ClickException(f"{file}: The file cannot be written: {error.strerror}.") from None
