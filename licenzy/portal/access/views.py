"""The way in: the start page, claiming a fresh installation, signing in and out."""

from __future__ import annotations

from flask import abort, url_for
from flask import request as flask_request
from flask.typing import ResponseReturnValue

from licenzy.portal.access.forms import ClaimForm, SignInForm
from licenzy.portal.access.second_step import go_to_second_step
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public, signed_in
from licenzy.portal.projects.views import workspaces_to_grow
from licenzy.portal.respond import go, no_referrer, own_path, show, show_form
from licenzy.portal.sessions import (
    SignedInUser,
    clear_session,
    password_hasher,
    request_device,
    signed_in_user,
    start_session,
)
from licenzy.projects.queries import projects_for
from licenzy.runtime import runtime
from licenzy.workspace import actions, queries, rules

_WRONG_LINK = (
    "This is not the link that this server printed when it started. Copy the whole link from the terminal "
    "or the log; restarting the server prints it again."
)


@portal.get("/")
@public
def home() -> ResponseReturnValue:
    """Where an address without a path leads: to one's project, to signing in, or to claiming."""
    user = signed_in_user()
    if user is None:
        return go(url_for("portal.sign_in")) if _is_claimed() else show("access/unclaimed.html")
    with runtime().database.read() as db:
        mine = projects_for(db, user_id=user.user_id)
    projects = [project for project, _role in mine if project.archived_at is None]
    if not mine and workspaces_to_grow(user):
        return go(url_for("portal.new_project"))
    if len(projects) != 1:
        return go(url_for("portal.projects"))
    return go(url_for("portal.project.overview", project_id=projects[0].id, mode="test"))


@portal.route("/claim/<token>", methods=["GET", "POST"])
@public
def claim(token: str) -> ResponseReturnValue:
    """The one-time page that makes the first owner; it is gone once somebody has claimed."""
    if _is_claimed():
        abort(404)
    if not rules.same_token(runtime().settings.derived_secret("claim"), token):
        abort(403, _WRONG_LINK)
    form = ClaimForm()
    if form.validate_on_submit():
        with form.refusals():
            opened = actions.claim_install(
                runtime().database,
                email=form.email.data,
                name=form.name.data,
                password=form.password.data,
                device=request_device(),
                hasher=password_hasher(),
                now=runtime().clock(),
            )
            start_session(opened)
            return no_referrer(go(url_for("portal.home")))
    return no_referrer(show_form(form, "access/claim.html", "access/_claim_form.html"))


@portal.route("/sign-in", methods=["GET", "POST"])
@public
def sign_in() -> ResponseReturnValue:
    """Sign in, then go where one wanted to go."""
    form = SignInForm(flask_request.form, next=flask_request.args.get("next"))
    target = own_path(form.next.data)
    if signed_in_user() is not None and not form.is_submitted():
        return go(target)
    if form.validate_on_submit():
        with form.refusals():
            opened = actions.sign_in(
                runtime().database,
                email=form.email.data,
                password=form.password.data,
                device=request_device(),
                hasher=password_hasher(),
                now=runtime().clock(),
            )
            if isinstance(opened, actions.SecondFactorNeeded):
                return go_to_second_step(opened, target=target)
            start_session(opened)
            return go(target)
    mailed = runtime().settings.smtp is not None
    return show_form(form, "access/sign_in.html", "access/_sign_in_form.html", mailed=mailed)


@portal.post("/sign-out")
@signed_in
def sign_out(user: SignedInUser) -> ResponseReturnValue:
    """End this session, on the server and in the browser."""
    with runtime().database.write() as db:
        actions.sign_out(db, actor=user.actor, session_id=user.session_id, now=runtime().clock())
    clear_session()
    return go(url_for("portal.sign_in"))


def _is_claimed() -> bool:
    with runtime().database.read() as db:
        return queries.is_claimed(db)
