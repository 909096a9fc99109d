"""PaymentIntents and their Charges: created, charged, settled or failed, with Stripe's events in order."""

from __future__ import annotations

from enum import Enum

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.errors import RequestRefused
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.shapes import payments as shapes
from licenzy.stripe_sandbox.version import Json


class PaymentOutcome(Enum):
    """How a payment goes: at once, by a slow bank debit that ends well or not, or not at all."""

    SUCCEEDED = "pay"
    PROCESSING = "pay_later"
    FAIL_LATER = "fail_later"
    FAILED = "decline"

    @property
    def is_debit(self) -> bool:
        """Whether the bank answers days later."""
        return self in (PaymentOutcome.PROCESSING, PaymentOutcome.FAIL_LATER)


DEBIT_SECONDS = 5 * 86400
"""How long a bank debit is under way that nobody settles earlier."""


def open_intent(
    session: AccountStore,
    *,
    amount: int,
    currency: str,
    customer: str | None,
    email: str | None,
    metadata: Json,
    description: str | None = None,
    invoice: str | None = None,
    for_renewals: bool = False,
) -> Json:
    """A new payment intent that waits for a payment method."""
    intent = shapes.payment_intent(
        session,
        amount=amount,
        currency=currency,
        customer=customer,
        metadata=metadata,
        description=description,
        email=email,
        for_renewals=for_renewals,
        invoice=invoice,
    )
    session.insert(intent)
    session.emit("payment_intent.created", intent)
    return intent


def attempt(
    session: AccountStore, intent: Json, *, outcome: PaymentOutcome, settles_at: int | None = None
) -> Json:
    """Charge the intent once; answers the charge. A bank debit settles by itself at `settles_at`, or waits
    for `settle`."""
    method = shapes.BANK_DEBIT if outcome.is_debit else shapes.CARD
    status = {PaymentOutcome.SUCCEEDED: "succeeded", PaymentOutcome.FAILED: "failed"}.get(outcome, "pending")
    charge = session.insert(
        shapes.charge(session, intent, status=status, method=method, payment_method=new_id("pm_1"))
    )
    if outcome is PaymentOutcome.FAILED:
        _declined(session, intent, charge)
    elif outcome.is_debit:
        session.change(
            intent,
            status="processing",
            _settles_at=settles_at,
            _will_fail=outcome is PaymentOutcome.FAIL_LATER,
            latest_charge=charge["id"],
            payment_method=charge["payment_method"],
            payment_method_types=[method],
            last_payment_error=None,
        )
        session.emit("charge.pending", charge)
        session.emit("payment_intent.processing", intent)
    else:
        _succeeded(session, intent, charge)
    return charge


def settle(session: AccountStore, intent: Json, *, succeeds: bool) -> None:
    """The bank's answer to a debit that was under way."""
    charge = session.find("charge", intent["latest_charge"])
    if charge is None or charge["status"] != "pending":
        raise RequestRefused(f"The payment {intent['id']} is not under way, so it cannot be settled.")
    if succeeds:
        session.change(charge, status="succeeded", paid=True, balance_transaction=new_id("txn_3"))
        _succeeded(session, intent, charge)
        return
    session.change(
        charge,
        status="failed",
        captured=False,
        amount_captured=0,
        failure_code="insufficient_funds",
        failure_message="The customer's account has insufficient funds to cover this payment.",
    )
    _declined(session, intent, charge)


def cancel_intent(session: AccountStore, intent: Json) -> None:
    """Nobody is going to pay it: its invoice is void, or was paid in another way."""
    if intent["status"] not in ("requires_payment_method", "processing"):
        return
    session.change(intent, status="canceled", canceled_at=session.now, cancellation_reason="void_invoice")
    session.emit("payment_intent.canceled", intent)


def charge_for(
    session: AccountStore, *, charge: str | None = None, payment_intent: str | None = None
) -> Json:
    """The charge named, or the intent's latest; exactly one of the two is given.

    Raises Stripe's error when the intent has no charge that succeeded.
    """
    if charge is not None:
        return session.get("charge", charge, param="charge")
    intent = session.get("payment_intent", str(payment_intent), param="payment_intent")
    found = session.find("charge", intent["latest_charge"])
    if found is None or found["status"] == "failed":
        raise RequestRefused(
            f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
            code="payment_intent_unexpected_state",
            param="payment_intent",
        )
    return found


def _succeeded(session: AccountStore, intent: Json, charge: Json) -> None:
    session.change(
        intent,
        status="succeeded",
        latest_charge=charge["id"],
        payment_method=charge["payment_method"],
        amount_received=intent["amount"],
        last_payment_error=None,
    )
    session.emit("charge.succeeded", charge)
    session.emit("payment_intent.succeeded", intent)


def _declined(session: AccountStore, intent: Json, charge: Json) -> None:
    session.change(
        intent,
        status="requires_payment_method",
        latest_charge=charge["id"],
        last_payment_error=shapes.decline_of(charge),
    )
    session.emit("charge.failed", charge)
    session.emit("payment_intent.payment_failed", intent)
