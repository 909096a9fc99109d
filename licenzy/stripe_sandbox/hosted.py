"""The pages that buyers see: paying for a checkout session, and managing a subscription in the billing
portal.

Every form posts to the page's own address, so that a script can drive them; nothing needs a script or a
cookie."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.accounts import account_of
from licenzy.stripe_sandbox.due import next_renewal
from licenzy.stripe_sandbox.errors import RequestRefused, StripeRefusal
from licenzy.stripe_sandbox.lifecycle import checkout, cycles, plans, subscriptions
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.pages import page
from licenzy.stripe_sandbox.services import Services
from licenzy.stripe_sandbox.version import Json

PORTAL_LASTS_SECONDS = 24 * 3600
_PAYS = {"pay": PaymentOutcome.SUCCEEDED, "pay_later": PaymentOutcome.PROCESSING}


def hosted_blueprint(services: Services) -> Blueprint:
    """`/pay/<session>` and `/portal/<token>`."""
    blueprint = Blueprint("hosted", __name__)

    @blueprint.get("/pay/<session_id>")
    def show_session(session_id: str) -> Response:
        with services.store.writing() as db:
            found = _session(db, services, session_id)
            return _missing() if found is None else _session_page(*found)

    @blueprint.post("/pay/<session_id>")
    def answer_session(session_id: str) -> AnyResponse:
        with services.store.writing() as db:
            found = _session(db, services, session_id)
            answer = _missing() if found is None else _answer(*found)
        services.sender.wake()
        return answer

    @blueprint.get("/portal/<token>")
    def show_portal(token: str) -> Response:
        with services.store.reading() as db:
            found = _portal(db, services, token)
            return _missing() if found is None else _portal_page(*found)

    @blueprint.post("/portal/<token>")
    def answer_portal(token: str) -> AnyResponse:
        with services.store.writing() as db:
            found = _portal(db, services, token)
            answer = _missing() if found is None else _change_subscription(*found)
        services.sender.wake()
        return answer

    return blueprint


def _session(db: sqlite3.Connection, services: Services, session_id: str) -> tuple[AccountStore, Json] | None:
    """By its id alone: the sixty random characters in it are what lets one see the page."""
    row = db.execute(
        "SELECT scope, body FROM objects WHERE id = ? AND kind = 'checkout.session'", (session_id,)
    ).fetchone()
    if row is None:
        return None
    return AccountStore(db, account_of(db, row["scope"]), services.public_url), json.loads(row["body"])


def _answer(account_store: AccountStore, session: Json) -> AnyResponse:
    action = request.form.get("action")
    if action == "abandon" and session["status"] == "open":
        return (
            redirect(session["cancel_url"], 303)
            if session["cancel_url"]
            else _session_page(account_store, session)
        )
    if action not in ("pay", "pay_later", "decline"):
        return _session_page(
            account_store,
            session,
            400,
            problem="Unknown action. Send action=pay, pay_later, decline or abandon.",
        )
    if not checkout.is_open(account_store, session):
        return _session_page(account_store, session, 409)
    if action == "decline":
        if session["amount_total"] == 0:
            return _session_page(
                account_store,
                session,
                400,
                problem="The card cannot be declined because nothing is due today.",
            )
        checkout.decline(account_store, session)
        return _session_page(
            account_store,
            session,
            402,
            problem="Your card was declined by the bank. Try again, or pay by bank debit.",
        )
    return _pay(account_store, session, _PAYS[action])


def _pay(account_store: AccountStore, session: Json, outcome: PaymentOutcome) -> AnyResponse:
    quantities, wrong = _quantities(session)
    if wrong:
        return _session_page(account_store, session, 400, problem=wrong)
    email = request.form.get("email", "").strip()[:500] or None
    if email is not None and "@" not in email:
        return _session_page(
            account_store,
            session,
            400,
            problem="The e-mail address is invalid because it has no @. Enter a full address.",
        )
    try:
        checkout.complete(account_store, session, outcome=outcome, email=email, quantities=quantities)
    except StripeRefusal as refusal:
        return _session_page(account_store, session, 409, problem=refusal.message)
    return redirect(_back_to_shop(session), 303)


def _quantities(session: Json) -> tuple[dict[int, int], str | None]:
    chosen: dict[int, int] = {}
    for n, line in enumerate(session["_lines"]):
        entered = request.form.get(f"quantity_{n}")
        bounds = line["adjustable_quantity"]
        if entered is None or not bounds:
            continue
        if not entered.isascii() or not entered.isdigit() or len(entered) > 6:
            return {}, "The quantity must be a whole number."
        minimum, maximum = max(1, bounds["minimum"]), bounds["maximum"]
        if not minimum <= int(entered) <= maximum:
            return {}, f"The quantity must be from {minimum} to {maximum}."
        chosen[n] = int(entered)
    return chosen, None


def _session_page(
    account_store: AccountStore, session: Json, status: int = 200, *, problem: str | None = None
) -> Response:
    is_open = checkout.is_open(account_store, session)
    return page(
        "pay.html",
        status,
        form_targets=(session["success_url"], session["cancel_url"]) if is_open else (),
        account=account_store.account,
        session=session,
        is_open=is_open,
        problem=problem,
        shop_url=_back_to_shop(session) if session["status"] == "complete" else session["cancel_url"],
        trial_days=_trial_days(session),
    )


def _trial_days(session: Json) -> int | None:
    data = session["_subscription_data"]
    if "trial_end" in data:
        return int(max(1, (data["trial_end"] - session["created"]) // 86400))
    days: int | None = data.get("trial_period_days")
    return days


def _back_to_shop(session: Json) -> str:
    return str(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"]))


def _portal(db: sqlite3.Connection, services: Services, token: str) -> tuple[AccountStore, Json] | None:
    row = db.execute(
        "SELECT scope, body FROM objects WHERE kind = 'billing_portal.session' AND json_extract(body, "
        "'$._token') = ?",
        (token,),
    ).fetchone()
    if row is None:
        return None
    account_store, portal = (
        AccountStore(db, account_of(db, row["scope"]), services.public_url),
        json.loads(row["body"]),
    )
    return (account_store, portal) if account_store.now < portal["created"] + PORTAL_LASTS_SECONDS else None


def _portal_page(
    account_store: AccountStore, portal: Json, status: int = 200, *, problem: str | None = None
) -> Response:
    of_customer = where("customer", portal["customer"])
    own_subscriptions = [
        s for s in account_store.select("subscription", of_customer) if s["status"] != "incomplete_expired"
    ]
    offers = {
        s["id"]: plans.choices(account_store, s)
        for s in own_subscriptions
        if s["status"] in ("active", "trialing")
    }
    shown = [i["price"] for s in own_subscriptions for i in s["items"]["data"]]
    shown += [price for offered in offers.values() for price in offered]
    names = {
        p["product"]: (account_store.find_any(p["product"]) or {}).get("name", p["product"]) for p in shown
    }
    return page(
        "portal.html",
        status,
        account=account_store.account,
        portal=portal,
        customer=account_store.find("customer", portal["customer"]),
        subscriptions=own_subscriptions,
        names=names,
        offers=offers,
        invoices=account_store.select("invoice", of_customer, limit=12),
        period_end=next_renewal,
        problem=problem,
    )


def _change_subscription(account_store: AccountStore, portal: Json) -> AnyResponse:
    subscription = account_store.find("subscription", request.form.get("subscription"))
    act = _CHANGES.get(request.form.get("action", ""))
    if subscription is None or subscription["customer"] != portal["customer"] or act is None:
        return _portal_page(
            account_store,
            portal,
            400,
            problem="Unknown action or subscription. Send action=cancel, keep, resume or change.",
        )
    try:
        act(account_store, subscription)
    except StripeRefusal as refusal:
        return _portal_page(account_store, portal, 409, problem=refusal.message)
    return redirect(request.path, 303)


def _cancel(account_store: AccountStore, subscription: Json) -> None:
    """Stripe's own portal sets `cancel_at` and leaves the flag `cancel_at_period_end` alone, and so does this
    one."""
    subscriptions.schedule_cancel(account_store, subscription, at=None, set_period_end_flag=False)


def _change_plan(account_store: AccountStore, subscription: Json) -> None:
    chosen = request.form.get("price")
    if chosen not in [price["id"] for price in plans.choices(account_store, subscription)]:
        raise RequestRefused("This plan is not available. Choose one of the plans on this page.")
    plans.change_items(
        account_store, subscription, [{"id": subscription["items"]["data"][0]["id"], "price": chosen}]
    )


_CHANGES: dict[str, Callable[[AccountStore, Json], None]] = {
    "cancel": _cancel,
    "keep": subscriptions.undo_cancel,
    "resume": cycles.resume_with_card,
    "change": _change_plan,
}


def _missing() -> Response:
    return page("missing.html", 404)
