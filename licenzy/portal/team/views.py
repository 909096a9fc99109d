"""The people of a workspace."""

from __future__ import annotations

from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import workspace
from licenzy.portal.guards import WorkspaceMember, workspace_page
from licenzy.portal.respond import show
from licenzy.runtime import runtime
from licenzy.workspace.models import Role
from licenzy.workspace.queries import members_of


@workspace.get("/team")
@workspace_page(Role.VIEWER)
def team(member: WorkspaceMember) -> ResponseReturnValue:
    """Who belongs to the workspace."""
    with runtime().database.read() as db:
        members = members_of(db, workspace_id=member.workspace_id)
    return show("team/page.html", member=member, members=members)
