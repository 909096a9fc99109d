"""Which workspaces a person wants to be mailed about."""

from __future__ import annotations

from flask import abort, flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.blueprint import portal
from licenzy.portal.guards import ask_second_factor, has_what_it_requires, signed_in
from licenzy.portal.respond import go, show
from licenzy.portal.sessions import SignedInUser
from licenzy.runtime import runtime
from licenzy.workspace.alerts import choose_alerts, wanted_alerts
from licenzy.workspace.queries import workspaces_of


@portal.get("/account/notifications")
@signed_in
def notifications(user: SignedInUser) -> ResponseReturnValue:
    """What I am mailed about. Workspaces whose second factor was not given are not named."""
    with runtime().database.read() as db:
        mine = wanted_alerts(db, user_id=user.user_id)
    wanted = [each for each in mine if has_what_it_requires(user, each[0])]
    return show(
        "account/notifications.html",
        user=user,
        wanted=wanted,
        closed=len(mine) - len(wanted),
        sends_mail=runtime().settings.smtp is not None,
    )


@portal.post("/account/notifications/<id('wsp'):workspace_id>")
@signed_in
def save_notifications(user: SignedInUser, workspace_id: str) -> ResponseReturnValue:
    """Be mailed what blocks live mode of a workspace's projects, or be mailed no more."""
    wanted = bool(request.form.get("wanted"))
    with runtime().database.read() as db:
        mine = workspaces_of(db, user_id=user.user_id)
    if workspace_id not in {each.id for each, _role in mine}:
        abort(404)
    ask = ask_second_factor(user, workspace_id)
    if ask is not None:
        return ask
    with runtime().database.write() as db:
        choose_alerts(db, actor=user.actor, workspace_id=workspace_id, wanted=wanted, now=runtime().clock())
    flash("You will be mailed." if wanted else "You will not be mailed any more.", "success")
    return go(url_for("portal.notifications"))
