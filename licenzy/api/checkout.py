"""`POST /v1/checkout/session`."""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest, body_hash
from licenzy.api.schemas import checkout_body
from licenzy.checkout.actions import open_session
from licenzy.checkout.preparation import CheckoutRequest, RequestedItem, Seller
from licenzy.idempotency.models import CHECKOUT


def create_session(request: ApiRequest) -> Reply:
    """Open a Stripe Checkout Session for a subject and a product code."""
    request.authenticate()
    sent = request.json(request.incoming.body)
    body = checkout_body(sent)
    call_key = request.idempotency(CHECKOUT)
    parts = request.runtime
    seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
    values = body.model_dump()
    items = tuple(RequestedItem(**each) for each in values.pop("items", ()))
    checkout_request = CheckoutRequest(**values, items=items)
    sold = open_session(seller, request=checkout_request, call_key=call_key, body_hash=body_hash(sent))
    return request.answer_outcome(sold.outcome, replayed=sold.replayed)
