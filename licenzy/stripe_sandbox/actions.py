"""What an operator can let happen, from the console and over the control API, by one table of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox import advances
from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.advances import Advance
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import (
    checkout,
    clock,
    collection,
    cycles,
    disputes,
    payments,
    plans,
    refunds,
    subscriptions,
)
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.lifecycle.plans import PRORATIONS, ChangeOptions
from licenzy.stripe_sandbox.version import Json


@dataclass(frozen=True)
class Action:
    """`needs` are names of which each must be given; a `/` between two lets the caller choose."""

    act: Callable[[AccountStore, Json], object]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


DELIVERIES = ("in_order", "twice", "last_first", "never")
"""How the events of an action reach their endpoints; all but the first are bad days of webhooks."""


def perform(account_store: AccountStore, params: Json, *, delivery: str = "in_order") -> list[Json]:
    """Do what `asked` names; answers the events that it gave off, in their order.

    `delivery` is one of `DELIVERIES`. With `never` the posts are noted as lost; the events stay listed."""
    if delivery not in DELIVERIES:
        raise InvalidParameter(f"delivery must be one of {', '.join(DELIVERIES)}", param="delivery")
    advances.require_still(account_store)
    last = account_store.last_post()
    _perform(account_store, params)
    if delivery == "never":
        account_store.lose_posts(after=last)
    elif delivery != "in_order":
        posts = account_store.posts(after=last)
        account_store.requeue_posts(
            posts[::-1] if delivery == "last_first" else [p for p in posts for _ in "12"], after=last
        )
    return account_store.emitted


def begin_advance(account_store: AccountStore, params: Json, *, id_: str, delivery: str) -> Advance:
    """Begin what `params` names, an action that moves the clock, in the background.

    `session` names the purchase whose events are reported; the same `id_` again is the same move.
    """
    if delivery not in DELIVERIES:
        raise InvalidParameter(f"delivery must be one of {', '.join(DELIVERIES)}", param="delivery")
    session = params.pop("session", None)
    if params.get("action") not in CLOCK_ACTIONS:
        raise InvalidParameter(f"action must be one of {', '.join(CLOCK_ACTIONS)}", param="action")
    _check(ACTIONS[params["action"]], params)
    known = advances.find(account_store.db, account_store.account.scope, id_)
    if known is not None:
        return known
    advances.require_still(account_store)
    owner = None
    if session is not None:
        bought = account_store.get("checkout.session", session, param="session")
        owner = bought["subscription"] or bought["id"]
    seconds = CLOCK_ACTIONS[params["action"]](account_store, params)
    return advances.begin(account_store, id_=id_, seconds=seconds, delivery=delivery, owner=owner)


def _perform(account_store: AccountStore, params: Json) -> None:
    name = params.get("action")
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise InvalidParameter(f"action must be one of {', '.join(sorted(ACTIONS))}", param="action")
    _check(action, params)
    action.act(account_store, params)


def _check(action: Action, params: Json) -> None:
    allowed = {"action", *action.takes, *(name for need in action.needs for name in need.split("/"))}
    if unknown := sorted({*params} - allowed):
        raise InvalidParameter(
            f"Received unknown parameter: {unknown[0]}", code="parameter_unknown", param=unknown[0]
        )
    for need in action.needs:
        if not any(name in params for name in need.split("/")):
            raise InvalidParameter(f"Missing required param: {need}.", code="parameter_missing", param=need)
    for name, value in params.items():
        integer = name in ("seconds", "amount", "quantity")
        if name == "proration_behavior" and value not in PRORATIONS:
            raise InvalidParameter(f"{name} must be one of {', '.join(PRORATIONS)}", param=name)
        if isinstance(value, bool) or not isinstance(value, int if integer else str):
            raise InvalidParameter(f"Invalid {'integer' if integer else 'string'}: {name}", param=name)
        least = 0 if name == "quantity" else 1
        if isinstance(value, int) and value < least:
            raise InvalidParameter(
                f"{name} must be {least} or more", code="parameter_invalid_integer", param=name
            )


def _subscription(account_store: AccountStore, params: Json) -> Json:
    return account_store.get("subscription", params["subscription"], param="subscription")


def _session(account_store: AccountStore, params: Json) -> Json:
    return account_store.get("checkout.session", params["session"], param="session")


def _pay(account_store: AccountStore, params: Json, outcome: PaymentOutcome) -> None:
    """What the buyer does on the hosted page, with nothing changed there."""
    session = _session(account_store, params)
    if not checkout.is_open(account_store, session):
        raise RequestRefused(f"The session {session['id']} is {session['status']}, so it cannot be paid.")
    checkout.complete(account_store, session, outcome=outcome, email=None, quantities={})


def _charge(account_store: AccountStore, params: Json) -> Json:
    return payments.charge_for(
        account_store, charge=params.get("charge"), payment_intent=params.get("payment_intent")
    )


def _dispute(account_store: AccountStore, params: Json) -> Json:
    """The one named, or the latest of the payment named."""
    if "dispute" in params:
        return account_store.get("dispute", params["dispute"], param="dispute")
    found = account_store.select("dispute", where("charge", _charge(account_store, params)["id"]), limit=1)
    if not found:
        raise RequestRefused("This payment has no dispute.")
    return found[0]


def _refund_of(account_store: AccountStore, params: Json) -> Json:
    return account_store.get("refund", params["refund"], param="refund")


def _partial_refund(account_store: AccountStore, params: Json) -> object:
    charge = _charge(account_store, params)
    left = charge["amount"] - charge["amount_refunded"]
    return refunds.refund(account_store, charge, amount=params.get("amount") or max(1, left // 2))


def _change_plan(account_store: AccountStore, params: Json) -> None:
    subscription = _subscription(account_store, params)
    item: Json = {
        "id": subscription["items"]["data"][0]["id"],
        **{k: params[k] for k in ("price", "quantity") if k in params},
    }
    options = ChangeOptions(proration=params.get("proration_behavior", "none"))
    plans.change_items(account_store, subscription, [item], options)


def _settle_debit(account_store: AccountStore, params: Json, *, succeeds: bool) -> None:
    intent = collection.debit_of(account_store, _subscription(account_store, params))
    collection.settle_debit(account_store, intent, succeeds=succeeds)


def _pay_invoice(account_store: AccountStore, params: Json, *, elsewhere: bool) -> None:
    invoice = account_store.get("invoice", params["invoice"], param="invoice")
    collection.pay(account_store, invoice, method=None, elsewhere=elsewhere)


def _resend(account_store: AccountStore, params: Json) -> None:
    event = account_store.get("event", params["event"], param="event")
    chosen = (
        [params["endpoint"]]
        if "endpoint" in params
        else [e["id"] for e in account_store.select("webhook_endpoint")]
    )
    for endpoint_id in reversed(chosen):
        account_store.get("webhook_endpoint", endpoint_id, param="endpoint")
        account_store.queue_post(event["id"], endpoint_id)


def _collecting(paused: bool) -> Callable[[AccountStore, Json], object]:
    collection: Any = {"behavior": "void", "resumes_at": None} if paused else None
    return lambda account_store, params: subscriptions.update(
        account_store, _subscription(account_store, params), pause_collection=collection
    )


_SUBSCRIPTION = ("subscription",)
_PAYMENT = ("charge/payment_intent",)
_DISPUTED = ("dispute/charge/payment_intent",)

ACTIONS: dict[str, Action] = {
    "advance_clock": Action(lambda s, a: clock.advance(s, seconds=a["seconds"]), ("seconds",)),
    "cancel": Action(lambda s, a: subscriptions.cancel(s, _subscription(s, a)), _SUBSCRIPTION),
    "cancel_at_period_end": Action(
        lambda s, a: subscriptions.schedule_cancel(s, _subscription(s, a), at=None, set_period_end_flag=True),
        _SUBSCRIPTION,
    ),
    "change_plan": Action(_change_plan, _SUBSCRIPTION, ("price", "quantity", "proration_behavior")),
    "dispute": Action(lambda s, a: disputes.open_dispute(s, _charge(s, a)), _PAYMENT),
    "escalate_inquiry": Action(lambda s, a: disputes.escalate(s, _dispute(s, a)), _DISPUTED),
    "expire_session": Action(lambda s, a: checkout.expire(s, _session(s, a)), ("session",)),
    "fail_debit": Action(lambda s, a: _settle_debit(s, a, succeeds=False), _SUBSCRIPTION),
    "fail_refund": Action(lambda s, a: refunds.fail(s, _refund_of(s, a)), ("refund",)),
    "fail_renewal": Action(
        lambda s, a: cycles.renew(s, _subscription(s, a), outcome=PaymentOutcome.FAILED),
        _SUBSCRIPTION,
    ),
    "fail_renewal_in_time": Action(
        lambda s, a: clock.advance_to_renewal(s, _subscription(s, a), outcome=PaymentOutcome.FAILED),
        _SUBSCRIPTION,
    ),
    "fail_session": Action(lambda s, a: checkout.settle(s, _session(s, a), succeeds=False), ("session",)),
    "inquire": Action(lambda s, a: disputes.open_dispute(s, _charge(s, a), inquiry=True), _PAYMENT),
    "keep": Action(lambda s, a: subscriptions.undo_cancel(s, _subscription(s, a)), _SUBSCRIPTION),
    "lose_dispute": Action(lambda s, a: disputes.close(s, _dispute(s, a), won=False), _DISPUTED),
    "pause": Action(lambda s, a: subscriptions.pause(s, _subscription(s, a)), _SUBSCRIPTION),
    "pause_collection": Action(_collecting(True), _SUBSCRIPTION),
    "pay_invoice": Action(lambda s, a: _pay_invoice(s, a, elsewhere=False), ("invoice",)),
    "pay_invoice_elsewhere": Action(lambda s, a: _pay_invoice(s, a, elsewhere=True), ("invoice",)),
    "pay_session": Action(lambda s, a: _pay(s, a, PaymentOutcome.SUCCEEDED), ("session",)),
    "pay_session_later": Action(lambda s, a: _pay(s, a, PaymentOutcome.PROCESSING), ("session",)),
    "recover": Action(lambda s, a: collection.recover(s, _subscription(s, a)), _SUBSCRIPTION),
    "refund": Action(
        lambda s, a: refunds.refund(s, _charge(s, a), amount=a.get("amount")), _PAYMENT, ("amount",)
    ),
    "refund_partially": Action(_partial_refund, _PAYMENT, ("amount",)),
    "renew": Action(lambda s, a: cycles.renew(s, _subscription(s, a)), _SUBSCRIPTION),
    "renew_in_time": Action(
        lambda s, a: clock.advance_to_renewal(s, _subscription(s, a), outcome=PaymentOutcome.SUCCEEDED),
        _SUBSCRIPTION,
    ),
    "resend_event": Action(_resend, ("event",), ("endpoint",)),
    "resume": Action(lambda s, a: cycles.resume_with_card(s, _subscription(s, a)), _SUBSCRIPTION),
    "resume_collection": Action(_collecting(False), _SUBSCRIPTION),
    "settle_debit": Action(lambda s, a: _settle_debit(s, a, succeeds=True), _SUBSCRIPTION),
    "settle_session": Action(lambda s, a: checkout.settle(s, _session(s, a), succeeds=True), ("session",)),
    "submit_evidence": Action(lambda s, a: disputes.submit_evidence(s, _dispute(s, a)), _DISPUTED),
    "win_dispute": Action(lambda s, a: disputes.close(s, _dispute(s, a), won=True), _DISPUTED),
}

CLOCK_ACTIONS: dict[str, Callable[[AccountStore, Json], int]] = {
    "advance_clock": lambda _, a: int(a["seconds"]),
    "fail_renewal_in_time": lambda s, a: clock.prepare_renewal(
        s, _subscription(s, a), outcome=PaymentOutcome.FAILED
    ),
    "renew_in_time": lambda s, a: clock.prepare_renewal(
        s, _subscription(s, a), outcome=PaymentOutcome.SUCCEEDED
    ),
}
"""Actions that move the clock, with how many seconds they move it."""
