"""`POST /v1/checkout/session`."""

from __future__ import annotations

from flask import Response

from licenzy.api.exchange import Exchange, body_hash
from licenzy.api.schemas import CheckoutSessionBody, validated
from licenzy.checkout.actions import CheckoutRequest, Seller, open_session


def create_session(exchange: Exchange) -> Response:
    """Open a Stripe Checkout Session for a subject and a product code."""
    exchange.authenticate()
    sent = exchange.json()
    body = validated(CheckoutSessionBody, sent)
    scope = exchange.scope("checkout/session")
    parts = exchange.runtime
    seller = Seller(parts.database, parts.gateway, parts.seal, parts.clock, parts.settings.base_url)
    sold = open_session(
        seller, request=CheckoutRequest(**body.model_dump()), scope=scope, body_hash=body_hash(sent)
    )
    response = exchange.answer_text(sold.outcome.body, sold.outcome.status)
    if sold.replayed:
        response.headers["Idempotent-Replayed"] = "true"
    return response
