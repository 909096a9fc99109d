"""Payment intents, charges, refunds and disputes."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.api.table import list_endpoint, operation
from licenzy.stripe_sandbox.errors import InvalidParameter, RequestRefused
from licenzy.stripe_sandbox.lifecycle import disputes, payments, refunds
from licenzy.stripe_sandbox.params import (
    EXPAND,
    Check,
    boolean,
    fields,
    integer,
    merged_metadata,
    metadata,
    one_of,
    text,
)
from licenzy.stripe_sandbox.version import Json

_BY_PAYMENT: dict[str, Check] = {"charge": text(255), "payment_intent": text(255)}


@operation(
    "GET",
    "/v1/payment_intents/<intent_id>",
    permission="payment_intent",
    params=fields({"client_secret": text(255), **EXPAND}),
)
def retrieve_intent(session: AccountStore, params: Json, intent_id: str) -> Json:
    del params
    return session.get("payment_intent", intent_id, param="intent", in_address=True)


list_endpoint(
    "/v1/payment_intents", "payment_intent", permission="payment_intent", filters={"customer": text(255)}
)


@operation("GET", "/v1/charges/<charge_id>", permission="charge", params=fields(EXPAND))
def retrieve_charge(session: AccountStore, params: Json, charge_id: str) -> Json:
    del params
    return session.get("charge", charge_id, param="id", in_address=True)


list_endpoint(
    "/v1/charges",
    "charge",
    permission="charge",
    filters={"customer": text(255), "payment_intent": text(255)},
)


@operation(
    "POST",
    "/v1/refunds",
    permission="charge",
    params=fields(
        {
            "amount": integer(1),
            "charge": text(255),
            "metadata": metadata(),
            "payment_intent": text(255),
            "reason": one_of("duplicate", "fraudulent", "requested_by_customer"),
            **EXPAND,
        }
    ),
)
def create_refund(session: AccountStore, params: Json) -> Json:
    if "charge" not in params and "payment_intent" not in params:
        raise InvalidParameter(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    charge = payments.charge_for(
        session, charge=params.get("charge"), payment_intent=params.get("payment_intent")
    )
    return refunds.refund(
        session,
        charge,
        amount=params.get("amount"),
        reason=params.get("reason"),
        metadata=params.get("metadata"),
    )


@operation("GET", "/v1/refunds/<refund_id>", permission="charge", params=fields(EXPAND))
def retrieve_refund(session: AccountStore, params: Json, refund_id: str) -> Json:
    del params
    return session.get("refund", refund_id, param="id", in_address=True)


@operation(
    "POST", "/v1/refunds/<refund_id>", permission="charge", params=fields({"metadata": metadata(), **EXPAND})
)
def update_refund(session: AccountStore, params: Json, refund_id: str) -> Json:
    refund = session.get("refund", refund_id, param="id", in_address=True)
    if "metadata" in params:
        refunds.update(session, refund, metadata=merged_metadata(refund["metadata"], params["metadata"]))
    return refund


list_endpoint("/v1/refunds", "refund", permission="charge", filters=_BY_PAYMENT)


@operation("GET", "/v1/disputes/<dispute_id>", permission="dispute", params=fields(EXPAND))
def retrieve_dispute(session: AccountStore, params: Json, dispute_id: str) -> Json:
    del params
    return session.get("dispute", dispute_id, param="id", in_address=True)


@operation(
    "POST",
    "/v1/disputes/<dispute_id>",
    permission="dispute",
    params=fields(
        {
            "submit": boolean(),
            "metadata": metadata(),
            "evidence": fields({"uncategorized_text": text(20000)}),
            **EXPAND,
        }
    ),
)
def update_dispute(session: AccountStore, params: Json, dispute_id: str) -> Json:
    """Evidence is sent to the bank unless `submit` is false."""
    dispute = session.get("dispute", dispute_id, param="id", in_address=True)
    if "metadata" in params:
        session.change(dispute, metadata=merged_metadata(dispute["metadata"], params["metadata"]))
    if "evidence" in params:
        if dispute["status"] in disputes.CLOSED:
            raise RequestRefused("This dispute is already closed.", code="dispute_already_closed")
        session.change(dispute, evidence={**dispute["evidence"], **params["evidence"]})
        if params.get("submit", True):
            disputes.submit_evidence(session, dispute)
    return dispute


@operation("POST", "/v1/disputes/<dispute_id>/close", permission="dispute", params=fields(EXPAND))
def close_dispute(session: AccountStore, params: Json, dispute_id: str) -> Json:
    """The merchant gives in."""
    del params
    dispute = session.get("dispute", dispute_id, param="id", in_address=True)
    disputes.close(session, dispute, won=False)
    return dispute


list_endpoint("/v1/disputes", "dispute", permission="dispute", filters=_BY_PAYMENT)
