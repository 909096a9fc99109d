"""A forgotten password: asking for a link, and setting a new one by it."""

from __future__ import annotations

from flask import flash, url_for
from flask.typing import ResponseReturnValue

from licenzy.portal.access.forms import ForgottenPasswordForm, NewPasswordForm
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public
from licenzy.portal.respond import go, no_referrer, show, show_form
from licenzy.portal.sessions import password_hasher, request_device
from licenzy.runtime import runtime
from licenzy.workspace.links import links_for
from licenzy.workspace.password_links import ResetLinkOver, request_reset, reset_by_link
from licenzy.workspace.queries import open_reset_by_token


@portal.route("/password-reset", methods=["GET", "POST"])
@public
def forgotten_password() -> ResponseReturnValue:
    """Ask for a link; the answer is the same whether or not somebody has the address."""
    form, parts = ForgottenPasswordForm(), runtime()
    mailed = parts.settings.smtp is not None
    if mailed and form.validate_on_submit():
        with form.refusals():
            request_reset(
                parts.database,
                links_for(parts.settings, parts.secret_box),
                email=form.email.data,
                ip=request_device().ip,
                now=parts.clock(),
            )
            return show("access/reset_requested.html")
    page = "access/forgotten_password.html"
    return show_form(form, page, page, mailed=mailed)


@portal.route("/password-reset/<token>", methods=["GET", "POST"])
@public
def reset_password(token: str) -> ResponseReturnValue:
    """Set a new password, then sign in with it."""
    parts, form = runtime(), NewPasswordForm()
    with parts.database.read() as db:
        found = open_reset_by_token(db, token=token, now=parts.clock())
    if found is None:
        return _over()
    if form.validate_on_submit():
        with form.refusals():
            reset_by_link(
                parts.database,
                token=token,
                password=form.password.data,
                ip=request_device().ip,
                hasher=password_hasher(),
                now=parts.clock(),
            )
            flash("Password changed. Sign in with the new one. All your sessions have ended.", "success")
            return no_referrer(go(url_for("portal.sign_in")))
        if isinstance(form.refusal, ResetLinkOver):
            return _over()
    page = "access/reset_password.html"
    return no_referrer(show_form(form, page, page, email=found[1].email))


def _over() -> ResponseReturnValue:
    mailed = runtime().settings.smtp is not None
    return no_referrer(show("access/reset_over.html", status=410, mailed=mailed))
