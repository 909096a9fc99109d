"""Webhook endpoints and billing portal sessions."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_session import AccountSession
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json


def webhook_endpoint(account_session: AccountSession, params: Json) -> Json:
    """`_secret` is internal: Stripe shows the secret only in the response to the creation."""
    return {
        "id": new_id("we_1"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": account_session.now,
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "livemode": account_session.account.livemode,
        "metadata": params.get("metadata") or {},
        "status": "enabled",
        "url": params["url"],
        "_secret": new_id("whsec_", 32),
    }


def portal_session(
    account_session: AccountSession,
    *,
    customer: str,
    return_url: str | None,
    locale: str | None,
    configuration: str,
) -> Json:
    token = new_id(f"{account_session.account.mode}_", 48)
    return {
        "id": new_id("bps_1"),
        "object": "billing_portal.session",
        "configuration": configuration,
        "created": account_session.now,
        "customer": customer,
        "customer_account": None,
        "flow": None,
        "livemode": account_session.account.livemode,
        "locale": locale,
        "on_behalf_of": None,
        "return_url": return_url,
        "url": f"{account_session.public_url}/portal/{token}",
        "_token": token,
    }
