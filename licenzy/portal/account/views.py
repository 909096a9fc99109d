"""My account: the password, the sessions, and giving the password once more."""

from __future__ import annotations

from flask import flash, url_for
from flask import request as flask_request
from flask.typing import ResponseReturnValue

from licenzy.portal.account.forms import ConfirmForm, PasswordForm
from licenzy.portal.blueprint import portal
from licenzy.portal.formatting import number
from licenzy.portal.guards import signed_in
from licenzy.portal.respond import go, own_path, show_form
from licenzy.portal.sessions import SignedInUser, password_hasher, remember_device
from licenzy.runtime import runtime
from licenzy.workspace import actions, queries
from licenzy.workspace.factor_queries import second_factors


@portal.get("/account")
@signed_in
def account(user: SignedInUser) -> ResponseReturnValue:
    """Who I am here, my password and where I am signed in."""
    return _account_page(user, PasswordForm(formdata=None))


@portal.post("/account/password")
@signed_in
def change_password(user: SignedInUser) -> ResponseReturnValue:
    """Change my password; my other sessions end."""
    form = PasswordForm()
    if form.validate():
        with form.refusals():
            ended = actions.change_password(
                runtime().database,
                actor=user.actor,
                session_id=user.session_id,
                current=form.current.data,
                new=form.new.data,
                hasher=password_hasher(),
                now=runtime().clock(),
            )
            remember_device(user.user_id)
            others = f" {number(ended)} other session{'' if ended == 1 else 's'} ended." if ended else ""
            flash(f"Password changed.{others}", "success")
            return go(url_for("portal.account"))
    return _account_page(user, form)


@portal.post("/account/sessions/<id('ses'):session_id>/end")
@signed_in
def end_session(user: SignedInUser, session_id: str) -> ResponseReturnValue:
    """Sign another browser of mine out."""
    with runtime().database.write() as db:
        actions.end_session(db, actor=user.actor, session_id=session_id, now=runtime().clock())
    flash("Session ended.", "success")
    return go(url_for("portal.account"))


@portal.post("/account/sessions/end-others")
@signed_in
def end_other_sessions(user: SignedInUser) -> ResponseReturnValue:
    """Sign out everywhere but here."""
    with runtime().database.write() as db:
        ended = actions.end_other_sessions(
            db, actor=user.actor, session_id=user.session_id, now=runtime().clock()
        )
    flash(f"{number(ended)} other session{'' if ended == 1 else 's'} ended.", "success")
    return go(url_for("portal.account"))


@portal.route("/account/confirm", methods=["GET", "POST"])
@signed_in
def confirm(user: SignedInUser) -> ResponseReturnValue:
    """Ask for the password once more before credentials are changed."""
    form = ConfirmForm(flask_request.form, next=flask_request.args.get("next"))
    if form.validate_on_submit():
        with form.refusals():
            actions.confirm_password(
                runtime().database,
                actor=user.actor,
                session_id=user.session_id,
                password=form.password.data,
                hasher=password_hasher(),
                now=runtime().clock(),
            )
            return go(own_path(form.next.data))
    with runtime().database.read() as db:
        factors = second_factors(db, user_id=user.user_id)
    return show_form(form, "account/confirm.html", "account/_confirm_form.html", factors=factors)


def _account_page(user: SignedInUser, form: PasswordForm) -> ResponseReturnValue:
    with runtime().database.read() as db:
        sessions = queries.sessions_of(db, user_id=user.user_id, now=runtime().clock())
        factors = second_factors(db, user_id=user.user_id)
    return show_form(
        form,
        "account/page.html",
        "account/_password_form.html",
        user=user,
        sessions=sessions,
        factors=factors,
    )
