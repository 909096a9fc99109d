"""Signing in with a passkey, in place of the password and the code, or after the password."""

from __future__ import annotations

from flask import flash, request, url_for
from flask.typing import ResponseReturnValue

from licenzy.errors import LicenzyError
from licenzy.portal.access.forms import PasskeyForm
from licenzy.portal.access.second_step import begin_again, challenge_token
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public
from licenzy.portal.passkey_questions import passkey_context, put_question, take_answer
from licenzy.portal.respond import go, own_path
from licenzy.portal.sessions import request_device, start_session
from licenzy.runtime import runtime
from licenzy.workspace import passkeys as verbs
from licenzy.workspace.challenges import ChallengeOver


@portal.post("/sign-in/passkey/options")
@public
def passkey_sign_in_options() -> ResponseReturnValue:
    """What a browser is asked for: anybody's passkey."""
    context, now = passkey_context(), runtime().clock()
    return put_question(lambda: verbs.begin_passkey_sign_in(context, ip=request.remote_addr, now=now))


@portal.post("/sign-in/passkey")
@public
def passkey_sign_in() -> ResponseReturnValue:
    """Sign in with a passkey alone: its device has verified its person."""
    context, form = passkey_context(), PasskeyForm()
    target = own_path(form.next.data)
    try:
        answer = take_answer(form.credential.data or "")
        start_session(
            verbs.sign_in_with_passkey(context, answer, device=request_device(), now=runtime().clock())
        )
    except LicenzyError as error:
        return _refused(error, back=url_for("portal.sign_in", next=target))
    return go(target)


@portal.post("/sign-in/second-factor/options")
@public
def passkey_step_options() -> ResponseReturnValue:
    """What a browser is asked for after the password: a passkey of this person."""
    context, now = passkey_context(), runtime().clock()
    return put_question(lambda: verbs.begin_passkey_step(context, token=challenge_token(), now=now))


@portal.post("/sign-in/second-factor/passkey")
@public
def passkey_step() -> ResponseReturnValue:
    """Finish signing in by a passkey after the password."""
    context, form = passkey_context(), PasskeyForm()
    target = own_path(form.next.data)
    try:
        answer = take_answer(form.credential.data or "")
        start_session(
            verbs.finish_with_passkey(context, answer, device=request_device(), now=runtime().clock())
        )
    except ChallengeOver as over:
        return begin_again(over, target=target)
    except LicenzyError as error:
        return _refused(error, back=url_for("portal.second_step", next=target))
    return go(target)


def _refused(error: LicenzyError, *, back: str) -> ResponseReturnValue:
    flash(" ".join(part for part in (error.message, error.hint) if part), "error")
    return go(back)
