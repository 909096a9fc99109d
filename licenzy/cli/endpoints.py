"""`licenzy endpoints …`: where webhooks are sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json
from licenzy.cli.projects import mode_option, project_option, require_project, scope_of
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from sqlmodel import Session

    from licenzy.deliveries.actions import EndpointContext
    from licenzy.deliveries.models import WebhookEndpoint
    from licenzy.runtime import Runtime


@click.group(cls=LicenzyGroup)
def endpoints() -> None:
    """Manage webhook endpoints."""


@endpoints.command()
@project_option
@mode_option
@click.option("--url", required=True, help="The address that receives events.")
@click.option(
    "--type", "types", multiple=True, help="An event type to send. Repeat it for several. Default: all."
)
@click.option("--description", default="", help="A note for people.")
@json_option
@pass_wiring
def create(
    wiring: Wiring,
    project_id: str,
    mode: str,
    url: str,
    types: tuple[str, ...],
    description: str,
    as_json: bool,
) -> None:
    """Create a webhook endpoint and print its secret. The secret is shown only once."""
    from licenzy.deliveries.actions import create_endpoint
    from licenzy.deliveries.models import EventType

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        endpoint, secret = create_endpoint(
            db,
            runtime.secret_box,
            _change_context(db, runtime, project_id, mode),
            url=url,
            types=types or [each.value for each in EventType],
            description=description,
            private_allowed=runtime.settings.allow_private_webhooks,
        )
        details = _endpoint_json(endpoint)
    if as_json:
        print_json({**details, "secret": secret})
    else:
        click.echo(f"{secret}\n\nThis secret is shown only once. The endpoint's ID is {details['id']}.")


@endpoints.command("list")
@project_option
@mode_option
@json_option
@pass_wiring
def list_endpoints(wiring: Wiring, project_id: str, mode: str, as_json: bool) -> None:
    """List the webhook endpoints of a project and mode, newest first."""
    from licenzy.deliveries.queries import endpoints as endpoints_of

    runtime = wiring.migrated_runtime()
    with runtime.database.read() as db:
        require_project(db, project_id, archived_too=True)
        details = [_endpoint_json(each) for each in endpoints_of(db, scope_of(project_id, mode))]
    if as_json:
        print_json({"endpoints": details})
        return
    for each in details:
        state = "enabled" if each["state"] == "in force" else each["state"]
        click.echo(f"{each['id']}  {each['url']}  {state}")
    if not details:
        click.echo(
            f"There are no webhook endpoints in {mode} mode. Create one with `licenzy endpoints create`."
        )


@endpoints.command()
@project_option
@mode_option
@click.argument("endpoint_id")
@json_option
@pass_wiring
def disable(wiring: Wiring, project_id: str, mode: str, endpoint_id: str, as_json: bool) -> None:
    """Stop sending events to an endpoint. Resume it in the portal."""
    from licenzy.deliveries.actions import disable_endpoint

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        context = _change_context(db, runtime, project_id, mode)
        details = _endpoint_json(disable_endpoint(db, context, endpoint_id=endpoint_id))
    if as_json:
        print_json(details)
    else:
        click.echo(f"{endpoint_id} is disabled.")


def _change_context(db: Session, runtime: Runtime, project_id: str, mode: str) -> EndpointContext:
    from licenzy.deliveries.actions import EndpointContext
    from licenzy.workspace.audit import Actor

    require_project(db, project_id)
    return EndpointContext(scope_of(project_id, mode), Actor(), runtime.clock())


def _endpoint_json(endpoint: WebhookEndpoint) -> dict[str, Any]:
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
