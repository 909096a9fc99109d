"""The project and mode that a command works in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlmodel import Session

    from licenzy.db.unit_of_work import Database
    from licenzy.projects.scope import Scope

project_option = click.option("--project", "project_id", required=True, help="The ID of the project (prj_…).")
mode_option = click.option(
    "--mode", type=click.Choice(["test", "live"]), required=True, help="Test mode or live mode."
)
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


def chosen_project(database: Database, project_id: str | None, *, archived_too: bool = False) -> str:
    """The project that `--project` names, or the only one that is not archived.

    Raises NotFound for one that does not exist, ProjectArchived for an archived one unless those may be
    read, and UsageError with the list where there are several.
    """
    from licenzy.errors import NotFound
    from licenzy.projects.queries import project_names

    with database.read() as db:
        if project_id is not None:
            require_project(db, project_id, archived_too=archived_too)
            return project_id
        names = project_names(db)
    if len(names) == 1:
        return next(iter(names))
    if names:
        listed = ", ".join(f"{each} ({name})" for each, name in names.items())
        raise click.UsageError(f"Give --project, because there are several projects: {listed}.")
    raise NotFound("There is no project yet.", hint="Create one in the portal.")


def require_project(db: Session, project_id: str, *, archived_too: bool = False) -> None:
    """Raise NotFound where there is no such project, and ProjectArchived unless archived ones may be read."""
    from licenzy.errors import NotFound
    from licenzy.projects.models import Project
    from licenzy.projects.queries import ProjectArchived

    found = db.get(Project, project_id)
    if found is None or found.deleted_at is not None:
        raise NotFound("This project does not exist.", hint="Copy the ID from the address of its pages.")
    if found.archived_at is not None and not archived_too:
        raise ProjectArchived


def scope_of(project_id: str, mode: str) -> Scope:
    """The scope of `--project` and `--mode`."""
    from licenzy.alignment.modes import Mode
    from licenzy.projects.scope import Scope

    return Scope(project_id, Mode(mode))
