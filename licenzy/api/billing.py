"""`POST /v1/billing/portal-session`."""

from __future__ import annotations

from licenzy.api.reply import Reply
from licenzy.api.request import ApiRequest
from licenzy.api.schemas import PortalSessionBody
from licenzy.checkout.billing_portal import open_billing_portal
from licenzy.checkout.preparation import Seller


def create_portal_session(request: ApiRequest) -> Reply:
    """Open Stripe's customer portal for a subject."""
    caller = request.authenticate()
    body = request.body(PortalSessionBody)
    parts = request.runtime
    seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
    url = open_billing_portal(seller, caller.scope, **body.model_dump())
    return request.answer({"url": url}, 201)
