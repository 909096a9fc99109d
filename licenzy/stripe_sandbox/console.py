"""The console of an account: what there is, what was posted where, and buttons for what may happen next."""

from __future__ import annotations

import json
import sqlite3
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from licenzy.stripe_sandbox import console_presenter
from licenzy.stripe_sandbox.account_session import AccountSession, public
from licenzy.stripe_sandbox.accounts import find_by_capability
from licenzy.stripe_sandbox.actions import perform
from licenzy.stripe_sandbox.errors import StripeRefusal
from licenzy.stripe_sandbox.pages import page
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.version import Json, event_for

_WHOLE = ("seconds", "amount")


def console_blueprint(services: Services) -> Blueprint:
    """`/console/<account>/<capability>`: the address is the key, so no cookie and no login is needed."""
    blueprint = Blueprint("console", __name__, url_prefix="/console/<account_id>/<capability>")

    @blueprint.get("")
    def show(account_id: str, capability: str) -> Response:
        with services.store.reading() as db:
            session = _open_session(db, services, account_id, capability)
            return _missing() if session is None else _console_page(services, session)

    @blueprint.post("")
    def act(account_id: str, capability: str) -> AnyResponse:
        params = _form_params()
        try:
            with services.store.writing() as db:
                session = _open_session(db, services, account_id, capability)
                if session is None:
                    return _missing()
                emitted = len(perform(session, params))
        except StripeRefusal as refusal:
            return _refused(services, account_id, capability, refusal)
        services.sender.wake()
        return redirect(f"{request.path}?done={params['action']}&events={emitted}", 303)

    @blueprint.get("/events/<event_id>")
    def show_event(account_id: str, capability: str, event_id: str) -> Response:
        with services.store.reading() as db:
            session = _open_session(db, services, account_id, capability)
            event = session.find("event", event_id) if session else None
            return _missing() if session is None or event is None else _event_page(session, event)

    return blueprint


def _open_session(
    db: sqlite3.Connection, services: Services, account_id: str, capability: str
) -> AccountSession | None:
    account = find_by_capability(db, account_id, capability)
    return None if account is None else AccountSession(db, account, services.public_url)


def _form_params() -> Json:
    """The form as an action; empty fields were left empty on purpose."""
    params: Json = {}
    for name, value in request.form.items():
        if value.strip() == "":
            continue
        params[name] = (
            int(value)
            if name in _WHOLE and value.isascii() and value.isdigit() and len(value) < 12
            else value
        )
    return params


def _refused(services: Services, account_id: str, capability: str, refusal: StripeRefusal) -> Response:
    with services.store.reading() as db:
        session = _open_session(db, services, account_id, capability)
        return (
            _missing() if session is None else _console_page(services, session, 422, problem=refusal.message)
        )


def _console_page(
    services: Services, session: AccountSession, status: int = 200, *, problem: str | None = None
) -> Response:
    reference = session.account.reference
    lab = services.lab_url if reference and not session.account.livemode else None
    done = request.args.get("done", "")
    return page(
        "console.html",
        status,
        account=session.account,
        now=session.now,
        problem=problem,
        done=console_presenter.LABELS.get(done),
        events_emitted=request.args.get("events", "0")[:6],
        steps=console_presenter.CLOCK_STEPS,
        subscriptions=console_presenter.subscriptions(session),
        payments=console_presenter.payments(session),
        sessions=console_presenter.sessions(session),
        events=console_presenter.events(session),
        endpoints=session.select("webhook_endpoint"),
        here=request.path,
        lab_url=lab.replace("{reference}", quote(reference or "", safe="")) if lab else None,
    )


def _event_page(session: AccountSession, event: Json) -> Response:
    shown = event_for(public(event), event["api_version"])
    return page(
        "event.html",
        account=session.account,
        event=event,
        payload=json.dumps(shown, indent=2, ensure_ascii=False),
        posts=console_presenter.posts(session, event["id"]),
        console=request.path.rpartition("/events/")[0],
    )


def _missing() -> Response:
    return page("missing.html", 404)
