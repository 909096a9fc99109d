"""The actions on a subscription, a payment or a session, and why each that is not allowed is not.

The console offers the allowed ones; the control API lists all, for pages that disable the rest.
"""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.lifecycle import clock, disputes, plans
from licenzy.stripe_sandbox.lifecycle.subscriptions import ENDED
from licenzy.stripe_sandbox.version import Json

AllowedActions = dict[str, str | None]
"""Actions by name, with the sentence that says why it is not allowed; None where it is."""


def for_subscription(body: Json) -> AllowedActions:
    status, ends = body["status"], body["cancel_at"] is not None
    if status in ENDED:
        return dict.fromkeys(_OF_SUBSCRIPTION, "It has ended.")
    if status == "incomplete":
        return {**dict.fromkeys(_OF_SUBSCRIPTION, "Its first payment has not arrived."), "cancel": None}
    paused = "It is paused: resume it first." if status == "paused" else None
    ending = "It ends with its period, so it does not renew." if ends else None
    owed = "Its last invoice is unpaid: recover it first." if status == "past_due" else None
    return {
        "renew": paused or owed or ending,
        "fail_renewal": paused or ending,
        "renew_in_time": paused or owed or ending,
        "fail_renewal_in_time": paused or owed or ending,
        "recover": None if owed else "Nothing is owed: let a renewal fail first.",
        "pause": (paused and "It is paused already.") or owed,
        "resume": None if paused else "It is not paused.",
        "cancel_at_period_end": paused or (ending and "Its end is scheduled already."),
        "keep": paused or (None if ends else "No end is scheduled."),
        "change_plan": paused or ending,
        "cancel": None,
    }


def for_charge(body: Json | None, refunds: list[Json], dispute: Json | None) -> AllowedActions:
    """Of a payment with its refunds and its dispute, the latest first; without one, nothing may happen."""
    if body is None or body["status"] != "succeeded":
        return dict.fromkeys(_OF_CHARGE, "Nothing has been paid.")
    is_open = dispute is not None and dispute["status"] not in disputes.CLOSED
    lost = "The dispute was lost: the money is gone." if dispute and dispute["status"] == "lost" else None
    contested = is_open and dispute is not None and not dispute["is_charge_refundable"]
    not_refundable = lost or ("It is under dispute, so the bank holds the money." if contested else None)
    empty = "All of it was refunded." if body["amount_refunded"] >= body["amount"] else None
    inquiry = is_open and dispute is not None and dispute["status"].startswith("warning_")
    opened = lost or ("It is under dispute already." if is_open else None)
    closed = None if is_open else "No dispute is open."
    refunded = refunds and refunds[0]["status"] == "succeeded"
    return {
        "refund": not_refundable or empty,
        "refund_partially": not_refundable or empty,
        "fail_refund": None if refunded else "There is no refund that could fail.",
        "dispute": opened,
        "inquire": opened,
        "win_dispute": closed,
        "lose_dispute": closed or ("An inquiry must escalate before it can be lost." if inquiry else None),
        "escalate_inquiry": closed or (None if inquiry else "It is a dispute already."),
    }


def for_session(body: Json) -> AllowedActions:
    paid = {"expired": "It has expired."}.get(body["status"], "It is paid.")
    unpaid = body["payment_status"] == "unpaid"
    on_its_way = body["status"] == "complete" and unpaid
    if on_its_way:
        paid = "Its payment is on its way."
    opened = None if body["status"] == "open" else paid
    settling = None if on_its_way else "No bank debit is on its way."
    return {
        "pay_session": opened,
        "pay_session_later": opened,
        "expire_session": opened,
        "settle_session": settling,
        "fail_session": settling,
    }


def for_purchase(account_store: AccountStore, session: Json) -> Json:
    """What a session sold, and everything that may happen to it: each offer with the ids its action needs."""
    subscription = account_store.find("subscription", session["subscription"])
    charge = _charge_of(account_store, session, subscription)
    refunds, dispute = history_of(account_store, charge) if charge else ([], None)
    of_session = {"session": session["id"]}
    of_subscription = {"subscription": subscription["id"]} if subscription else {}
    of_charge = {"charge": charge["id"]} if charge else {}
    of_refund = {"refund": refunds[0]["id"]} if refunds else {}
    offers = [_offer(name, why, of_session) for name, why in for_session(session).items()]
    offers += [
        _offer(name, why, of_subscription)
        for name, why in _subscription_actions(session, subscription).items()
    ]
    for name, why in for_charge(charge, refunds, dispute).items():
        offers.append(_offer(name, why, of_refund if name == "fail_refund" else of_charge))
    renewals = clock.renewals(account_store)
    own_renewal = renewals.pop(subscription["id"], None) if subscription else None
    offered_plans = plans.choices(account_store, subscription) if subscription else []
    return {
        "session": session["id"],
        "url": session["url"],
        "subscription": subscription["status"] if subscription else None,
        "offers": offers,
        "renews_in": own_renewal,
        "others_renew_in": sorted(renewals.values()),
        "plans": [_plan(account_store, price) for price in offered_plans],
    }


def history_of(account_store: AccountStore, charge: Json) -> tuple[list[Json], Json | None]:
    """The refunds of a payment, newest first, and its latest dispute."""
    refunds = account_store.select("refund", where("charge", charge["id"]))
    return refunds, next(iter(account_store.select("dispute", where("charge", charge["id"]), limit=1)), None)


_OF_SUBSCRIPTION = (
    *("renew", "fail_renewal", "renew_in_time", "fail_renewal_in_time", "recover", "pause", "resume"),
    *("cancel_at_period_end", "keep", "change_plan", "cancel"),
)
_OF_CHARGE = (
    *("refund", "refund_partially", "fail_refund", "dispute", "inquire"),
    *("win_dispute", "lose_dispute", "escalate_inquiry"),
)


def _subscription_actions(session: Json, subscription: Json | None) -> AllowedActions:
    if subscription is not None:
        return for_subscription(subscription)
    once = session["mode"] != "subscription"
    why = "Only subscriptions can do this." if once else "Nothing has been paid."
    return dict.fromkeys(_OF_SUBSCRIPTION, why)


def _charge_of(account_store: AccountStore, session: Json, subscription: Json | None) -> Json | None:
    """The payment that a refund would be about: of a subscription, that of its last invoice that was paid."""
    intent_id = session["payment_intent"]
    if subscription is not None:
        of_subscription = where("parent.subscription_details.subscription", subscription["id"])
        paid = account_store.select("invoice", of_subscription, where("status", "paid"))
        payments = [
            p for i in paid for p in account_store.select("invoice_payment", where("invoice", i["id"]))
        ]
        intent_id = payments[0]["payment"]["payment_intent"] if payments else None
    intent = account_store.find("payment_intent", intent_id)
    return account_store.find("charge", intent["latest_charge"]) if intent else None


def _offer(action: str, reason: str | None, named: Json) -> Json:
    return {"action": action, "reason": reason, "named": named}


def _plan(account_store: AccountStore, price: Json) -> Json:
    product = account_store.find_any(price["product"]) or {}
    return {
        "price": price["id"],
        "name": product.get("name") or price["product"],
        "amount": price["unit_amount"],
        "currency": price["currency"],
        "interval": price["recurring"]["interval"],
        "interval_count": price["recurring"]["interval_count"],
    }
