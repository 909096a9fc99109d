"""Webhook endpoints and billing portal sessions."""

from __future__ import annotations

from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.ids import new_id
from licenzy.stripe_sandbox.version import Json


def webhook_endpoint(account_store: AccountStore, params: Json) -> Json:
    """`_secret` is internal: Stripe shows the secret only in the response to the creation."""
    return {
        "id": new_id("we_1"),
        "object": "webhook_endpoint",
        "api_version": params.get("api_version"),
        "application": None,
        "created": account_store.now,
        "description": params.get("description"),
        "enabled_events": params["enabled_events"],
        "livemode": account_store.account.livemode,
        "metadata": params.get("metadata") or {},
        "status": "enabled",
        "url": params["url"],
        "_secret": new_id("whsec_", 32),
    }


def portal_session(
    account_store: AccountStore,
    *,
    customer: str,
    return_url: str | None,
    locale: str | None,
    configuration: str,
) -> Json:
    token = new_id(f"{account_store.account.mode}_", 48)
    return {
        "id": new_id("bps_1"),
        "object": "billing_portal.session",
        "configuration": configuration,
        "created": account_store.now,
        "customer": customer,
        "customer_account": None,
        "flow": None,
        "livemode": account_store.account.livemode,
        "locale": locale,
        "on_behalf_of": None,
        "return_url": return_url,
        "url": f"{account_store.public_url}/portal/{token}",
        "_token": token,
    }
