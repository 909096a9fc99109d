"""`POST /v1/checkout/session`."""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest, body_hash
from licenzy.api.schemas import CheckoutSessionBody, validated
from licenzy.checkout.actions import CheckoutRequest, Seller, open_session
from licenzy.idempotency.models import CHECKOUT


def create_session(request: ApiRequest) -> Reply:
    """Open a Stripe Checkout Session for a subject and a product code."""
    request.authenticate()
    sent = request.json(request.incoming.body)
    body = validated(CheckoutSessionBody, sent)
    call_key = request.idempotency(CHECKOUT)
    parts = request.runtime
    seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
    sold = open_session(
        seller, request=CheckoutRequest(**body.model_dump()), call_key=call_key, body_hash=body_hash(sent)
    )
    return request.answer_outcome(sold.outcome, replayed=sold.replayed)
