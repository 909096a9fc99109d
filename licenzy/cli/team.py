"""`licenzy users list|invite|set-role|disable|enable|remove`: the people of a workspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from licenzy.cli.error_handling import json_option, print_json
from licenzy.cli.users import users
from licenzy.cli.wiring import Wiring, pass_wiring

if TYPE_CHECKING:
    from sqlmodel import Session

    from licenzy.runtime import Runtime
    from licenzy.workspace.team import MemberFacts

ROLES = ("viewer", "support", "admin", "owner")

workspace_option = click.option(
    "--workspace", "workspace_id", help="The workspace's ID. Default: the first workspace."
)
email_option = click.option("--email", required=True, help="The e-mail address they sign in with.")
role_option = click.option("--role", type=click.Choice(ROLES), required=True, help="What they may do.")


@users.command("list")
@workspace_option
@json_option
@pass_wiring
def list_users(wiring: Wiring, workspace_id: str | None, as_json: bool) -> None:
    """List the members of a workspace and the invitations that nobody has accepted."""
    from licenzy.kit.clock import rfc3339
    from licenzy.workspace.team import team_of, waiting_invitations

    runtime = wiring.migrated_runtime()
    with runtime.database.write() as db:
        place = _workspace(db, workspace_id, now=runtime.clock())
        people = [_member_json(each) for each in team_of(db, workspace_id=place)]
        invitations = [
            {"email": each.email, "role": each.role.value, "expires_at": rfc3339(each.expires_at)}
            for each in waiting_invitations(db, workspace_id=place)
        ]
    if as_json:
        print_json({"workspace_id": place, "users": people, "invitations": invitations})
        return
    for person in people:
        state = "disabled" if person["disabled_at"] else "active"
        click.echo(f"{person['email']}  {person['role']}  {state}  {person['name']}")
    for invitation in invitations:
        click.echo(f"{invitation['email']}  {invitation['role']}  invited until {invitation['expires_at']}")
    if not people:
        click.echo("Nobody belongs to this workspace. Add a person with `licenzy users create`.")


@users.command()
@email_option
@role_option
@workspace_option
@json_option
@pass_wiring
def invite(wiring: Wiring, email: str, role: str, workspace_id: str | None, as_json: bool) -> None:
    """Invite somebody and print the link. It works once, for 7 days, and is shown only once."""
    from licenzy.workspace import invitations
    from licenzy.workspace.audit import Actor
    from licenzy.workspace.links import links_for
    from licenzy.workspace.models import Role

    runtime = wiring.migrated_runtime()
    links = links_for(runtime.settings, runtime.secret_box)
    with runtime.database.write() as db:
        link = invitations.invite(
            db,
            links,
            workspace_id=_workspace(db, workspace_id, now=runtime.clock()),
            email=email,
            role=Role(role),
            actor=Actor(),
            now=runtime.clock(),
        )
    if as_json:
        print_json({"email": email, "role": role, "url": link.url, "mailed": link.mailed})
    else:
        click.echo(f"{link.url}\n\nSend this link to {email}. It works once, for 7 days.")
        if link.mailed:
            click.echo("It is mailed, too.")


@users.command("set-role")
@email_option
@role_option
@workspace_option
@json_option
@pass_wiring
def set_role(wiring: Wiring, email: str, role: str, workspace_id: str | None, as_json: bool) -> None:
    """Give a member another role."""
    from licenzy.workspace import members
    from licenzy.workspace.audit import Actor
    from licenzy.workspace.models import Role

    def work(db: Session, who: _Named) -> None:
        members.change_role(
            db,
            workspace_id=who.workspace_id,
            user_id=who.user_id,
            role=Role(role),
            actor=Actor(),
            now=who.now,
        )

    _change(wiring.migrated_runtime(), email, workspace_id, work)
    _say({"email": email, "role": role}, f"{email} is {role} now.", as_json=as_json)


@users.command()
@email_option
@workspace_option
@json_option
@pass_wiring
def disable(wiring: Wiring, email: str, workspace_id: str | None, as_json: bool) -> None:
    """Let a member sign in no more, and end all their sessions."""
    from licenzy.workspace import members
    from licenzy.workspace.audit import Actor

    def work(db: Session, who: _Named) -> None:
        members.disable_user(
            db, workspace_id=who.workspace_id, user_id=who.user_id, actor=Actor(), now=who.now
        )

    _change(wiring.migrated_runtime(), email, workspace_id, work)
    sentence = f"{email} cannot sign in any more. All their sessions have ended."
    _say({"email": email, "disabled": True}, sentence, as_json=as_json)


@users.command()
@email_option
@workspace_option
@json_option
@pass_wiring
def enable(wiring: Wiring, email: str, workspace_id: str | None, as_json: bool) -> None:
    """Let a member sign in again."""
    from licenzy.workspace import members
    from licenzy.workspace.audit import Actor

    def work(db: Session, who: _Named) -> None:
        members.enable_user(
            db, workspace_id=who.workspace_id, user_id=who.user_id, actor=Actor(), now=who.now
        )

    _change(wiring.migrated_runtime(), email, workspace_id, work)
    _say({"email": email, "disabled": False}, f"{email} can sign in again.", as_json=as_json)


@users.command()
@email_option
@workspace_option
@json_option
@pass_wiring
def remove(wiring: Wiring, email: str, workspace_id: str | None, as_json: bool) -> None:
    """Remove a member from a workspace. Their account stays."""
    from licenzy.workspace import members
    from licenzy.workspace.audit import Actor

    def work(db: Session, who: _Named) -> None:
        members.remove_member(
            db, workspace_id=who.workspace_id, user_id=who.user_id, actor=Actor(), now=who.now
        )

    _change(wiring.migrated_runtime(), email, workspace_id, work)
    _say({"email": email, "removed": True}, f"{email} is removed from the workspace.", as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Named:
    """The member that a command names."""

    workspace_id: str
    user_id: str
    now: datetime


def _change(
    runtime: Runtime, email: str, workspace_id: str | None, work: Callable[[Session, _Named], None]
) -> None:
    from licenzy.workspace.members import user_named

    def named(db: Session) -> None:
        place = _workspace(db, workspace_id, now=runtime.clock())
        work(db, _Named(place, user_named(db, email=email).id, runtime.clock()))

    runtime.database.retrying(named)


def _workspace(db: Session, workspace_id: str | None, *, now: datetime) -> str:
    from licenzy.errors import InvalidRequest
    from licenzy.workspace.actions import ensure_first_workspace
    from licenzy.workspace.models import Workspace

    if workspace_id is None:
        return ensure_first_workspace(db, now=now)
    if not workspace_id.isascii() or db.get(Workspace, workspace_id) is None:
        raise InvalidRequest(fields={"workspace": "No workspace has this ID."})
    return workspace_id


def _say(answer: dict[str, Any], sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        click.echo(sentence)


def _member_json(member: MemberFacts) -> dict[str, Any]:
    from licenzy.kit.clock import rfc3339

    return {
        "id": member.user_id,
        "email": member.email,
        "name": member.name,
        "role": member.role.value,
        "joined_at": rfc3339(member.joined_at),
        "last_seen_at": rfc3339(member.last_seen_at) if member.last_seen_at else None,
        "disabled_at": rfc3339(member.disabled_at) if member.disabled_at else None,
        "second_factor": member.has_second_factor,
    }
