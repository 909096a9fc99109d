"""Stripe's payment methods for tests, by the names that Stripe gives them, and how a payment by each goes."""

from __future__ import annotations

from licenzy.stripe_sandbox.errors import ResourceMissing
from licenzy.stripe_sandbox.lifecycle.payments import PaymentOutcome
from licenzy.stripe_sandbox.version import Json

_METHODS = {
    **dict.fromkeys(("pm_card_visa", "pm_card_mastercard", "pm_card_amex"), PaymentOutcome.SUCCEEDED),
    **dict.fromkeys(
        ("pm_card_visa_chargeDeclined", "pm_card_chargeDeclined", "pm_card_chargeCustomerFail"),
        PaymentOutcome.FAILED,
    ),
    # Bank debits: under way for some days, whatever becomes of them.
    **dict.fromkeys(("pm_success_de", "pm_successDelayed_de"), PaymentOutcome.PROCESSING),
    **dict.fromkeys(("pm_failed_de", "pm_failedDelayed_de"), PaymentOutcome.FAIL_LATER),
}


def require_known(method: str, *, param: str) -> str:
    """The name of a payment method that the sandbox knows."""
    if method not in _METHODS:
        raise ResourceMissing(f"No such PaymentMethod: '{method}'", param=param, in_address=False)
    return method


def outcome_of(subscription: Json) -> PaymentOutcome:
    """How the next payment of a subscription goes: after a declined one, its card is declined until
    `recover`, and without a card it is declined too."""
    if subscription.get("_card_fails") or not subscription.get("_has_card", True):
        return PaymentOutcome.FAILED
    return outcome_by(subscription["default_payment_method"])


def outcome_by(method: str | None) -> PaymentOutcome:
    """How a payment by this method goes; a good card where none is named."""
    return _METHODS.get(method or "", PaymentOutcome.SUCCEEDED)
