"""`licenzy endpoints …`: where webhooks are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.keys import mode_option, project_option, scope_of
from licenzy.cli.plain import PlainGroup, as_json, json_option
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from sqlmodel import Session

    from licenzy.deliveries.actions import EndpointContext
    from licenzy.deliveries.models import WebhookEndpoint
    from licenzy.runtime import Runtime


@click.group(cls=PlainGroup)
def endpoints() -> None:
    """Make, list and disable webhook endpoints."""


@endpoints.command()
@project_option
@mode_option
@click.option("--url", required=True, help="Where events are sent to.")
@click.option("--type", "types", multiple=True, help="An event to send; once for each. All when left out.")
@click.option("--description", default="", help="What it is for, for people.")
@json_option
@pass_wiring
def create(
    wiring: Wiring,
    project_id: str,
    mode: str,
    url: str,
    types: tuple[str, ...],
    description: str,
    json_wanted: bool,
) -> None:
    """Make an endpoint and print its secret. It is shown this once."""
    from licenzy.deliveries.actions import create_endpoint
    from licenzy.deliveries.models import EventType

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        made, secret = create_endpoint(
            db,
            runtime.secret_box,
            _desk(db, runtime, project_id, mode),
            url=url,
            types=types or [each.value for each in EventType],
            description=description,
            private_allowed=runtime.settings.allow_private_webhooks,
        )
        shown = _shown(made)
    if json_wanted:
        as_json({**shown, "secret": secret})
    else:
        click.echo(f"{secret}\n\nThis secret is shown only now. The endpoint's id is {shown['id']}.")


@endpoints.command("list")
@project_option
@mode_option
@json_option
@pass_wiring
def list_endpoints(wiring: Wiring, project_id: str, mode: str, json_wanted: bool) -> None:
    """List the endpoints of a project and mode, newest first."""
    from licenzy.deliveries.queries import endpoints as endpoints_of

    runtime = wiring.migrated_runtime()
    with runtime.database.read() as db:
        scope = _desk(db, runtime, project_id, mode).scope
        shown = [_shown(each) for each in endpoints_of(db, scope)]
    if json_wanted:
        as_json({"endpoints": shown})
        return
    for each in shown:
        click.echo(f"{each['id']}  {each['url']}  {each['state']}")
    if not shown:
        click.echo(f"There are no webhook endpoints in {mode} mode yet.")


@endpoints.command()
@project_option
@mode_option
@click.argument("endpoint_id")
@json_option
@pass_wiring
def disable(wiring: Wiring, project_id: str, mode: str, endpoint_id: str, json_wanted: bool) -> None:
    """Send nothing there and write nothing for it until it is resumed in the portal."""
    from licenzy.deliveries.actions import disable_endpoint

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        context = _desk(db, runtime, project_id, mode)
        shown = _shown(disable_endpoint(db, context, endpoint_id=endpoint_id))
    if json_wanted:
        as_json(shown)
    else:
        click.echo(f"{endpoint_id} is disabled.")


def _desk(db: Session, runtime: Runtime, project_id: str, mode: str) -> EndpointContext:
    from licenzy.deliveries.actions import EndpointContext
    from licenzy.errors import NotFound
    from licenzy.projects.models import Project
    from licenzy.workspace.audit import Actor

    if db.get(Project, project_id) is None:
        raise NotFound("There is no such project.", hint="The portal shows each project's id in its address.")
    return EndpointContext(scope_of(project_id, mode), Actor(), runtime.clock())


def _shown(endpoint: WebhookEndpoint) -> dict[str, Any]:
    from licenzy.kit.clock import rfc3339

    state = "disabled" if endpoint.disabled_at else "paused" if endpoint.paused_at else "in force"
    return {
        "id": endpoint.id,
        "project_id": endpoint.project_id,
        "mode": endpoint.mode.value,
        "url": endpoint.url,
        "description": endpoint.description,
        "types": endpoint.types,
        "secret_masked": endpoint.secret_masked,
        "state": state,
        "created_at": rfc3339(endpoint.created_at),
    }
