"""The console of an account: what there is, what was posted where, and buttons for what may happen next."""

from __future__ import annotations

import json
import sqlite3
from urllib.parse import quote

from flask import Blueprint, Response, redirect, request
from itsdangerous import BadSignature, URLSafeTimedSerializer
from werkzeug.wrappers import Response as AnyResponse

from licenzy.stripe_sandbox import advances, console_presenter
from licenzy.stripe_sandbox.account_store import AccountStore, public
from licenzy.stripe_sandbox.accounts import Account, find_by_capability
from licenzy.stripe_sandbox.actions import CLOCK_ACTIONS, begin_advance, perform
from licenzy.stripe_sandbox.errors import StripeRefusal
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.pages import page
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.version import Json, event_for

LINK_SECONDS = 300
VISIT_SECONDS = 12 * 3600
_COOKIE = "sandbox_console"
_TICKET, _VISIT = "console ticket", "console visit"
_WHOLE = ("seconds", "amount")


def console_blueprint(services: Services) -> Blueprint:
    """`/console/<account>/<capability>`, for who came by a link of `console_link`.

    The address alone opens nothing: whoever may only read at Licenzy could have seen it.
    """
    blueprint = Blueprint("console", __name__, url_prefix="/console/<account_id>/<capability>")

    @blueprint.before_request
    def require_visit() -> Response | None:
        ids = request.view_args or {}
        with services.store.reading() as db:
            account = find_by_capability(db, ids["account_id"], ids["capability"])
        if account is None:
            return _missing()
        if request.endpoint == "console.enter" or _visits(services, account):
            return None
        return page("console_closed.html", 403)

    @blueprint.get("/enter")
    def enter(account_id: str, capability: str) -> AnyResponse:
        with services.store.reading() as db:
            account = find_by_capability(db, account_id, capability)
        ticket = request.args.get("ticket", "")
        if account is None or not _is_signed(services, _TICKET, ticket, account, LINK_SECONDS):
            return page("console_closed.html", 403)
        here = request.path.removesuffix("/enter")
        response = redirect(here, 303)
        response.set_cookie(
            _COOKIE,
            _signer(services, _VISIT).dumps(account.scope),
            max_age=VISIT_SECONDS,
            path=here,
            secure=services.public_url.startswith("https:"),
            httponly=True,
            samesite="Lax",
        )
        return response

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
                if params.get("action") in CLOCK_ACTIONS:
                    begin_advance(session, params, id_=new_id("adv_1"), delivery="in_order")
                    emitted = 0
                else:
                    emitted = len(perform(session, params))
        except StripeRefusal as refusal:
            return _refused(services, account_id, capability, refusal)
        services.sender.wake()
        services.advancer.wake()
        return redirect(f"{request.path}?done={params['action']}&events={emitted}", 303)

    @blueprint.get("/events/<event_id>")
    def show_event(account_id: str, capability: str, event_id: str) -> Response:
        with services.store.reading() as db:
            session = _open_session(db, services, account_id, capability)
            event = session.find("event", event_id) if session else None
            return _missing() if session is None or event is None else _event_page(session, event)

    return blueprint


def console_link(services: Services, account: Account) -> str:
    """An address that opens the account's console in the browser that follows it within LINK_SECONDS."""
    ticket = _signer(services, _TICKET).dumps(account.scope)
    return f"{console_url(services, account)}/enter?ticket={ticket}"


def console_url(services: Services, account: Account) -> str:
    """Where the console stands, for browsers that were let in."""
    return f"{services.public_url}/console/{account.id}/{account.capability}"


def _visits(services: Services, account: Account) -> bool:
    return _is_signed(services, _VISIT, request.cookies.get(_COOKIE, ""), account, VISIT_SECONDS)


def _is_signed(services: Services, purpose: str, signed: str, account: Account, max_age: int) -> bool:
    try:
        return bool(_signer(services, purpose).loads(signed, max_age=max_age) == account.scope)
    except BadSignature:
        return False


def _signer(services: Services, purpose: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(services.control_token, salt=purpose)


def _open_session(
    db: sqlite3.Connection, services: Services, account_id: str, capability: str
) -> AccountStore | None:
    account = find_by_capability(db, account_id, capability)
    return None if account is None else AccountStore(db, account, services.public_url)


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
    services: Services, session: AccountStore, status: int = 200, *, problem: str | None = None
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
        moving=advances.running(session.db, session.account.scope) is not None,
        done=console_presenter.LABELS.get(done),
        events_emitted=request.args.get("events", "0")[:6],
        steps=console_presenter.CLOCK_STEPS,
        subscriptions=console_presenter.subscriptions(session),
        invoices=console_presenter.unpaid_invoices(session),
        payments=console_presenter.payments(session),
        sessions=console_presenter.sessions(session),
        events=console_presenter.events(session),
        endpoints=session.select("webhook_endpoint"),
        here=request.path,
        lab_url=lab.replace("{reference}", quote(reference or "", safe="")) if lab else None,
    )


def _event_page(session: AccountStore, event: Json) -> Response:
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
