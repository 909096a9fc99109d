"""A price that is to be created in Stripe. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from licenzy.kit.money import format_amount
from licenzy.projects.scope import Scope

INTERVALS = ("day", "week", "month", "year")
AMOUNT_MAX = 99_999_999
"""Stripe's own limit for most currencies, in the smallest unit."""


@dataclass(frozen=True, slots=True)
class NewPrice:
    """A price to create in Stripe."""

    amount: int
    """In the currency's smallest unit."""
    currency: str
    interval: str | None = None
    """`day`, `week`, `month` or `year`; none for a price that is paid once."""
    interval_count: int = 1

    def params(self, *, stripe_product_id: str | None, name: str) -> dict[str, Any]:
        """As Stripe takes it: of a product there, or of a new one of this name."""
        recurring = {"interval": self.interval, "interval_count": self.interval_count}
        return {
            "currency": self.currency,
            "unit_amount": self.amount,
            **({"recurring": recurring} if self.interval is not None else {}),
            **({"product": stripe_product_id} if stripe_product_id else {"product_data": {"name": name}}),
        }


def price_text(price: NewPrice) -> str:
    """What a price costs, for people: `$20.00 every month`."""
    amount = format_amount(price.amount, price.currency)
    if price.interval is None:
        return f"{amount} once"
    if price.interval_count == 1:
        return f"{amount} every {price.interval}"
    return f"{amount} every {price.interval_count} {price.interval}s"


def price_idempotency_key(scope: Scope, params: Mapping[str, Any]) -> str:
    """The same for the same parameters of one project and mode, so that a repeat creates no second price."""
    of = json.dumps([scope.project_id, scope.mode, params], sort_keys=True)
    return f"licenzy-price-{hashlib.sha256(of.encode()).hexdigest()[:40]}"
