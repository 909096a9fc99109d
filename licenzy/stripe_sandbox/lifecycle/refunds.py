"""Money given back, wholly or in part, and refunds that fail later."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession, where
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.shapes import payments as shapes
from licenzy.stripe_sandbox.version import Json


def refund(
    session: AccountSession,
    charge: Json,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Give back `amount`, or all that is left."""
    left = charge["amount"] - charge["amount_refunded"]
    _refuse_impossible(session, charge, left, amount)
    given = session.insert(
        shapes.refund(session, charge, amount=amount or left, reason=reason, metadata=metadata or {})
    )
    returned = charge["amount_refunded"] + given["amount"]
    previous = session.change(charge, amount_refunded=returned, refunded=returned == charge["amount"])
    session.emit("refund.created", given)
    session.emit("charge.refunded", charge, previous)
    return given


def fail(session: AccountSession, given: Json) -> None:
    """The bank sends the money back to the merchant: the charge counts it as never refunded."""
    if given["status"] != "succeeded":
        raise RequestRefused(f"The refund {given['id']} is {given['status']}, so it cannot fail.")
    charge = session.get("charge", given["charge"], param="charge")
    previous = session.change(
        given,
        status="failed",
        failure_reason="expired_or_canceled_card",
        failure_balance_transaction=given["balance_transaction"],
    )
    previous_charge = session.change(
        charge, amount_refunded=charge["amount_refunded"] - given["amount"], refunded=False
    )
    session.emit("refund.failed", given)
    session.emit("refund.updated", given, previous)
    session.emit("charge.refund.updated", given, previous)
    session.emit("charge.updated", charge, previous_charge)


def update(session: AccountSession, given: Json, *, metadata: Json) -> None:
    previous = session.change(given, metadata=metadata)
    if previous:
        session.emit("refund.updated", given, previous)
        session.emit("charge.refund.updated", given, previous)


def _refuse_impossible(session: AccountSession, charge: Json, left: int, amount: int | None) -> None:
    if charge["status"] != "succeeded":
        raise RequestRefused(
            f"The charge {charge['id']} has not succeeded, so it cannot be refunded.", param="charge"
        )
    if _charged_back(session, charge):
        raise RequestRefused(
            f"The charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            param="charge",
        )
    if left == 0:
        raise RequestRefused(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded"
        )
    if amount is not None and amount > left:
        raise RequestRefused(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", param="amount"
        )


def _charged_back(session: AccountSession, charge: Json) -> bool:
    return any(
        not d["is_charge_refundable"] and d["status"] != "won"
        for d in session.select("dispute", where("charge", charge["id"]))
    )
