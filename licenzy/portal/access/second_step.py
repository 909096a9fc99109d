"""The second step of signing in: a code after the password."""

from __future__ import annotations

from flask import flash, session, url_for
from flask import request as flask_request
from flask.typing import ResponseReturnValue

from licenzy.portal.access.forms import SecondStepForm
from licenzy.portal.blueprint import portal
from licenzy.portal.guards import public
from licenzy.portal.respond import go, own_path, show_form
from licenzy.portal.sessions import request_device, start_session
from licenzy.runtime import runtime
from licenzy.workspace.challenges import ChallengeOver, SecondFactorNeeded, person_of_challenge
from licenzy.workspace.factor_queries import second_factors
from licenzy.workspace.second_step import finish_sign_in

_CHALLENGE = "sign_in_challenge"


def go_to_second_step(needed: SecondFactorNeeded, *, target: str) -> ResponseReturnValue:
    """Have this browser give a second factor. Nothing else that its cookie held is kept."""
    session.clear()
    session[_CHALLENGE] = needed.token
    return go(url_for("portal.second_step", next=target))


def challenge_token() -> str:
    """The token of the sign-in that this browser has begun; none that exists, where it has not."""
    return str(session.get(_CHALLENGE, ""))


@portal.route("/sign-in/second-factor", methods=["GET", "POST"])
@public
def second_step() -> ResponseReturnValue:
    """Give the code of one's app, or a recovery code, and be signed in."""
    form = SecondStepForm(flask_request.form, next=flask_request.args.get("next"))
    now = runtime().clock()
    try:
        with runtime().database.read() as db:
            person = person_of_challenge(db, token=challenge_token(), now=now)
            factors = second_factors(db, user_id=person.id)
        if form.validate_on_submit():
            with form.refusals(besides=ChallengeOver):
                opened = finish_sign_in(
                    runtime().database,
                    runtime().secret_box,
                    token=challenge_token(),
                    code=form.code.data,
                    device=request_device(),
                    now=now,
                )
                start_session(opened)
                return go(own_path(form.next.data))
    except ChallengeOver as over:
        return begin_again(over, target=form.next.data)
    return show_form(
        form, "access/second_step.html", "access/_second_step_form.html", person=person, factors=factors
    )


def begin_again(over: ChallengeOver, *, target: str | None) -> ResponseReturnValue:
    """Back to the password, with the reason."""
    session.pop(_CHALLENGE, None)
    flash(f"{over.message} {over.hint}", "error")
    return go(url_for("portal.sign_in", next=own_path(target)))
