"""The people of a workspace, and the invitations that nobody has accepted yet."""

from __future__ import annotations

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import workspace
from licenzy.portal.guards import WorkspaceMember, fresh, workspace_page
from licenzy.portal.one_time_secrets import put_secret, take_secret
from licenzy.portal.respond import go, show_form
from licenzy.portal.team.forms import InviteForm
from licenzy.portal.team.role_refusals import flashed_team_refusals, refusing_roles
from licenzy.runtime import runtime
from licenzy.workspace.invitations import invite, resend_invitation, revoke_invitation
from licenzy.workspace.links import NewLink, links_for
from licenzy.workspace.models import Role
from licenzy.workspace.queries import names_of
from licenzy.workspace.team import team_of, waiting_invitations
from licenzy.workspace.team_rules import roles_to_give

_INVITATION = "invitation link"
"""Names the one-time secret that the page of the team shows."""


@workspace.get("/team")
@workspace_page(Role.VIEWER)
def team(member: WorkspaceMember) -> ResponseReturnValue:
    """Who belongs to the workspace, and who is invited to it."""
    return _team_page(member, InviteForm(formdata=None))


@workspace.post("/team/invitations")
@workspace_page(Role.ADMIN)
@fresh
def invite_member(member: WorkspaceMember) -> ResponseReturnValue:
    """Invite somebody, and show the link, this once."""
    form = InviteForm()
    form.offer(roles_to_give(member.role))
    parts = runtime()
    if form.validate():
        with form.refusals(), refusing_roles(member):
            links = links_for(parts.settings, parts.secret_box)
            link = parts.database.retrying(
                lambda db: invite(
                    db,
                    links,
                    workspace_id=member.workspace_id,
                    email=form.email.data,
                    role=form.chosen,
                    actor=member.actor,
                    now=parts.clock(),
                )
            )
            return _with_link(member, link)
    return _team_page(member, form)


@workspace.post("/team/invitations/<id('inv'):invitation_id>/link")
@workspace_page(Role.ADMIN)
@fresh
def renew_invitation(member: WorkspaceMember, invitation_id: str) -> ResponseReturnValue:
    """Make a new link for an invitation; the old one ends."""
    parts = runtime()
    links = links_for(parts.settings, parts.secret_box)
    with flashed_team_refusals(member):
        link = parts.database.retrying(
            lambda db: resend_invitation(
                db,
                links,
                workspace_id=member.workspace_id,
                invitation_id=invitation_id,
                actor=member.actor,
                now=parts.clock(),
            )
        )
        return _with_link(member, link)
    return go(url_for("portal.workspace.team"))


@workspace.post("/team/invitations/<id('inv'):invitation_id>/revocation")
@workspace_page(Role.ADMIN)
def end_invitation(member: WorkspaceMember, invitation_id: str) -> ResponseReturnValue:
    """Revoke an invitation: its link ends."""
    parts = runtime()
    with flashed_team_refusals(member):
        parts.database.retrying(
            lambda db: revoke_invitation(
                db,
                workspace_id=member.workspace_id,
                invitation_id=invitation_id,
                actor=member.actor,
                now=parts.clock(),
            )
        )
        flash("Invitation revoked. Its link does not work any more.", "success")
    return go(url_for("portal.workspace.team"))


def _with_link(member: WorkspaceMember, link: NewLink) -> ResponseReturnValue:
    put_secret(member, link.url, of=_INVITATION)
    if link.mailed:
        flash("The invitation is being mailed.", "success")
    return go(url_for("portal.workspace.team"))


def _team_page(member: WorkspaceMember, form: InviteForm) -> ResponseReturnValue:
    roles = roles_to_give(member.role)
    form.offer(roles)
    with runtime().database.read() as db:
        people = team_of(db, workspace_id=member.workspace_id)
        invitations = waiting_invitations(db, workspace_id=member.workspace_id)
        inviters = names_of(db, user_ids={each.invited_by for each in invitations if each.invited_by})
    return show_form(
        form,
        "team/page.html",
        "team/page.html",
        member=member,
        people=people,
        invitations=invitations,
        inviters=inviters,
        roles=roles,
        now=runtime().clock(),
        link=take_secret(member, of=_INVITATION),
        mailed=runtime().settings.smtp is not None,
    )
