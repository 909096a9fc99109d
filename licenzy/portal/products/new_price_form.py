"""The form that creates a price in the sandbox."""

from __future__ import annotations

import re
import secrets
from typing import Any

from wtforms import HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, ValidationError

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.new_prices import AMOUNT_MAX, NewPrice
from licenzy.catalog.rules import mapping_problems, proposed_label
from licenzy.catalog.sandbox_prices import creates_prices
from licenzy.connections.queries import connection_of
from licenzy.kit.money import decimals, parse_amount
from licenzy.portal.forms import PortalForm
from licenzy.portal.guards import Side
from licenzy.runtime import runtime

_ONCE = "once"
_CURRENCY = "usd"
_RECURRING = [
    SelectChoice("month", "every month"),
    SelectChoice("year", "every year"),
    SelectChoice("week", "every week"),
    SelectChoice("day", "every day"),
]
_CODE_INPUT = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"}


class NewPriceForm(PortalForm):
    """A price to create. It stands on a page with other forms, so its ids differ from theirs."""

    name = StringField(
        "Name",
        id="new_price_name",
        validators=[DataRequired("Enter a name."), Length(max=250)],
        description="What buyers see on the payment page, such as Pro.",
        render_kw={"autocomplete": "off", "maxlength": 250},
    )
    amount = StringField(
        "Amount",
        id="new_price_amount",
        validators=[InputRequired("Enter an amount.")],
        render_kw={**_CODE_INPUT, "inputmode": "decimal", "maxlength": 16},
    )
    currency = StringField(
        "Currency",
        id="new_price_currency",
        validators=[InputRequired("Enter a currency.")],
        render_kw={**_CODE_INPUT, "maxlength": 3, "list": "currencies"},
    )
    interval = SelectField("Charged", id="new_price_interval")
    price_label = StringField("Label", id="new_price_label", render_kw={**_CODE_INPUT, "maxlength": 32})
    submission_id = HiddenField(id="new_price_submission", default=lambda: secrets.token_hex(16))
    """Part of the Idempotency-Key, so that a form sent twice creates one price."""

    def of(self, product: Product | None) -> NewPriceForm:
        """The form with what fits the product, or a new one where there is none."""
        once = [SelectChoice(_ONCE, "once")]
        if product is None:
            self.interval.choices = [*_RECURRING, *once]
            del self.price_label
        else:
            self.interval.choices = _RECURRING if product.kind is Kind.SUBSCRIPTION else once
            del self.name
        return self

    def validate_currency(self, field: StringField) -> None:
        if not re.fullmatch(r"[a-z]{3}", self._currency):
            raise ValidationError("Enter a code of three letters, such as EUR.")

    def validate_amount(self, field: StringField) -> None:
        amount = parse_amount(field.data or "", self._currency)
        if amount is None:
            example = "20" if decimals(self._currency) == 0 else "20 or 20.50"
            raise ValidationError(f"Enter an amount such as {example}.")
        if amount > AMOUNT_MAX:
            raise ValidationError("Enter a smaller amount.")
        if decimals(self._currency) == 3 and amount % 10:
            # Stripe counts in thousandths there, and takes whole hundredths only.
            raise ValidationError("Enter an amount with two decimals at most, such as 20.50.")

    def validate_price_label(self, field: StringField) -> None:
        if problem := mapping_problems("new", self.label).get("price_label"):
            raise ValidationError(problem)

    def new_price(self) -> NewPrice:
        """What the form describes. Call it on a valid form only."""
        amount = parse_amount(self.amount.data or "", self._currency)
        assert amount is not None
        interval = None if self.interval.data == _ONCE else self.interval.data
        return NewPrice(amount, self._currency, interval)

    @property
    def label(self) -> str:
        """The label of the price, where the form asks for one."""
        return (self.price_label.data or "").strip()

    @property
    def _currency(self) -> str:
        return (self.currency.data or "").strip().lower()


def new_price_form(side: Side, product: Product | None = None) -> NewPriceForm | None:
    """An empty form with proposals; none where the pages create no prices."""
    with runtime().database.read() as db:
        if not creates_prices(connection_of(db, side.scope)):
            return None
    proposed: dict[str, Any] = {"currency": _CURRENCY.upper()}
    if product is not None:
        prices = product.selling_prices or product.prices
        if prices:
            proposed["currency"] = prices[0].currency.upper()
        every = _proposed_interval(product)
        taken = {price.label for price in product.selling_prices}
        proposed |= {"interval": every, "price_label": proposed_label(taken, every)}
    return NewPriceForm(formdata=None, data=proposed).of(product)


def _proposed_interval(product: Product) -> str:
    """Monthly, and yearly where that is there already."""
    if product.kind is not Kind.SUBSCRIPTION:
        return _ONCE
    there = {price.interval for price in product.selling_prices if price.interval_count == 1}
    return next((each for each in ("month", "year") if each not in there), "month")
