"""Payment intents, charges, refunds and disputes."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json

CARD, BANK_DEBIT = "card", "sepa_debit"
DECLINED = "Your card was declined."
EVIDENCE_DAYS = 7
_EVIDENCE = [
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
]


def payment_intent(
    session: AccountStore,
    *,
    amount: int,
    currency: str,
    customer: str | None,
    metadata: Json,
    description: str | None,
    email: str | None,
    for_renewals: bool,
    invoice: str | None = None,
) -> Json:
    intent_id = new_id("pi_3")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": f"{intent_id}_secret_{new_id('')}",
        "confirmation_method": "automatic",
        "created": session.now,
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": description,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": session.account.livemode,
        "managed_payments": None,
        "metadata": metadata,
        "next_action": None,
        "on_behalf_of": None,
        "payment_details": {"customer_reference": None, "order_reference": invoice},
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": [CARD],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": "off_session" if for_renewals else None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        "_email": email,
    }


def charge(session: AccountStore, intent: Json, *, status: str, method: str, payment_method: str) -> Json:
    """A charge of the whole intent: `succeeded`, `pending` (a bank debit under way) or `failed`."""
    failed = status == "failed"
    return {
        "id": new_id("ch_3" if method == CARD else "py_3"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0 if failed else intent["amount"],
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": new_id("txn_3") if status == "succeeded" else None,
        "billing_details": {
            "address": dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state")),
            "email": intent["_email"],
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "calculated_statement_descriptor": "SANDBOX",
        "captured": not failed,
        "created": session.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": "card_declined" if failed else None,
        "failure_message": DECLINED if failed else None,
        "fraud_details": {},
        "livemode": session.account.livemode,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": _outcome(failed),
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": payment_method,
        "payment_method_details": _method_details(method),
        "radar_options": {},
        "receipt_email": None,
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": status,
        "transfer_data": None,
        "transfer_group": None,
    }


def decline_of(charge_body: Json) -> Json:
    """The error that an intent remembers of its declined charge."""
    return {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": DECLINED,
        "charge": charge_body["id"],
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
    }


def refund(
    session: AccountStore, charge_body: Json, *, amount: int, reason: str | None, metadata: Json
) -> Json:
    return {
        "id": new_id("re_3"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": new_id("txn_3"),
        "charge": charge_body["id"],
        "created": session.now,
        "currency": charge_body["currency"],
        "customer": charge_body["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": metadata,
        "payment_intent": charge_body["payment_intent"],
        "payment_method": charge_body["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }


def dispute(session: AccountStore, charge_body: Json, *, inquiry: bool, reason: str) -> Json:
    return {
        "id": new_id("du_1"),
        "object": "dispute",
        "amount": charge_body["amount"],
        "balance_transactions": [],
        "charge": charge_body["id"],
        "created": session.now,
        "currency": charge_body["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(_EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": session.now + EVIDENCE_DAYS * 86400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": inquiry,
        "livemode": session.account.livemode,
        "metadata": {},
        "payment_intent": charge_body["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": "visa",
                "case_type": "inquiry" if inquiry else "chargeback",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if inquiry else "needs_response",
    }


def _outcome(failed: bool) -> Json:
    return {
        "advice_code": "try_again_later" if failed else None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network" if failed else "approved_by_network",
        "reason": "generic_decline" if failed else None,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": "The bank did not return any further details with this decline."
        if failed
        else "Payment complete.",
        "type": "issuer_declined" if failed else "authorized",
    }


def _method_details(method: str) -> Json:
    if method == BANK_DEBIT:
        debit = {
            "bank_code": "37040044",
            "branch_code": None,
            "country": "DE",
            "fingerprint": None,
            "last4": "3000",
        }
        return {"sepa_debit": {**debit, "mandate": None}, "type": BANK_DEBIT}
    return {
        "card": {
            "amount_authorized": None,
            "brand": "visa",
            "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
            "country": "US",
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": None,
            "funding": "credit",
            "installments": None,
            "last4": "4242",
            "mandate": None,
            "network": "visa",
            "three_d_secure": None,
            "wallet": None,
        },
        "type": CARD,
    }
