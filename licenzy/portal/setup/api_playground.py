"""Run it: the line to paste, sent from here through the real API, with its real answer."""

from __future__ import annotations

import json
from dataclasses import dataclass

from flask import current_app, request
from flask.typing import ResponseReturnValue
from werkzeug.test import EnvironBuilder, run_wsgi_app

from licenzy.api_keys.actions import note_used
from licenzy.api_keys.models import ApiKey
from licenzy.api_keys.queries import key_by_hash
from licenzy.api_keys.rules import presented_hash
from licenzy.errors import InvalidRequest, LicenzyError
from licenzy.portal.blueprint import project
from licenzy.portal.guards import Side, project_page
from licenzy.portal.respond import wants_fragment
from licenzy.portal.setup.forms import TryForm
from licenzy.portal.setup.views import followed
from licenzy.portal.setup.wizard import step_page
from licenzy.runtime import runtime
from licenzy.setup.rules import StepName
from licenzy.workspace.models import Role


@dataclass(frozen=True, slots=True)
class SampleResponse:
    """What `/v1` answered: the status, its own mode header, and the body as indented JSON."""

    status: int
    mode: str
    body: str


@project.post("/setup/api-key")
@project_page(Role.ADMIN)
def send_sample_request(side: Side) -> ResponseReturnValue:
    """Send the access check with a key of this side, and show what the API answers."""
    form = TryForm()
    token = (form.api_key.data or "").strip()
    if form.validate():
        try:
            key = _key(side, token)
        except LicenzyError as error:
            form.api_key.errors = [error.message]
        else:
            sample_response = _send(token, form.subject_ref.data)
            if sample_response.status == 200:
                _note_used_now(key)
            return _page(
                side, 200, form, sample_response=sample_response, token=token if form.shown.data else None
            )
    return _page(side, 422, form, sample_response=None, token=None)


def _page(
    side: Side, status: int, form: TryForm, *, sample_response: SampleResponse | None, token: str | None
) -> ResponseReturnValue:
    """The step that the form stands in; a first call proves a step, so the stepper changes with the form."""
    step, watched = StepName.API_KEY, {}
    if form.step.data == StepName.PURCHASE.value:
        step = StepName.PURCHASE
        journey, progress = followed(side, None)
        watched = {"journey": journey, "timeline": progress}
    return step_page(
        side,
        step,
        "setup/_ran.html",
        status=status,
        try_form=form,
        sample_response=sample_response,
        token=token,
        swapped=wants_fragment() and sample_response is not None,
        **watched,
    )


def _key(side: Side, token: str) -> ApiKey:
    """The key of this side, usable or not. Raises LicenzyError, the same for every key of another side."""
    presented = presented_hash(token)
    with runtime().database.read() as db:
        key = key_by_hash(db, presented)
    if key is None or (key.project_id, key.mode) != (side.project_id, side.mode):
        raise InvalidRequest(f"This is not an API key of this project in {side.mode} mode.")
    return key


def _note_used_now(key: ApiKey) -> None:
    """The API notes uses in the background; the page that follows shows this one already."""
    parts = runtime()
    with parts.database.write() as db:
        note_used(db, key_id=key.id, now=parts.clock())


def _send(token: str, subject_ref: str) -> SampleResponse:
    """The request of the line to paste, handed to the application itself: no network, no other thread."""
    sent = EnvironBuilder(
        "/v1/access/check",
        method="POST",
        base_url=request.host_url,
        json={"subject_ref": subject_ref},
        headers=[("Authorization", f"Bearer {token}")],
    ).get_environ()
    sent["REMOTE_ADDR"] = request.remote_addr or ""
    body, status, headers = run_wsgi_app(current_app.wsgi_app, sent, buffered=True)
    text = json.dumps(json.loads(b"".join(body)), indent=2, ensure_ascii=False)
    return SampleResponse(int(status.split()[0]), headers.get("Licenzy-Mode", ""), text)
