"""The trial calls that tell, one by one, what a restricted key may do.

Reading is tried by reading. Writing is tried with a parameter that Stripe cannot accept, so that nothing is
ever made: 403 means that the permission is missing, 400 that it is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trial:
    """One call, and the permission that it needs in Stripe's own name."""

    permission: str
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)


def _reading(permission: str, path: str) -> Trial:
    return Trial(permission, "get", path, {"limit": "1"})


def _writing(permission: str, path: str) -> Trial:
    return Trial(permission, "post", path, {"licenzy_trial": "not_a_parameter"})


READS_EVENTS = "rak_event_read"
"""What a key needs to list events."""

TRIALS: tuple[Trial, ...] = (
    Trial("rak_accounts_kyc_basic_read", "get", "account"),
    _writing("rak_checkout_session_write", "checkout/sessions"),
    _reading("rak_checkout_session_read", "checkout/sessions"),
    _reading("rak_plan_read", "prices"),
    _reading("rak_product_read", "products"),
    _reading("rak_subscription_read", "subscriptions"),
    _reading("rak_invoice_read", "invoices"),
    _reading("rak_charge_read", "charges"),
    _reading(READS_EVENTS, "events"),
    _reading("rak_webhook_read", "webhook_endpoints"),
    _writing("rak_webhook_write", "webhook_endpoints"),
)
