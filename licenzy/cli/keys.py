"""`licenzy keys …`: API keys of the runtime API."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json
from licenzy.cli.key_scan import scan
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
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(["runtime", "read", "audit"]),
    multiple=True,
    default=("runtime",),
    show_default=True,
    help="What the key may call. Repeatable.",
)
@click.option(
    "--expires",
    default="never",
    show_default=True,
    help="The last day on which the key works (YYYY-MM-DD, UTC).",
)
@json_option
@pass_wiring
def create(
    wiring: Wiring,
    project_id: str,
    mode: str,
    name: str,
    scopes: tuple[str, ...],
    expires: str,
    as_json: bool,
) -> None:
    """Create an API key and print it. The key is shown only once."""
    from licenzy.api_keys.actions import create_key

    expires_at, runtime = _expiry(expires), wiring.migrated_runtime()
    with runtime.database.write() as db:
        require_project(db, project_id)
        key, token = create_key(
            db,
            scope_of(project_id, mode),
            name=name,
            scopes=scopes,
            created_by=None,
            expires_at=expires_at,
            now=runtime.clock(),
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

    runtime = wiring.migrated_runtime()
    with runtime.database.read() as db:
        require_project(db, project_id)
        found = keys_of(db, scope_of(project_id, mode))
        details = [_key_json(key) for key in found]
    if as_json:
        print_json({"keys": details})
        return
    for key in found:
        click.echo(_key_line(key, runtime.clock()))
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


@keys.command()
@click.argument("key_id")
@click.option(
    "--overlap",
    default="24h",
    show_default=True,
    help="How long both keys work: minutes, hours or days, such as 30m, 24h or 7d; 0 ends the old key now.",
)
@json_option
@pass_wiring
def rotate(wiring: Wiring, key_id: str, overlap: str, as_json: bool) -> None:
    """Replace an API key and print the new one. The old one ends after the overlap."""
    from licenzy.api_keys.actions import rotate_key
    from licenzy.api_keys.queries import scope_of_key
    from licenzy.kit.clock import rfc3339
    from licenzy.workspace.audit import Actor

    duration, runtime = _duration(overlap), wiring.migrated_runtime()
    with runtime.database.write() as db:
        rotated = rotate_key(
            db,
            scope_of_key(db, key_id=key_id),
            key_id=key_id,
            overlap=duration,
            actor=Actor(),
            now=runtime.clock(),
        )
        old, new = _key_json(rotated.old), _key_json(rotated.new)
        assert rotated.old.expires_at is not None
        ends = rfc3339(rotated.old.expires_at)
    if as_json:
        print_json({**new, "api_key": rotated.token, "replaced": old})
    else:
        click.echo(f"{rotated.token}\n\nThis key is shown only once. Its ID is {new['id']}.")
        click.echo(f"It replaces {old['id']} ({old['api_key_masked']}), which ends at {ends}.")


keys.add_command(scan)


def _expiry(word: str) -> datetime | None:
    """When a key expires whose last day the word is. Raises BadParameter."""
    from licenzy.api_keys.rules import last_moment

    if word == "never":
        return None
    try:
        return last_moment(date.fromisoformat(word))
    except ValueError:
        raise click.BadParameter("Give a day as YYYY-MM-DD, or never.", param_hint="--expires") from None


def _duration(word: str) -> timedelta:
    """The duration that a word such as `24h` means. Raises BadParameter."""
    match = re.fullmatch(r"([0-9]{1,4})([mhd])|0", word)
    if match is None:
        raise click.BadParameter("Give a number with m, h or d, such as 24h, or 0.", param_hint="--overlap")
    number, unit = match.groups()
    return timedelta(**{_UNITS[unit]: int(number)}) if unit else timedelta(0)


_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _key_line(key: ApiKey, now: datetime) -> str:
    from licenzy.api_keys.rules import masked, state_of
    from licenzy.kit.clock import rfc3339

    state = state_of(key, now)
    if state == "revoked" and key.revoked_at is not None:
        state += f" {rfc3339(key.revoked_at)}"
    elif key.expires_at is not None:
        state += f" {'since' if state == 'expired' else 'until'} {rfc3339(key.expires_at)}"
    used = f"last used {rfc3339(key.last_used_at)}" if key.last_used_at is not None else "never used"
    replaced = [f"replaced by {key.replaced_by}"] if key.replaced_by is not None else []
    return "  ".join(
        [
            key.id,
            masked(key.mode, key.last_four),
            key.name,
            key.scopes.replace(" ", ","),
            used,
            state,
            *replaced,
        ]
    )


def _key_json(key: ApiKey) -> dict[str, Any]:
    from licenzy.api_keys.rules import masked
    from licenzy.kit.clock import rfc3339

    return {
        "id": key.id,
        "project_id": key.project_id,
        "mode": key.mode.value,
        "name": key.name,
        "api_key_masked": masked(key.mode, key.last_four),
        "scopes": key.scopes.split(),
        "created_at": rfc3339(key.created_at),
        "expires_at": rfc3339(key.expires_at) if key.expires_at else None,
        "revoked_at": rfc3339(key.revoked_at) if key.revoked_at else None,
        "last_used_at": rfc3339(key.last_used_at) if key.last_used_at else None,
        "replaced_by": key.replaced_by,
    }
