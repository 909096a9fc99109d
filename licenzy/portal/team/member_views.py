"""One member of a workspace: their role, a link for their password, removal, disabling; and leaving."""

from __future__ import annotations

from collections.abc import Callable

from flask import abort, flash, url_for
from flask.typing import ResponseReturnValue
from sqlmodel import Session

from licenzy.portal.blueprint import workspace
from licenzy.portal.guards import WorkspaceMember, fresh, workspace_page
from licenzy.portal.one_time_secrets import put_secret, take_secret
from licenzy.portal.respond import go, show
from licenzy.portal.team.forms import RoleForm
from licenzy.portal.team.role_refusals import flashed_team_refusals
from licenzy.runtime import runtime
from licenzy.workspace.links import links_for
from licenzy.workspace.members import change_role, disable_user, enable_user, remove_member
from licenzy.workspace.models import Role
from licenzy.workspace.password_links import issue_reset
from licenzy.workspace.second_factor import reset_second_factor
from licenzy.workspace.team import MemberFacts, team_of
from licenzy.workspace.team_rules import may_act_on, roles_to_give


@workspace.get("/team/<id('usr'):user_id>")
@workspace_page(Role.VIEWER)
def team_member(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """One member, and what may be done to them by who looks."""
    person = _member_or_404(member, user_id)
    is_self = user_id == member.user.user_id
    roles = [role for role in roles_to_give(member.role) if not is_self or member.role.at_least(role)]
    form = RoleForm(formdata=None, role=person.role.value)
    form.offer(roles)
    return show(
        "team/member.html",
        member=member,
        person=person,
        is_self=is_self,
        may_act=may_act_on(member.role, person.role),
        form=form,
        link=take_secret(member, of=_link_of(user_id)),
        mailed=runtime().settings.smtp is not None,
    )


@workspace.post("/team/<id('usr'):user_id>/role")
@workspace_page(Role.ADMIN)
@fresh
def set_member_role(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Give a member another role."""
    form, parts = RoleForm(), runtime()
    form.offer(roles_to_give(member.role))
    person = _member_or_404(member, user_id)
    if not form.validate():
        abort(422, "No role was chosen, so nothing was changed. Choose a role.")
    _do(
        member,
        lambda db: change_role(
            db,
            workspace_id=member.workspace_id,
            user_id=user_id,
            role=form.chosen,
            actor=member.actor,
            now=parts.clock(),
        ),
        f"{person.name} is {form.chosen.value} now.",
    )
    return go(url_for("portal.workspace.team_member", user_id=user_id))


@workspace.post("/team/<id('usr'):user_id>/removal")
@workspace_page(Role.ADMIN)
@fresh
def remove_team_member(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Remove a member: they open nothing of the workspace any more."""
    person = _member_or_404(member, user_id)
    if not _do(member, lambda db: _end_membership(db, member, user_id), f"{person.name} is removed."):
        return go(url_for("portal.workspace.team_member", user_id=user_id))
    return go(url_for("portal.workspace.team"))


@workspace.post("/team/leaving")
@workspace_page(Role.VIEWER)
def leave_workspace(member: WorkspaceMember) -> ResponseReturnValue:
    """End one's own membership."""
    left = f"You have left the workspace “{member.workspace.name}”."
    user_id = member.user.user_id
    if not _do(member, lambda db: _end_membership(db, member, user_id), left):
        return go(url_for("portal.workspace.team_member", user_id=user_id))
    return go(url_for("portal.projects"))


@workspace.post("/team/<id('usr'):user_id>/disabling")
@workspace_page(Role.OWNER)
@fresh
def disable_member(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Let a person sign in no more, and end their sessions."""
    person, parts = _member_or_404(member, user_id), runtime()
    _do(
        member,
        lambda db: disable_user(
            db,
            workspace_id=member.workspace_id,
            user_id=user_id,
            actor=member.actor,
            now=parts.clock(),
        ),
        f"{person.name} is disabled. All their sessions have ended.",
    )
    return go(url_for("portal.workspace.team_member", user_id=user_id))


@workspace.post("/team/<id('usr'):user_id>/enabling")
@workspace_page(Role.OWNER)
@fresh
def enable_member(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Let a person sign in again."""
    person, parts = _member_or_404(member, user_id), runtime()
    _do(
        member,
        lambda db: enable_user(
            db,
            workspace_id=member.workspace_id,
            user_id=user_id,
            actor=member.actor,
            now=parts.clock(),
        ),
        f"{person.name} can sign in again.",
    )
    return go(url_for("portal.workspace.team_member", user_id=user_id))


@workspace.post("/team/<id('usr'):user_id>/password-reset")
@workspace_page(Role.ADMIN)
@fresh
def issue_password_reset(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Make a link by which a member sets a new password, and show it, this once."""
    _member_or_404(member, user_id)
    parts = runtime()
    links = links_for(parts.settings, parts.secret_box)
    with flashed_team_refusals(member):
        link = parts.database.retrying(
            lambda db: issue_reset(
                db,
                links,
                workspace_id=member.workspace_id,
                user_id=user_id,
                actor=member.actor,
                now=parts.clock(),
            )
        )
        put_secret(member, link.url, of=_link_of(user_id))
        if link.mailed:
            flash("The link is being mailed.", "success")
    return go(url_for("portal.workspace.team_member", user_id=user_id))


@workspace.post("/team/<id('usr'):user_id>/second-factor-reset")
@workspace_page(Role.OWNER)
@fresh
def reset_member_second_factor(member: WorkspaceMember, user_id: str) -> ResponseReturnValue:
    """Remove what a member has lost: their app, passkeys and recovery codes."""
    person, parts = _member_or_404(member, user_id), runtime()
    _do(
        member,
        lambda db: reset_second_factor(
            db,
            workspace_id=member.workspace_id,
            user_id=user_id,
            actor=member.actor,
            now=parts.clock(),
        ),
        f"{person.name} has no second factor now. All their sessions have ended.",
    )
    return go(url_for("portal.workspace.team_member", user_id=user_id))


def _do(member: WorkspaceMember, work: Callable[[Session], object], done: str) -> bool:
    """Run a verb, and flash that it is done or why it is refused; whether it is done."""
    with flashed_team_refusals(member):
        runtime().database.retrying(work)
        flash(done, "success")
        return True
    return False


def _end_membership(db: Session, member: WorkspaceMember, user_id: str) -> None:
    remove_member(
        db,
        workspace_id=member.workspace_id,
        user_id=user_id,
        actor=member.actor,
        now=runtime().clock(),
    )


def _member_or_404(member: WorkspaceMember, user_id: str) -> MemberFacts:
    with runtime().database.read() as db:
        found = team_of(db, workspace_id=member.workspace_id, user_id=user_id)
    if not found:
        abort(404)
    return found[0]


def _link_of(user_id: str) -> str:
    return f"password link of {user_id}"
