"""Joining a workspace by the link of an invitation."""

from __future__ import annotations

from flask import Response, flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.access.forms import JoinForm
from licenzy.portal.blueprint import portal
from licenzy.portal.forms import PortalForm
from licenzy.portal.guards import public, signed_in
from licenzy.portal.respond import go, no_referrer, show, show_form
from licenzy.portal.sessions import (
    SignedInUser,
    password_hasher,
    request_device,
    signed_in_user,
    start_session,
)
from licenzy.runtime import runtime
from licenzy.workspace.invitations import accept_invitation, join_as_newcomer
from licenzy.workspace.team import OfferedInvitation, offered_invitation


@portal.route("/invitations/<token>", methods=["GET", "POST"])
@public
def invitation(token: str) -> ResponseReturnValue:
    """What somebody is invited to; a newcomer makes their account here."""
    offered = _offered(token)
    if offered is None or offered.over is not None:
        return _over(offered)
    user, form, parts = signed_in_user(), JoinForm(), runtime()
    is_newcomer = user is None and not offered.has_account
    if is_newcomer and form.validate_on_submit():
        with form.refusals():
            opened = join_as_newcomer(
                parts.database,
                token=token,
                name=form.name.data,
                password=form.password.data,
                device=request_device(),
                hasher=password_hasher(),
                now=parts.clock(),
            )
            start_session(opened)
            flash(f"Welcome to “{offered.workspace}”.", "success")
            return no_referrer(go(url_for("portal.home")))
    return no_referrer(
        show_form(
            form,
            "access/invitation.html",
            "access/invitation.html",
            offered=offered,
            user=user,
            token=token,
            is_newcomer=is_newcomer,
        )
    )


@portal.post("/invitations/<token>/acceptance")
@signed_in
def accept(user: SignedInUser, token: str) -> ResponseReturnValue:
    """Join as who is signed in."""
    offered = _offered(token)
    if offered is None or offered.over is not None:
        return _over(offered)
    form, parts = PortalForm(), runtime()
    if form.validate():
        with form.refusals():
            parts.database.retrying(
                lambda db: accept_invitation(db, token=token, actor=user.actor, now=parts.clock())
            )
            flash(f"You have joined “{offered.workspace}”.", "success")
            return no_referrer(go(url_for("portal.home")))
    return no_referrer(
        show_form(
            form,
            "access/invitation.html",
            "access/invitation.html",
            offered=offered,
            user=user,
            token=token,
            is_newcomer=False,
        )
    )


def _offered(token: str) -> OfferedInvitation | None:
    with runtime().database.read() as db:
        return offered_invitation(db, token=token, now=runtime().clock())


def _over(offered: OfferedInvitation | None) -> Response:
    status = 404 if offered is None else 410
    over = "unknown" if offered is None else offered.over
    return no_referrer(show("access/invitation_over.html", status=status, over=over))
