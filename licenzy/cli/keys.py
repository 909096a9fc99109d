"""`licenzy keys …`: API keys of the runtime API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json
from licenzy.cli.projects import mode_option, project_option, require_project, scope_of
from licenzy.cli.running_instance import address_status
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from licenzy.api_keys.models import ApiKey


@click.group(cls=LicenzyGroup)
def keys() -> None:
    """Manage API keys."""


@keys.command()
@project_option
@mode_option
@click.option("--name", required=True, help="Where the key is used, such as backend.")
@json_option
@pass_wiring
def create(wiring: Wiring, project_id: str, mode: str, name: str, as_json: bool) -> None:
    """Create an API key and print it. The key is shown only once."""
    from licenzy.api_keys.actions import create_key

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        require_project(db, project_id)
        key, token = create_key(
            db, scope_of(project_id, mode), name=name, created_by=None, now=runtime.clock()
        )
        details = _key_json(key)
    if as_json:
        print_json({**details, "api_key": token})
    else:
        click.echo(f"{token}\n\nThis key is shown only once. Its ID is {details['id']}.")
        click.echo(address_status(runtime.settings))


@keys.command("list")
@project_option
@mode_option
@json_option
@pass_wiring
def list_keys(wiring: Wiring, project_id: str, mode: str, as_json: bool) -> None:
    """List the API keys of a project and mode, newest first."""
    from licenzy.api_keys.queries import keys as keys_of

    with wiring.migrated_runtime().database.read() as db:
        require_project(db, project_id, archived_too=True)
        details = [_key_json(key) for key in keys_of(db, scope_of(project_id, mode))]
    if as_json:
        print_json({"keys": details})
        return
    for key in details:
        state = f"revoked {key['revoked_at']}" if key["revoked_at"] else "active"
        click.echo(f"{key['id']}  {key['api_key_masked']}  {key['name']}  {state}")
    if not details:
        click.echo(f"There are no API keys in {mode} mode. Create one with `licenzy keys create`.")


@keys.command()
@project_option
@mode_option
@click.argument("key_id")
@json_option
@pass_wiring
def revoke(wiring: Wiring, project_id: str, mode: str, key_id: str, as_json: bool) -> None:
    """Revoke an API key permanently."""
    from licenzy.api_keys.actions import revoke_key
    from licenzy.workspace.audit import Actor

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        require_project(db, project_id)
        key = revoke_key(db, scope_of(project_id, mode), key_id=key_id, actor=Actor(), now=runtime.clock())
        details = _key_json(key)
    if as_json:
        print_json(details)
    else:
        click.echo(f"{key_id} is revoked.")


def _key_json(key: ApiKey) -> dict[str, Any]:
    from licenzy.api_keys.rules import masked
    from licenzy.kit.clock import rfc3339

    return {
        "id": key.id,
        "project_id": key.project_id,
        "mode": key.mode.value,
        "name": key.name,
        "api_key_masked": masked(key.mode, key.last_four),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at) if key.expires_at else None,
        "revoked_at": rfc3339(key.revoked_at) if key.revoked_at else None,
        "last_used_at": rfc3339(key.last_used_at) if key.last_used_at else None,
    }
