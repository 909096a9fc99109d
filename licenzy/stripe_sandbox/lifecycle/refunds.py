"""Full and partial refunds, and refunds that fail later."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore, where
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.shapes import payments as shapes
from licenzy.stripe_sandbox.version import Json


def refund(
    session: AccountStore,
    charge: Json,
    *,
    amount: int | None = None,
    reason: str | None = None,
    metadata: Json | None = None,
) -> Json:
    """Give back `amount`, or all that is left."""
    left = charge["amount"] - charge["amount_refunded"]
    _validate_refund(session, charge, left, amount)
    refund_body = session.insert(
        shapes.refund(session, charge, amount=amount or left, reason=reason, metadata=metadata or {})
    )
    returned = charge["amount_refunded"] + refund_body["amount"]
    previous = session.change(charge, amount_refunded=returned, refunded=returned == charge["amount"])
    session.emit("refund.created", refund_body)
    session.emit("charge.refunded", charge, previous)
    return refund_body


def fail(session: AccountStore, refund_body: Json) -> None:
    """The bank sends the money back to the merchant: the charge counts it as never refunded."""
    if refund_body["status"] != "succeeded":
        raise RequestRefused(f"The refund {refund_body['id']} is {refund_body['status']}, so it cannot fail.")
    charge = session.get("charge", refund_body["charge"], param="charge")
    previous = session.change(
        refund_body,
        status="failed",
        failure_reason="expired_or_canceled_card",
        failure_balance_transaction=refund_body["balance_transaction"],
    )
    previous_charge = session.change(
        charge, amount_refunded=charge["amount_refunded"] - refund_body["amount"], refunded=False
    )
    session.emit("refund.failed", refund_body)
    session.emit("refund.updated", refund_body, previous)
    session.emit("charge.refund.updated", refund_body, previous)
    session.emit("charge.updated", charge, previous_charge)


def update(session: AccountStore, refund_body: Json, *, metadata: Json) -> None:
    """Replace the metadata of a refund; no event when nothing changed."""
    previous = session.change(refund_body, metadata=metadata)
    if previous:
        session.emit("refund.updated", refund_body, previous)
        session.emit("charge.refund.updated", refund_body, previous)


def _validate_refund(session: AccountStore, charge: Json, left: int, amount: int | None) -> None:
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


def _charged_back(session: AccountStore, charge: Json) -> bool:
    return any(
        not d["is_charge_refundable"] and d["status"] != "won"
        for d in session.select("dispute", where("charge", charge["id"]))
    )
