"""The account itself, and its clock."""

from __future__ import annotations

from licenzy.stripe_sandbox.accounts import Account
from licenzy.stripe_sandbox.version import Json

_NO_REQUIREMENTS: Json = {
    "alternatives": [],
    "current_deadline": None,
    "currently_due": [],
    "disabled_reason": None,
    "errors": [],
    "eventually_due": [],
    "past_due": [],
    "pending_verification": [],
}
CLOCK_LASTS_SECONDS = 30 * 86400


def account(account: Account) -> Json:
    return {
        "id": account.id,
        "object": "account",
        "business_profile": {
            "mcc": None,
            "name": account.name,
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": None,
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": account.created,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@example.com",
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": f"/v1/accounts/{account.id}/external_accounts",
        },
        "future_requirements": _NO_REQUIREMENTS,
        "metadata": {},
        "payouts_enabled": True,
        "requirements": _NO_REQUIREMENTS,
        "settings": {
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "dashboard": {"display_name": account.name, "timezone": "Etc/UTC"},
            "payments": {
                "statement_descriptor": "SANDBOX",
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
            },
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }


def test_clock(account: Account, *, frozen_time: int, target: int | None) -> Json:
    """Stripe gives clocks to groups of customers; here the one clock is the account's. While it moves,
    `target` is the time at which it arrives."""
    return {
        "id": account.clock_id,
        "object": "test_helpers.test_clock",
        "created": account.created,
        "deletes_after": frozen_time + CLOCK_LASTS_SECONDS,
        "frozen_time": frozen_time,
        "livemode": account.livemode,
        "name": account.name,
        "status": "ready" if target is None else "advancing",
        "status_details": {} if target is None else {"advancing": {"target_frozen_time": target}},
    }
