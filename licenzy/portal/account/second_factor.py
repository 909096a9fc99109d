"""My second factor: an authenticator app and recovery codes, and giving one in a session that lacks it."""

from __future__ import annotations

import io

import segno
from flask import flash, url_for
from flask import request as flask_request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from licenzy.portal.access.forms import SecondStepForm
from licenzy.portal.account.forms import AppCodeForm
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import fresh, signed_in
from licenzy.portal.one_time_secrets import put_secret, take_secret
from licenzy.portal.respond import flashed_refusals, go, own_path, show, show_form
from licenzy.portal.sessions import SignedInUser, request_device
from licenzy.runtime import runtime
from licenzy.workspace import second_factor as verbs
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.second_factor_rules import totp_address
from licenzy.workspace.second_step import give_second_factor

_CODES = "recovery codes"


@portal.route("/account/second-factor", methods=["GET", "POST"])
@signed_in
def second_factor(user: SignedInUser) -> ResponseReturnValue:
    """What a workspace requires that is missing in this session: a second factor, given or set up."""
    form = SecondStepForm(flask_request.form, next=flask_request.args.get("next"))
    target = own_path(form.next.data)
    if user.second_factor_at is not None:
        return go(target)
    if form.validate_on_submit():
        with form.refusals():
            give_second_factor(
                runtime().database,
                runtime().secret_box,
                actor=user.actor,
                session_id=user.session_id,
                code=form.code.data,
                device=request_device(),
                now=runtime().clock(),
            )
            return go(target)
    with runtime().database.read() as db:
        factors = second_factors(db, user_id=user.user_id)
    return show_form(form, "account/second_factor.html", "account/_second_factor_form.html", factors=factors)


@portal.post("/account/authenticator")
@signed_in
@fresh
def begin_app(user: SignedInUser) -> ResponseReturnValue:
    """Make a secret for an authenticator app, and show it."""
    with flashed_refusals(), runtime().database.write() as db:
        verbs.begin_app(db, runtime().secret_box, actor=user.actor, now=runtime().clock())
        return go(url_for("portal.app_set_up", next=flask_request.form.get("next") or None))
    return go(url_for("portal.account"))


@portal.route("/account/authenticator", methods=["GET"])
@signed_in
@fresh
def app_set_up(user: SignedInUser) -> ResponseReturnValue:
    """The secret as a QR code and as text, and a field for the app's first code."""
    return _app_page(user, AppCodeForm(formdata=None, next=flask_request.args.get("next")))


@portal.post("/account/authenticator/confirmation")
@signed_in
@fresh
def confirm_app(user: SignedInUser) -> ResponseReturnValue:
    """Turn the app on by its first code."""
    form = AppCodeForm()
    if form.validate():
        with form.refusals():
            with runtime().database.write() as db:
                codes = verbs.confirm_app(
                    db,
                    runtime().secret_box,
                    actor=user.actor,
                    session_id=user.session_id,
                    code=form.code.data,
                    now=runtime().clock(),
                )
            flash("Authenticator app set up. Your other sessions ended.", "success")
            return show_codes(user, codes, target=form.next.data)
    return _app_page(user, form)


@portal.post("/account/authenticator/removal")
@signed_in
@fresh
def remove_app(user: SignedInUser) -> ResponseReturnValue:
    """Turn the app off."""
    with flashed_refusals(), runtime().database.write() as db:
        verbs.remove_app(db, actor=user.actor, session_id=user.session_id, now=runtime().clock())
        flash("Authenticator app removed. Your other sessions ended.", "success")
    return go(url_for("portal.account"))


@portal.post("/account/recovery-codes")
@signed_in
@fresh
def create_recovery_codes(user: SignedInUser) -> ResponseReturnValue:
    """Ten new codes in place of the old ones."""
    with flashed_refusals(), runtime().database.write() as db:
        codes = verbs.create_recovery_codes(db, actor=user.actor, now=runtime().clock())
        return show_codes(user, codes)
    return go(url_for("portal.account"))


@portal.get("/account/recovery-codes")
@signed_in
def recovery_codes(user: SignedInUser) -> ResponseReturnValue:
    """The codes that were just made, this once."""
    target = own_path(flask_request.args.get("next"), otherwise=url_for("portal.account"))
    codes = take_secret(user, of=_CODES)
    if codes is None:
        return go(target)
    return show("account/recovery_codes.html", codes=codes.split(), target=target)


def show_codes(user: SignedInUser, codes: list[str], *, target: str | None = None) -> ResponseReturnValue:
    """On to the page that shows new recovery codes, and from there to the page that one wanted.

    That is `target`, or one's account. Without new codes it comes at once.
    """
    if not codes:
        return go(own_path(target, otherwise=url_for("portal.account")))
    put_secret(user, " ".join(codes), of=_CODES)
    return go(url_for("portal.recovery_codes", next=target or None))


def _app_page(user: SignedInUser, form: AppCodeForm) -> ResponseReturnValue:
    with flashed_refusals():
        with runtime().database.read() as db:
            secret = verbs.app_being_set_up(db, runtime().secret_box, user_id=user.user_id)
        return show_form(
            form,
            "account/authenticator.html",
            "account/_authenticator_form.html",
            secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
            qr_code=_qr_code(totp_address(secret, email=user.email)),
        )
    return go(url_for("portal.account"))


def _qr_code(text: str) -> Markup:
    """The text as SVG with neither styles nor scripts, which the policy of our pages refuses."""
    image = io.BytesIO()
    segno.make(text, error="m").save(
        image,
        kind="svg",
        border=4,
        light="#fff",
        omitsize=True,
        xmldecl=False,
        svgns=False,
        svgclass="qr-code",
        lineclass=None,
        title="QR code of the secret",
    )
    return Markup(image.getvalue().decode())  # noqa: S704  # The library escapes what it writes.
