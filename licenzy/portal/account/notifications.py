"""Which workspaces a person wants to be mailed about."""

from __future__ import annotations

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import signed_in
from licenzy.portal.respond import go, show
from licenzy.portal.sessions import SignedInUser
from licenzy.runtime import runtime
from licenzy.workspace.alerts import choose_alerts, wanted_alerts


@portal.get("/account/notifications")
@signed_in
def notifications(user: SignedInUser) -> ResponseReturnValue:
    """What I am mailed about."""
    with runtime().database.read() as db:
        wanted = wanted_alerts(db, user_id=user.user_id)
    return show(
        "account/notifications.html", user=user, wanted=wanted, sends_mail=runtime().settings.smtp is not None
    )


@portal.post("/account/notifications/<id('wsp'):workspace_id>")
@signed_in
def save_notifications(user: SignedInUser, workspace_id: str) -> ResponseReturnValue:
    """Be mailed what blocks live mode of a workspace's projects, or be mailed no more."""
    wanted = bool(request.form.get("wanted"))
    with runtime().database.write() as db:
        choose_alerts(db, actor=user.actor, workspace_id=workspace_id, wanted=wanted, now=runtime().clock())
    flash("You will be mailed." if wanted else "You will not be mailed any more.", "success")
    return go(url_for("portal.notifications"))
