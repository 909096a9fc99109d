"""`licenzy users …`: people who can sign in."""

from __future__ import annotations

import sys

import click

from licenzy.cli.error_handling import LicenzyGroup, json_option, print_json
from licenzy.cli.running_instance import address_status
from licenzy.cli.wiring import Wiring, pass_wiring

password_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of prompting."
)


@click.group(cls=LicenzyGroup)
def users() -> None:
    """Manage people who can sign in."""


@users.command()
@click.option("--email", required=True, help="The e-mail address they sign in with.")
@click.option("--name", help="Their name. Default: the part of the e-mail address before the @.")
@click.option(
    "--role",
    type=click.Choice(["viewer", "support", "admin", "owner"]),
    default="owner",
    show_default=True,
    help="What they may do.",
)
@password_option
@json_option
@pass_wiring
def create(
    wiring: Wiring, email: str, name: str | None, role: str, password_stdin: bool, as_json: bool
) -> None:
    """Add a person to the first workspace of the installation."""
    from licenzy.workspace.actions import Actor, create_user, ensure_first_workspace
    from licenzy.workspace.models import Role
    from licenzy.workspace.passwords import passwords

    runtime = wiring.migrated_runtime()
    password = _read_password(password_stdin)
    with runtime.database.write() as db:
        workspace_id = ensure_first_workspace(db, now=runtime.clock())
    user = create_user(
        runtime.database,
        actor=Actor(),
        email=email,
        name=name or email.partition("@")[0],
        password=password,
        role=Role(role),
        workspace_id=workspace_id,
        hasher=passwords(cheap=runtime.settings.testing),
        now=runtime.clock(),
    )
    if as_json:
        print_json({"id": user.id, "email": user.email, "role": role})
    else:
        click.echo(f"{user.email} can sign in as {role}.")
        click.echo(address_status(runtime.settings))


@users.command("reset-password")
@click.option("--email", required=True, help="The e-mail address they sign in with.")
@password_option
@json_option
@pass_wiring
def reset_password(wiring: Wiring, email: str, password_stdin: bool, as_json: bool) -> None:
    """Set a new password for a person and end all their sessions."""
    from licenzy.workspace import actions
    from licenzy.workspace.passwords import passwords

    runtime = wiring.migrated_runtime()
    actions.reset_password(
        runtime.database,
        actor=actions.Actor(),
        email=email,
        password=_read_password(password_stdin),
        hasher=passwords(cheap=runtime.settings.testing),
        now=runtime.clock(),
    )
    if as_json:
        print_json({"email": email, "reset": True})
    else:
        click.echo(f"{email} has a new password. All their sessions have ended.")


@users.command("reset-second-factor")
@click.option("--email", required=True, help="The e-mail address they sign in with.")
@json_option
@pass_wiring
def reset_second_factor(wiring: Wiring, email: str, as_json: bool) -> None:
    """Remove a person's second factors and recovery codes, and end all their sessions."""
    from licenzy.errors import InvalidRequest
    from licenzy.workspace import queries, rules, second_factor
    from licenzy.workspace.audit import Actor

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        user = queries.find_user(db, email=rules.normal_email(email) or email)
        if user is None:
            raise InvalidRequest(fields={"email": "No person has this e-mail address."})
        second_factor.reset_second_factor(
            db, actor=Actor(), user_id=user.id, workspace_id=None, now=runtime.clock()
        )
    if as_json:
        print_json({"email": user.email, "reset": True})
    else:
        click.echo(f"{user.email} has no second factor now and signs in with the password.")
        click.echo("All their sessions have ended.")


@users.command("unlink-provider")
@click.option("--email", required=True, help="Their e-mail address in Licenzy.")
@json_option
@pass_wiring
def unlink(wiring: Wiring, email: str, as_json: bool) -> None:
    """Forget which account at the OpenID provider is a person's, and end all their sessions."""
    from licenzy.workspace.audit import Actor
    from licenzy.workspace.members import user_named
    from licenzy.workspace.single_sign_on import unlink_provider

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        user = user_named(db, email=email)
        unlinked = unlink_provider(db, actor=Actor(), user_id=user.id, now=runtime.clock())
    if as_json:
        print_json({"email": user.email, "unlinked": unlinked})
    elif unlinked:
        click.echo(f"The next sign-in through the provider as {user.email} is linked with this person.")
        click.echo("All their sessions have ended.")
    else:
        click.echo(f"No account at the provider is linked with {user.email}.")


def _read_password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n")
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password
