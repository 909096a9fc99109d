"""The control API: accounts, restricted keys, faults and actions, for the product itself and for tests.

Guarded by the control token, which the product and the sandbox share; nothing here is part of Stripe's API.
"""

from __future__ import annotations

import hmac
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, request

from licenzy.stripe_sandbox import advances, bulk, existing, fault_injection
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import Account, find_account, issue_restricted_key, open_account
from licenzy.stripe_sandbox.actions import begin_advance, perform
from licenzy.stripe_sandbox.allowed_actions import for_purchase
from licenzy.stripe_sandbox.console import LINK_SECONDS, console_link, console_url
from licenzy.stripe_sandbox.errors import InvalidParameter, NoSuchAddress, StripeRefusal, Unauthenticated
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.version import Json


def control_blueprint(services: Services) -> Blueprint:
    """Everything under `/_sandbox`."""
    blueprint = Blueprint("control", __name__, url_prefix="/_sandbox")

    def route(rule: str, methods: list[str], act: Callable[..., tuple[Json, int]]) -> None:
        blueprint.add_url_rule(rule, f"{act.__name__}", _guarded(services, act), methods=methods)

    route("/accounts", ["POST"], _open_account)
    route("/accounts/<account_id>", ["GET"], _show_account)
    route("/accounts/<account_id>/console_links", ["POST"], _make_console_link)
    route("/accounts/<account_id>/restricted_keys", ["POST"], _issue_key)
    route("/accounts/<account_id>/misbehaviour", ["GET", "POST", "DELETE"], _fault_rules)
    route("/accounts/<account_id>/calls", ["GET", "DELETE"], _calls)
    route("/accounts/<account_id>/actions", ["POST"], _act)
    route("/accounts/<account_id>/advances", ["POST"], _begin_advance)
    route("/accounts/<account_id>/advances/<advance_id>", ["GET"], _show_advance)
    route("/accounts/<account_id>/subscriptions", ["POST"], _make_subscriptions)
    route("/accounts/<account_id>/existing", ["GET", "POST"], _existing)
    route("/accounts/<account_id>/purchases/<session_id>", ["GET"], _show_purchase)
    return blueprint


def _guarded(services: Services, act: Callable[..., tuple[Json, int]]) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        try:
            _require_token(services)
            body, status = act(services, **ids)
        except StripeRefusal as refusal:
            body, status = refusal.body(), refusal.status
        return Response(json.dumps(body), status, content_type="application/json")

    return view


def _require_token(services: Services) -> None:
    token = request.authorization.token if request.authorization else None
    if not hmac.compare_digest((token or "").encode(), services.control_token.encode()):
        raise Unauthenticated("The control token is missing or wrong.")


def _open_account(services: Services) -> tuple[Json, int]:
    body = _json_body({"name", "livemode", "reference"})
    name, livemode, reference = body.get("name"), body.get("livemode", False), body.get("reference")
    if not isinstance(name, str) or not 1 <= len(name) <= 200:
        raise InvalidParameter("name must be a string of 1 to 200 characters", param="name")
    if not isinstance(livemode, bool):
        raise InvalidParameter("livemode must be true or false", param="livemode")
    if reference is not None and (not isinstance(reference, str) or not 1 <= len(reference) <= 200):
        raise InvalidParameter("reference must be a string of 1 to 200 characters", param="reference")
    if livemode and not services.allow_live:
        raise InvalidParameter("This sandbox has no live mode.", param="livemode")
    with services.store.writing() as db:
        account, secret = open_account(db, name=name, livemode=livemode, reference=reference)
    return {**_account_json(services, account), "secret_key": secret}, 201


def _show_account(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account = _account(db, account_id)
    return _account_json(services, account), 200


def _make_console_link(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account = _account(db, account_id)
    return {"url": console_link(services, account), "expires_in": LINK_SECONDS}, 201


def _issue_key(services: Services, account_id: str) -> tuple[Json, int]:
    permissions = _json_body({"permissions"}).get("permissions")
    if not isinstance(permissions, list) or not all(
        isinstance(p, str) and p.startswith("rak_") for p in permissions
    ):
        raise InvalidParameter(
            "permissions must be a list of names such as rak_product_read", param="permissions"
        )
    with services.store.writing() as db:
        secret = issue_restricted_key(db, _account(db, account_id), permissions=permissions)
    return {"restricted_key": secret, "permissions": permissions}, 201


def _fault_rules(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.writing() as db:
        account = _account(db, account_id)
        if request.method == "DELETE":
            fault_injection.clear(db, account.scope)
        if request.method != "POST":
            return fault_injection.read(db, account.scope), 200
        try:
            return fault_injection.add(db, account.scope, _json_body(None)), 200
        except ValueError as wrong:
            raise InvalidParameter(str(wrong)) from None


def _calls(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account = _account(db, account_id)
    if request.method == "DELETE":
        services.call_log.clear(account.scope)
    return services.call_log.read(account.scope), 200


def _act(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.writing() as db:
        account = _account(db, account_id)
        account_store = AccountStore(db, account, services.public_url)
        body, last = _json_body(None), account_store.last_post()
        emitted = perform(account_store, body, delivery=body.pop("delivery", "in_order"))
        emitted_json = [
            {"id": e["id"], "type": e["type"], "object": e["data"]["object"]["id"]} for e in emitted
        ]
        posted = Counter(event_id for event_id, _endpoint in account_store.posts(after=last))
        now = account_store.now
    services.sender.wake()
    return {"events": [e["id"] for e in emitted], "emitted": emitted_json, "posted": posted, "now": now}, 200


def _begin_advance(services: Services, account_id: str) -> tuple[Json, int]:
    body = _json_body(None)
    id_, delivery = advances.require_id(body.pop("id", None)), body.pop("delivery", "in_order")
    with services.store.writing() as db:
        account_store = AccountStore(db, _account(db, account_id), services.public_url)
        begun = begin_advance(account_store, body, id_=id_, delivery=delivery)
        shown = advances.report(account_store, begun)
    services.advancer.wake()
    return shown, 202


def _show_advance(services: Services, account_id: str, advance_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account = _account(db, account_id)
        found = advances.find(db, account.scope, advance_id)
        if found is None:
            raise NoSuchAddress(f"No such advance: '{advance_id}'")
        return advances.report(AccountStore(db, account, services.public_url), found), 200


def _make_subscriptions(services: Services, account_id: str) -> tuple[Json, int]:
    order = bulk.read_order(_json_body(None))
    with services.store.reading() as db:
        scope = _account(db, account_id).scope
    made = bulk.make_subscriptions(services.store, scope, services.public_url, order)
    services.sender.wake()
    return made, 201


def _existing(services: Services, account_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account = _account(db, account_id)
        if request.method == "GET":
            after = request.args.get("after", -1, type=int)
            return existing.listed(AccountStore(db, account, services.public_url), after=after), 200
    order = existing.read_order(_json_body({"count", "plans", "other_plans", "one_time"}))
    return existing.complete(services.store, account.scope, services.public_url, order), 200


def _show_purchase(services: Services, account_id: str, session_id: str) -> tuple[Json, int]:
    with services.store.reading() as db:
        account_store = AccountStore(db, _account(db, account_id), services.public_url)
        session = account_store.get("checkout.session", session_id, param="session", in_address=True)
        return {**for_purchase(account_store, session), "now": account_store.now}, 200


def _account(db: Any, account_id: str) -> Account:
    """`?livemode=true` asks for the live mode of an account that has both."""
    livemode = {"true": True, "false": False}.get(request.args.get("livemode", ""))
    account = find_account(db, account_id, livemode=livemode)
    if account is None:
        raise NoSuchAddress(f"No such account: '{account_id}'")
    return account


def _account_json(services: Services, account: Account) -> Json:
    return {
        "account": account.id,
        "name": account.name,
        "livemode": account.livemode,
        "now": account.now,
        "offset": account.offset,
        "console_url": console_url(services, account),
    }


def _json_body(known: set[str] | None) -> Json:
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise InvalidParameter("The body must be a JSON object.")
    if known is not None and (unknown := sorted({*body} - known)):
        raise InvalidParameter(f"Received unknown parameter: {unknown[0]}", param=unknown[0])
    return body
