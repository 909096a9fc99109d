"""My passkeys: made, removed, and used to confirm who I am."""

from __future__ import annotations

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.errors import LicenzyError
from licenzy.portal.access.forms import PasskeyForm
from licenzy.portal.account.forms import NewPasskeyForm
from licenzy.portal.account.second_factor import show_codes
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import fresh, signed_in
from licenzy.portal.passkey_questions import passkey_context, put_question, take_answer
from licenzy.portal.respond import go, own_path, show_form
from licenzy.portal.sessions import SignedInUser
from licenzy.runtime import runtime
from licenzy.workspace import passkeys as verbs


@portal.get("/account/passkeys/new")
@signed_in
@fresh
def new_passkey(_user: SignedInUser) -> ResponseReturnValue:
    """A name for a new passkey."""
    passkey_context()
    return _new_page(NewPasskeyForm(formdata=None, next=request.args.get("next")))


@portal.post("/account/passkeys/options")
@signed_in
@fresh
def new_passkey_options(user: SignedInUser) -> ResponseReturnValue:
    """What a browser is asked for: a new passkey of mine."""
    context, now = passkey_context(), runtime().clock()
    return put_question(lambda: verbs.begin_creation(context, actor=user.actor, now=now))


@portal.post("/account/passkeys")
@signed_in
@fresh
def create_passkey(user: SignedInUser) -> ResponseReturnValue:
    """Keep the passkey that the browser made."""
    context, form = passkey_context(), NewPasskeyForm()
    if form.validate():
        with form.refusals():
            codes = verbs.create_passkey(
                context,
                take_answer(form.credential.data),
                actor=user.actor,
                session_id=user.session_id,
                name=form.name.data,
                now=runtime().clock(),
            )
            flash("Passkey created. Your other sessions ended.", "success")
            return show_codes(user, codes, target=form.next.data)
    return _new_page(form)


@portal.post("/account/passkeys/<id('psk'):passkey_id>/removal")
@signed_in
@fresh
def remove_passkey(user: SignedInUser, passkey_id: str) -> ResponseReturnValue:
    """Forget a passkey of mine."""
    with runtime().database.write() as db:
        verbs.remove_passkey(
            db,
            actor=user.actor,
            session_id=user.session_id,
            passkey_id=passkey_id,
            now=runtime().clock(),
        )
    flash("Passkey removed. Your other sessions ended.", "success")
    return go(url_for("portal.account"))


@portal.post("/account/confirm/options")
@signed_in
def confirm_options(user: SignedInUser) -> ResponseReturnValue:
    """What a browser is asked for: one of my passkeys."""
    context, now = passkey_context(), runtime().clock()
    return put_question(lambda: verbs.begin_confirmation(context, actor=user.actor, now=now))


@portal.post("/account/confirm/passkey")
@signed_in
def confirm_with_passkey(user: SignedInUser) -> ResponseReturnValue:
    """Confirm that it is me by a passkey, which is a second factor too."""
    context, form = passkey_context(), PasskeyForm()
    target = own_path(form.next.data)
    try:
        verbs.confirm_with_passkey(
            context,
            take_answer(form.credential.data or ""),
            actor=user.actor,
            session_id=user.session_id,
            now=runtime().clock(),
        )
    except LicenzyError as error:
        flash(" ".join(part for part in (error.message, error.hint) if part), "error")
        return go(url_for("portal.confirm", next=target))
    return go(target)


def _new_page(form: NewPasskeyForm) -> ResponseReturnValue:
    return show_form(form, "account/new_passkey.html", "account/_new_passkey_form.html")
