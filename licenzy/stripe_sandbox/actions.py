"""What an operator can let happen, from the console and over the control API, by one table of names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from licenzy.stripe_sandbox.books import Books, where
from licenzy.stripe_sandbox.errors import InvalidParameter, Refused
from licenzy.stripe_sandbox.lifecycle import (
    checkout,
    clock,
    disputes,
    payments,
    plans,
    refunds,
    subscriptions,
)
from licenzy.stripe_sandbox.lifecycle.payments import How
from licenzy.stripe_sandbox.version import Json


@dataclass(frozen=True)
class Action:
    """`needs` are names of which each must be given; a `/` between two lets the caller choose."""

    act: Callable[[Books, Json], object]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()


DELIVERIES = ("in_order", "twice", "last_first", "never")
"""How the events of an action reach their endpoints; all but the first are bad days of webhooks."""


def perform(books: Books, asked: Json, *, delivery: str = "in_order") -> list[Json]:
    """Do what `asked` names; answers the events that it gave off, in their order.

    `delivery` is one of `DELIVERIES`. With `never` the posts are noted as lost; the events stay listed."""
    if delivery not in DELIVERIES:
        raise InvalidParameter(f"delivery must be one of {', '.join(DELIVERIES)}", param="delivery")
    last = books.last_post()
    _perform(books, asked)
    if delivery == "never":
        books.lose_posts(after=last)
    elif delivery != "in_order":
        posts = books.posts(after=last)
        books.requeue_posts(
            posts[::-1] if delivery == "last_first" else [p for p in posts for _ in "12"], after=last
        )
    return books.emitted


def _perform(books: Books, asked: Json) -> None:
    name = asked.get("action")
    action = ACTIONS.get(name) if isinstance(name, str) else None
    if action is None:
        raise InvalidParameter(f"action must be one of {', '.join(sorted(ACTIONS))}", param="action")
    _check(action, asked)
    action.act(books, asked)


def _check(action: Action, asked: Json) -> None:
    allowed = {"action", *action.takes, *(name for need in action.needs for name in need.split("/"))}
    if unknown := sorted({*asked} - allowed):
        raise InvalidParameter(
            f"Received unknown parameter: {unknown[0]}", code="parameter_unknown", param=unknown[0]
        )
    for need in action.needs:
        if not any(name in asked for name in need.split("/")):
            raise InvalidParameter(f"Missing required param: {need}.", code="parameter_missing", param=need)
    for name, value in asked.items():
        whole = name in ("seconds", "amount", "quantity")
        if isinstance(value, bool) or not isinstance(value, int if whole else str):
            raise InvalidParameter(f"Invalid {'integer' if whole else 'string'}: {name}", param=name)
        if isinstance(value, int) and value < 1:
            raise InvalidParameter(f"{name} must be 1 or more", code="parameter_invalid_integer", param=name)


def _subscription(books: Books, asked: Json) -> Json:
    return books.get("subscription", asked["subscription"], param="subscription")


def _session(books: Books, asked: Json) -> Json:
    return books.get("checkout.session", asked["session"], param="session")


def _pay(books: Books, asked: Json, how: How) -> None:
    """What the buyer does on the hosted page, with nothing changed there."""
    session = _session(books, asked)
    if not checkout.is_open(books, session):
        raise Refused(f"The session {session['id']} is {session['status']}, so it cannot be paid.")
    checkout.complete(books, session, how=how, email=None, quantities={})


def _charge(books: Books, asked: Json) -> Json:
    return payments.charge_for(books, charge=asked.get("charge"), payment_intent=asked.get("payment_intent"))


def _dispute(books: Books, asked: Json) -> Json:
    """The one named, or the latest of the payment named."""
    if "dispute" in asked:
        return books.get("dispute", asked["dispute"], param="dispute")
    found = books.select("dispute", where("charge", _charge(books, asked)["id"]), limit=1)
    if not found:
        raise Refused("This payment has no dispute.")
    return found[0]


def _refund_of(books: Books, asked: Json) -> Json:
    return books.get("refund", asked["refund"], param="refund")


def _partial_refund(books: Books, asked: Json) -> object:
    charge = _charge(books, asked)
    left = charge["amount"] - charge["amount_refunded"]
    return refunds.refund(books, charge, amount=asked.get("amount") or max(1, left // 2))


def _change_plan(books: Books, asked: Json) -> None:
    subscription = _subscription(books, asked)
    wanted: Json = {
        "id": subscription["items"]["data"][0]["id"],
        **{k: asked[k] for k in ("price", "quantity") if k in asked},
    }
    plans.change_items(books, subscription, [wanted])


def _resend(books: Books, asked: Json) -> None:
    event = books.get("event", asked["event"], param="event")
    chosen = (
        [asked["endpoint"]] if "endpoint" in asked else [e["id"] for e in books.select("webhook_endpoint")]
    )
    for endpoint_id in reversed(chosen):
        books.get("webhook_endpoint", endpoint_id, param="endpoint")
        books.queue_post(event["id"], endpoint_id)


def _collecting(paused: bool) -> Callable[[Books, Json], object]:
    held: Any = {"behavior": "void", "resumes_at": None} if paused else None
    return lambda books, asked: subscriptions.update(
        books, _subscription(books, asked), pause_collection=held
    )


_SUBSCRIPTION = ("subscription",)
_PAYMENT = ("charge/payment_intent",)
_DISPUTED = ("dispute/charge/payment_intent",)

ACTIONS: dict[str, Action] = {
    "advance_clock": Action(lambda b, a: clock.advance(b, seconds=a["seconds"]), ("seconds",)),
    "cancel": Action(lambda b, a: subscriptions.cancel(b, _subscription(b, a)), _SUBSCRIPTION),
    "cancel_at_period_end": Action(
        lambda b, a: subscriptions.schedule_cancel(b, _subscription(b, a), at=None, says_period_end=True),
        _SUBSCRIPTION,
    ),
    "change_plan": Action(_change_plan, _SUBSCRIPTION, ("price", "quantity")),
    "dispute": Action(lambda b, a: disputes.open_dispute(b, _charge(b, a)), _PAYMENT),
    "escalate_inquiry": Action(lambda b, a: disputes.escalate(b, _dispute(b, a)), _DISPUTED),
    "expire_session": Action(lambda b, a: checkout.expire(b, _session(b, a)), ("session",)),
    "fail_refund": Action(lambda b, a: refunds.fail(b, _refund_of(b, a)), ("refund",)),
    "fail_renewal": Action(
        lambda b, a: subscriptions.renew(b, _subscription(b, a), how=How.DECLINE), _SUBSCRIPTION
    ),
    "fail_renewal_in_time": Action(
        lambda b, a: clock.reach_renewal(b, _subscription(b, a), how=How.DECLINE), _SUBSCRIPTION
    ),
    "fail_session": Action(lambda b, a: checkout.settle(b, _session(b, a), succeeds=False), ("session",)),
    "inquire": Action(lambda b, a: disputes.open_dispute(b, _charge(b, a), inquiry=True), _PAYMENT),
    "keep": Action(lambda b, a: subscriptions.keep(b, _subscription(b, a)), _SUBSCRIPTION),
    "lose_dispute": Action(lambda b, a: disputes.close(b, _dispute(b, a), won=False), _DISPUTED),
    "pause": Action(lambda b, a: subscriptions.pause(b, _subscription(b, a)), _SUBSCRIPTION),
    "pause_collection": Action(_collecting(True), _SUBSCRIPTION),
    "pay_session": Action(lambda b, a: _pay(b, a, How.PAY), ("session",)),
    "pay_session_later": Action(lambda b, a: _pay(b, a, How.PAY_LATER), ("session",)),
    "recover": Action(lambda b, a: subscriptions.recover(b, _subscription(b, a)), _SUBSCRIPTION),
    "refund": Action(
        lambda b, a: refunds.refund(b, _charge(b, a), amount=a.get("amount")), _PAYMENT, ("amount",)
    ),
    "refund_partially": Action(_partial_refund, _PAYMENT, ("amount",)),
    "renew": Action(lambda b, a: subscriptions.renew(b, _subscription(b, a)), _SUBSCRIPTION),
    "renew_in_time": Action(
        lambda b, a: clock.reach_renewal(b, _subscription(b, a), how=How.PAY), _SUBSCRIPTION
    ),
    "resend_event": Action(_resend, ("event",), ("endpoint",)),
    "resume": Action(lambda b, a: subscriptions.resume(b, _subscription(b, a)), _SUBSCRIPTION),
    "resume_collection": Action(_collecting(False), _SUBSCRIPTION),
    "settle_session": Action(lambda b, a: checkout.settle(b, _session(b, a), succeeds=True), ("session",)),
    "submit_evidence": Action(lambda b, a: disputes.submit_evidence(b, _dispute(b, a)), _DISPUTED),
    "win_dispute": Action(lambda b, a: disputes.close(b, _dispute(b, a), won=True), _DISPUTED),
}
