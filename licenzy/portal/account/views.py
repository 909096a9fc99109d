"""My account: the password, the sessions, and giving the password once more."""

from __future__ import annotations

from flask import flash, url_for
from flask import request as flask_request
from flask.typing import ResponseReturnValue

from licenzy.errors import LicenzyError
from licenzy.portal.access.views import hasher, refused_with, to_be_repeated
from licenzy.portal.account.forms import ConfirmForm, PasswordForm
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import signed_in
from licenzy.portal.respond import go, own_path, show
from licenzy.portal.sessions import Visitor, remember_device
from licenzy.runtime import runtime
from licenzy.workspace import actions, queries


@portal.get("/account")
@signed_in
def account(user: Visitor) -> ResponseReturnValue:
    """Who I am here, my password and where I am signed in."""
    return _account_page(user, PasswordForm(formdata=None))


@portal.post("/account/password")
@signed_in
def change_password(user: Visitor) -> ResponseReturnValue:
    """Change my password; my other sessions end."""
    form, status, retry_after = PasswordForm(), 422, None
    if form.validate():
        try:
            ended = actions.change_password(
                runtime().database,
                actor=user.actor,
                session_id=user.session_id,
                current=form.current.data,
                new=form.new.data,
                hasher=hasher(),
                now=runtime().clock(),
            )
        except LicenzyError as error:
            form.refuse(error)
            status, retry_after = refused_with(error)
        else:
            remember_device(user.user_id)
            others = f" {ended} other session{'' if ended == 1 else 's'} ended." if ended else ""
            flash(f"Your password is changed.{others}", "success")
            return go(url_for("portal.account"))
    return _account_page(user, form, status=status, retry_after=retry_after)


@portal.post("/account/sessions/<session_id>/end")
@signed_in
def end_session(user: Visitor, session_id: str) -> ResponseReturnValue:
    """Sign another browser of mine out."""
    with runtime().database.write() as db:
        actions.end_session(db, actor=user.actor, session_id=session_id, now=runtime().clock())
    flash("That session is ended.", "success")
    return go(url_for("portal.account"))


@portal.route("/account/confirm", methods=["GET", "POST"])
@signed_in
def confirm(user: Visitor) -> ResponseReturnValue:
    """Ask for the password once more before credentials are changed."""
    form = ConfirmForm(flask_request.form, next=flask_request.args.get("next"))
    status, retry_after = 200, None
    if form.is_submitted():
        status = 422
        if form.validate():
            try:
                actions.confirm_password(
                    runtime().database,
                    actor=user.actor,
                    session_id=user.session_id,
                    password=form.password.data,
                    hasher=hasher(),
                    now=runtime().clock(),
                )
            except LicenzyError as error:
                form.refuse(error)
                status, retry_after = refused_with(error)
            else:
                return go(own_path(form.next.data))
    page = show("account/confirm.html", "account/_confirm_form.html", status=status, form=form)
    return to_be_repeated(page, retry_after)


def _account_page(
    user: Visitor, form: PasswordForm, *, status: int = 200, retry_after: int | None = None
) -> ResponseReturnValue:
    with runtime().database.read() as db:
        sessions = queries.sessions_of(db, user_id=user.user_id, now=runtime().clock())
    page = show(
        "account/page.html",
        "account/_password_form.html",
        status=status,
        user=user,
        sessions=sessions,
        form=form,
    )
    return to_be_repeated(page, retry_after)
