"""`licenzy audit`: what was done in a workspace or a project."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from licenzy.cli.error_handling import json_option, print_json
from licenzy.cli.projects import require_project
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from sqlmodel import Session

_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--workspace", "workspace_id", help="The ID of a workspace (wsp_…). Without it, the first one.")
@click.option("--project", "project_id", help="Only what was done in this project (prj_…).")
@click.option("--mode", type=click.Choice(["test", "live"]), help="Only what was done in this mode.")
@click.option(
    "--action", "actions", multiple=True, help="Only this action, such as api_key.created. Repeatable."
)
@click.option("--since", type=_DAY, help="From this day on, in UTC.")
@click.option("--until", type=_DAY, help="Up to this day and with it, in UTC.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="The most entries.")
@json_option
@pass_wiring
def audit(
    wiring: Wiring,
    workspace_id: str | None,
    project_id: str | None,
    mode: str | None,
    actions: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the audit log, newest first. With --json each entry is one line."""
    from itertools import islice

    from licenzy.alignment.modes import Mode
    from licenzy.kit.clock import later
    from licenzy.workspace.audit_export import as_json as entry_json
    from licenzy.workspace.audit_log import AuditFilter, all_entries
    from licenzy.workspace.audit_wording import in_words, who
    from licenzy.workspace.queries import names_of

    wanted = AuditFilter(
        project_id=project_id,
        actions=actions,
        mode=Mode(mode) if mode is not None else None,
        since=since.replace(tzinfo=UTC) if since is not None else None,
        until=later(until.replace(tzinfo=UTC), timedelta(days=1)) if until is not None else None,
    )
    with wiring.migrated_runtime().database.read() as db:
        place = _workspace(db, workspace_id, project_id)
        shown = 0
        for entry in islice(all_entries(db, wanted, workspace_id=place), limit):
            shown += 1
            if as_json:
                print_json(entry_json(entry))
                continue
            names = names_of(db, user_ids=[entry.actor_user_id] if entry.actor_user_id is not None else [])
            address = f" from {entry.ip}" if entry.ip is not None else ""
            mode_word = f"  {entry.mode}" if entry.mode is not None else ""
            click.echo(
                f"{entry.at:%Y-%m-%d %H:%M:%S}  {who(entry, names)}{address}  {in_words(entry.action)}"
                f"  {entry.about}{mode_word}"
            )
    if not shown and not as_json:
        click.echo("The audit log has no such entry.")


def _workspace(db: Session, workspace_id: str | None, project_id: str | None) -> str:
    """The workspace that is named, that of the project, or the first one. Raises NotFound."""
    from licenzy.errors import NotFound
    from licenzy.projects.models import Project
    from licenzy.workspace.models import Installation, Workspace

    if workspace_id is not None:
        if db.get(Workspace, workspace_id) is None:
            raise NotFound(
                "This workspace does not exist.", hint="Copy the ID from the address of its pages."
            )
        return workspace_id
    if project_id is not None:
        require_project(db, project_id)
        return db.get_one(Project, project_id).workspace_id
    installation = db.get(Installation, 1)
    if installation is None:
        raise NotFound("There is no workspace yet.", hint="Start Licenzy and open the link that it prints.")
    return installation.workspace_id
