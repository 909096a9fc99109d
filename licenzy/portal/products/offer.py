"""The sentence of what a buyer gets, as a product's form describes it so far."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from licenzy.catalog.copying import draft_with_price
from licenzy.catalog.models import Product
from licenzy.catalog.offer import Priced, offer_sentence
from licenzy.catalog.prices import read_price
from licenzy.errors import LicenzyError
from licenzy.portal.guards import Side
from licenzy.portal.products.forms import ProductForm
from licenzy.runtime import runtime
from licenzy.stripe_gateway.client import PriceFacts

_SEEN = re.compile(r"([0-9]{0,15})\|([a-z]{3})\|(day|week|month|year|)\|([0-9]{0,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class SeenPrice:
    """A price as the form has it in a hidden field, so that it is not read at each change of the form.

    Only the sentence is made of it. What is saved is read from Stripe.
    """

    stripe_price_id: str
    unit_amount: int | None
    currency: str
    interval: str | None
    interval_count: int | None

    @classmethod
    def from_text(cls, text: str, *, price_id: str) -> SeenPrice | None:
        """The price of this id as `as_text` wrote it; none where it wrote another one."""
        found = _SEEN.fullmatch(text.removeprefix(f"{price_id}|"))
        if found is None or not text.startswith(f"{price_id}|"):
            return None
        amount, currency, interval, count = found.groups()
        return cls(
            price_id,
            int(amount) if amount else None,
            currency,
            interval or None,
            int(count) if count else None,
        )

    @classmethod
    def of(cls, price: PriceFacts) -> SeenPrice:
        return cls(price.id, price.unit_amount, price.currency, price.interval, price.interval_count)

    def as_text(self) -> str:
        described = (self.unit_amount, self.currency, self.interval, self.interval_count)
        values = ("" if value is None else str(value) for value in described)
        return "|".join((self.stripe_price_id, *values))


def offer_context(
    side: Side, form: ProductForm, *, current: Product | None, picked: PriceFacts | None = None
) -> dict[str, Any]:
    """The sentence, empty while the form says too little, and the prices that it names.

    `picked` is the picked price where it was read already.
    """
    seen = _seen_price(side, form, current, picked)
    prices = _prices_after(form, current, seen)
    draft = form.described_draft()
    return {
        "offer": offer_sentence(draft, prices) if draft is not None else "",
        "offer_prices": prices,
        "seen_price": seen.as_text() if seen is not None else "",
    }


def stored_offer(product: Product) -> str:
    """The sentence of a product as it is stored."""
    return offer_sentence(draft_with_price(product, "", ""), product.selling_prices)


def _prices_after(form: ProductForm, current: Product | None, seen: SeenPrice | None) -> Sequence[Priced]:
    """What the product is sold at once the form is saved."""
    picked_id = (form.price_id.data or "").strip()
    if current is None:
        return [seen] if seen is not None else []
    main = current.main_price
    if main is None or picked_id in {"", main.stripe_price_id}:
        return current.selling_prices
    others = [price for price in current.selling_prices if price is not main]
    return [seen, *others] if seen is not None else others


def _seen_price(
    side: Side, form: ProductForm, current: Product | None, picked: PriceFacts | None
) -> SeenPrice | None:
    price_id = (form.price_id.data or "").strip()
    if not price_id or (current is not None and _is_stored(current, price_id)):
        return None
    if picked is not None:
        return SeenPrice.of(picked)
    seen = SeenPrice.from_text(form.seen_price.data or "", price_id=price_id)
    return seen if seen is not None else _read(side, price_id)


def _is_stored(product: Product, price_id: str) -> bool:
    return product.main_price is not None and product.main_price.stripe_price_id == price_id


def _read(side: Side, price_id: str) -> SeenPrice | None:
    parts = runtime()
    try:
        price = read_price(parts.database, parts.gateway, parts.secret_box, side.scope, price_id=price_id)
    except LicenzyError:
        return None
    return SeenPrice.of(price)
