"""Passkeys between the pages and the verbs: a script fetches a question, and a form brings the answer."""

from __future__ import annotations

from collections.abc import Callable

from flask import Response, abort, make_response, session
from flask.json import dumps

from licenzy.errors import LicenzyError
from licenzy.runtime import runtime
from licenzy.workspace.passkey_checks import relying_party
from licenzy.workspace.passkeys import PasskeyAnswer, PasskeyContext, PasskeyQuestion

_CHALLENGE = "passkey_challenge"


def passkeys_offered() -> bool:
    """Whether browsers take passkeys at the address of this installation."""
    return relying_party(runtime().settings.base_url) is not None


def passkey_context() -> PasskeyContext:
    """What the verbs about passkeys need. Not found, where there are none."""
    party = relying_party(runtime().settings.base_url)
    if party is None:
        abort(404)
    return PasskeyContext(runtime().database, runtime().secret_box, party)


def put_question(ask: Callable[[], PasskeyQuestion]) -> Response:
    """The question as JSON for the script; the cookie keeps what the answer is checked by."""
    try:
        question = ask()
    except LicenzyError as error:
        message = " ".join(part for part in (error.message, error.hint) if part)
        return _json(dumps({"message": message}), status=error.status)
    session[_CHALLENGE] = question.token
    return _json(question.options)


def take_answer(credential: str) -> PasskeyAnswer:
    """The answer that came with a form, and the token of its question."""
    return PasskeyAnswer(str(session.pop(_CHALLENGE, "")), credential)


def _json(text: str, status: int = 200) -> Response:
    return make_response(text, status, {"Content-Type": "application/json"})
