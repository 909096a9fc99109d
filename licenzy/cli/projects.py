"""The project that a command works in, and what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from licenzy.db.unit_of_work import Database

only_project_option = click.option(
    "--project", "project_id", help="The ID of the project (prj_…). Needed where there are several."
)
test_mode_option = click.option(
    "--mode",
    type=click.Choice(["test", "live"]),
    default="test",
    show_default=True,
    help="Test mode or live mode.",
)


def chosen_project(database: Database, project_id: str | None) -> str:
    """The project that `--project` names, or the only one.

    Raises NotFound for one that does not exist, and UsageError with the list where there are several.
    """
    from licenzy.errors import NotFound
    from licenzy.projects.queries import project_names

    with database.read() as db:
        names = project_names(db)
    if project_id is None and len(names) == 1:
        return next(iter(names))
    if project_id is None and names:
        listed = ", ".join(f"{each} ({name})" for each, name in names.items())
        raise click.UsageError(f"Give --project, because there are several projects: {listed}.")
    if project_id is None:
        raise NotFound("There is no project yet.", hint="Create one in the portal.")
    if project_id not in names:
        raise NotFound("This project does not exist.", hint="Copy the ID from the address of its pages.")
    return project_id
