"""The form of a product."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import BooleanField, HiddenField, IntegerField, RadioField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import DURATION_UNITS, UNIT_MAX, Draft, split_duration
from licenzy.portal.forms import PortalForm
from licenzy.projects.models import DEFAULT_UNIT
from licenzy.stripe_gateway.client import PriceFacts

DURATION_CHOICES = [
    SelectChoice("minutes"),
    SelectChoice("hours"),
    SelectChoice("days"),
    SelectChoice("weeks"),
    SelectChoice("months", "months of 30 days"),
    SelectChoice("years", "years of 365 days"),
]
_AMOUNT_MAX = 1_000_000_000
HOLDERS_NOW = "now"
"""The choice that gives changed terms to those who have the product already."""


class ProductForm(PortalForm):
    price_id = SelectField("Stripe price", validators=[InputRequired("Pick a price.")], validate_choice=False)
    kind = RadioField(
        "What a purchase gives",
        choices=[
            SelectChoice(Kind.SUBSCRIPTION.value, "Subscription"),
            SelectChoice(Kind.TIME_PASS.value, "Time pass"),
            SelectChoice(Kind.USAGE_PACK.value, "Usage pack"),
        ],
        validators=[InputRequired("Choose what a purchase gives.")],
    )
    product_code = StringField(
        "Product code",
        description="The name your backend sends, such as PRO_MONTHLY. It cannot be changed later.",
        render_kw={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "maxlength": 64},
    )
    unit = StringField(
        "Unit",
        default=DEFAULT_UNIT,
        description="What a pack consists of, such as images. Packs of one unit share a balance. It is fixed "
        "as soon as a customer has the product.",
        render_kw={
            "autocomplete": "off",
            "autocapitalize": "off",
            "spellcheck": "false",
            "maxlength": UNIT_MAX,
        },
    )
    units = IntegerField(
        "Units in one pack", validators=[Optional()], description="How many units one purchase grants."
    )
    usage_low_units = IntegerField(
        "Notify when this many are left",
        validators=[Optional()],
        description="Endpoints get usage.low when a customer’s units of this product fall to this number.",
    )
    duration = IntegerField(
        "Lasts",
        validators=[Optional(), NumberRange(min=1, max=_AMOUNT_MAX, message="A whole number from 1.")],
    )
    duration_unit = SelectField("Unit", choices=DURATION_CHOICES, default="days")
    features = StringField(
        "Feature codes",
        validators=[Length(max=4000)],
        description="Separated by commas, such as export, api. The access check takes one as feature.",
        render_kw={"autocomplete": "off", "spellcheck": "false"},
    )
    grace_days = IntegerField(
        "Grace days after a failed payment",
        validators=[Optional()],
        default=0,
        description="0 ends access with the first failed renewal.",
    )
    trial_days = IntegerField("Trial days", validators=[Optional()], description="Empty for no trial.")
    allow_promotion_codes = BooleanField("Let buyers enter promotion codes")
    automatic_tax = BooleanField("Let Stripe Tax add the tax")
    adjustable_quantity = BooleanField("Let buyers change the quantity")
    holders = RadioField(
        "Who gets a change of terms",
        choices=[
            SelectChoice("new", "New purchases"),
            SelectChoice(HOLDERS_NOW, "New purchases, and all customers who have the product now"),
        ],
        default="new",
        validate_choice=False,
    )
    confirmed = HiddenField()
    back = HiddenField()

    def offer(self, prices: Sequence[PriceFacts], *, current: Product | None = None) -> None:
        """Fill the list of prices, in the order of Stripe's; `current` is the product being edited."""
        choices = [SelectChoice(price.id) for price in prices]
        main = current.main_price if current is not None else None
        if main is not None and main.stripe_price_id not in {choice.value for choice in choices}:
            choices.insert(0, SelectChoice(main.stripe_price_id))
        self.price_id.choices = choices

    def edit(self, product: Product) -> None:
        """Take what never changes from the product, and no price where it has no main one."""
        self.kind.data, self.product_code.data = product.kind.value, product.product_code
        if product.main_price is None:
            self.price_id.data, self.price_id.validators = "", []

    @property
    def only_picked(self) -> bool:
        """Whether a price was picked and nothing said about what it gives and how it is called."""
        return bool(self.price_id.data) and not self.kind.data and not (self.product_code.data or "").strip()

    @property
    def is_for_holders(self) -> bool:
        """Whether those who have the product are to get its terms too."""
        return bool(self.holders.data == HOLDERS_NOW)

    def draft(self) -> Draft:
        """What the form describes. Call it on a valid form only."""
        return Draft(
            product_code=(self.product_code.data or "").strip(),
            kind=Kind(self.kind.data),
            price_id=(self.price_id.data or "").strip(),
            unit=(self.unit.data or "").strip(),
            units=self.units.data,
            usage_low_units=self.usage_low_units.data,
            duration_seconds=self._duration(),
            features=_codes(self.features.data or ""),
            grace_days=self.grace_days.data or 0,
            trial_days=self.trial_days.data,
            allow_promotion_codes=self.allow_promotion_codes.data,
            automatic_tax=self.automatic_tax.data,
            adjustable_quantity=self.adjustable_quantity.data,
        )

    def _duration(self) -> int | None:
        amount: int | None = self.duration.data
        return None if amount is None else amount * DURATION_UNITS[self.duration_unit.data]


class PriceForm(PortalForm):
    """Another price of a product. It stands on the page of the product's own form, so its ids differ."""

    price_id = SelectField(
        "Stripe price",
        validators=[InputRequired("Pick a price.")],
        choices=[],
        validate_choice=False,
        id="added_price_id",
    )
    price_label = StringField(
        "Label",
        validators=[InputRequired("Enter a label.")],
        description="What a checkout names the price by, such as month or year. The price that has this "
        "label now is retired: it is no longer sold, and its holders keep the product.",
        render_kw={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "maxlength": 32},
    )


class LabelForm(PortalForm):
    """The label of a price."""

    price_label = StringField("Label")


def described(product: Product) -> dict[str, object]:
    """A product as the form's values."""
    amount, unit = split_duration(product.duration_seconds) if product.duration_seconds else (None, "days")
    return {
        "price_id": product.main_price.stripe_price_id if product.main_price is not None else "",
        "kind": product.kind.value,
        "product_code": product.product_code,
        "unit": product.unit,
        "units": product.units,
        "usage_low_units": product.usage_low_units,
        "duration": amount,
        "duration_unit": unit,
        "features": ", ".join(product.features),
        "grace_days": product.grace_days,
        "trial_days": product.trial_days,
        "allow_promotion_codes": product.allow_promotion_codes,
        "automatic_tax": product.automatic_tax,
        "adjustable_quantity": product.adjustable_quantity,
    }


def _codes(text: str) -> tuple[str, ...]:
    """The codes between commas or spaces, each once, in the order given."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))
