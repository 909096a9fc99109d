"""Pure rules of selling: redirect addresses, what Stripe is asked for, what became of an attempt."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product, ProductPrice
from licenzy.checkout.models import AttemptStatus
from licenzy.subjects.rules import is_plain

MAX_URL = 2048
MAX_ITEMS = 10
"""Products that one checkout sells at most."""
MAX_QUANTITY = 999_999  # Stripe's cap for a line item.
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_NAMED_HOST = re.compile(r"[\w-]+(?:\.[\w-]+)*")
URL_PATTERN = (
    r"^(?:https://[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|http://(?:localhost|127\.0\.0\.1|\[::1\]))"
    r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?"
    r"(?:[/?#][!-\[\]-~]*)?$"
)
"""Redirect addresses as a regular expression of JSON Schema: those in ASCII, whose host has a name."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Returns:
    """Where Stripe sends the buyer afterwards."""

    success_url: str
    cancel_url: str


@dataclass(frozen=True, slots=True)
class PricedProduct:
    """A product at one of its prices, and how many of it."""

    product: Product
    price: ProductPrice
    quantity: int = 1


def redirect_problem(url: str, *, mode: Mode, hosts: Sequence[str]) -> str | None:
    """What is wrong with a redirect address, as a sentence; None when it is good.

    `hosts` are the only ones allowed; empty allows any. Stripe's `{CHECKOUT_SESSION_ID}` may stand in it.
    """
    if len(url) > MAX_URL:
        return f"must have at most {MAX_URL} characters"
    if _UNSAFE.search(url):
        return "must not contain spaces, backslashes, control characters or text direction overrides"
    try:
        parts = urlsplit(url)
        port_is_good = parts.port is None or parts.port > 0
    except ValueError:
        return "is not a valid URL"
    if parts.scheme not in {"https", "http"} or not url.startswith(f"{parts.scheme}://") or not port_is_good:
        return "must be an absolute https URL"
    if parts.netloc.endswith(":"):
        return "must have a port after the colon, or no colon"
    host = parts.hostname or ""
    if not _is_host(host) or "@" in parts.netloc:
        return "must have a host, and no user name or password"
    if parts.scheme == "http" and (mode is Mode.LIVE or host not in _LOOPBACK):
        return "must begin with https:// (http:// is for localhost in test mode)"
    if hosts and host not in hosts:
        return "must be on one of the project's redirect hosts"
    return None


def stripe_params(
    sales: Sequence[PricedProduct],
    *,
    attempt_id: str,
    subject_ref: str,
    trial_days: int | None,
    returns: Returns,
    customer_id: str | None,
    customer_email: str | None,
) -> dict[str, Any]:
    """Exactly what Stripe is asked for when these products, which agree, are sold to this subject."""
    product = sales[0].product
    metadata = {
        "licenzy_project": product.project_id,
        "licenzy_attempt": attempt_id,
        "licenzy_subject_ref": subject_ref,
    }
    if len(sales) == 1:
        metadata["licenzy_product_code"] = product.product_code
    params: dict[str, Any] = {
        "line_items": [_line_item(each) for each in sales],
        "success_url": returns.success_url,
        "cancel_url": returns.cancel_url,
        "client_reference_id": subject_ref if is_plain(subject_ref) else attempt_id,
        "metadata": metadata,
    }
    if product.kind is Kind.SUBSCRIPTION:
        params["mode"] = "subscription"
        params["subscription_data"] = {"metadata": metadata}
        if trial_days:
            params["subscription_data"] |= {
                "trial_period_days": trial_days,
                "trial_settings": {
                    "end_behavior": {"missing_payment_method": product.trial_end_without_card.value}
                },
            }
            params["payment_method_collection"] = product.trial_card.value
    else:
        params["mode"] = "payment"
        params["payment_intent_data"] = {"metadata": metadata}
    if product.allow_promotion_codes:
        params["allow_promotion_codes"] = True
    if product.automatic_tax:
        params["automatic_tax"] = {"enabled": True}
    params.update(_buyer(product, customer_id, customer_email))
    return params


def _line_item(sale: PricedProduct) -> dict[str, Any]:
    line: dict[str, Any] = {"price": sale.price.stripe_price_id, "quantity": sale.quantity}
    if sale.product.adjustable_quantity and sale.product.kind is Kind.SUBSCRIPTION:
        line["adjustable_quantity"] = {"enabled": True}
    return line


def disagreement(sales: Sequence[PricedProduct]) -> str | None:
    """Why these products cannot be sold by one checkout, as a sentence; None when they can."""
    prices = [each.price.stripe_price_id for each in sales]
    for number, each in enumerate(sales):
        if each.price.stripe_price_id in prices[:number]:
            return f"{each.product.product_code} is there twice at one price. Send it once with a quantity."
    for what, values in _AGREED.items():
        first, *others = sales
        for other in others:
            if values(first) != values(other):
                codes = f"{first.product.product_code} and {other.product.product_code}"
                return f"{codes} differ in their {what}. Sell them in separate checkouts."
    return None


def _has_trial(sale: PricedProduct) -> tuple[Any, ...]:
    product = sale.product
    if product.trial_days is None:
        return ()
    return product.trial_days, product.trial_once


def _card_rules(sale: PricedProduct) -> tuple[Any, ...]:
    product = sale.product
    return (product.trial_card, product.trial_end_without_card) if product.trial_days is not None else ()


_AGREED: Mapping[str, Callable[[PricedProduct], Any]] = {
    "kind: only subscriptions renew": lambda sale: sale.product.kind is Kind.SUBSCRIPTION,
    "currency": lambda sale: sale.price.currency,
    "interval": lambda sale: (sale.price.interval, sale.price.interval_count),
    "trial": _has_trial,
    "card settings of the trial": _card_rules,
    "promotion codes": lambda sale: sale.product.allow_promotion_codes,
    "automatic tax": lambda sale: sale.product.automatic_tax,
}
"""In what all products of one checkout must agree, in the order in which it is checked."""


def outcome(
    sessions: Sequence[Mapping[str, Any]], *, never_paid: str | None = None, paid_later: bool = False
) -> tuple[AttemptStatus, str | None] | None:
    """What the facts of an attempt's session say became of it; None when they say nothing yet.

    `never_paid` is why its subscription seems never to have been paid for. `paid_later` says that it has a
    paid invoice, whatever became of the payment that the session began.
    """
    events = {fact["event"]: fact for fact in sessions}
    if any(fact["payment_status"] in {"paid", "no_payment_required"} for fact in sessions):
        return AttemptStatus.PAID, None
    failure = "payment_failed" if "checkout.session.async_payment_failed" in events else never_paid
    if failure is not None:
        return (AttemptStatus.PAID, None) if paid_later else (AttemptStatus.FAILED, failure)
    if "checkout.session.completed" in events:
        return AttemptStatus.PROCESSING, "awaiting_payment"
    if "checkout.session.expired" in events:
        return AttemptStatus.FAILED, "expired"
    return None


def _is_host(text: str) -> bool:
    """Whether it can be a host's name, in any script; `urlsplit` has checked addresses in brackets."""
    return ":" in text or _NAMED_HOST.fullmatch(text) is not None


def _buyer(product: Product, customer_id: str | None, customer_email: str | None) -> dict[str, Any]:
    if customer_id:
        known: dict[str, Any] = {"customer": customer_id}
        if product.automatic_tax:
            known["customer_update"] = {"address": "auto"}
        return known
    unknown: dict[str, Any] = {}
    if customer_email:
        unknown["customer_email"] = customer_email
    if product.kind is not Kind.SUBSCRIPTION:
        unknown["customer_creation"] = "always"
    return unknown
