"""The form of a product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wtforms import (
    BooleanField,
    FormField,
    HiddenField,
    IntegerField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, NumberRange, Optional, StopValidation, ValidationError

from licenzy.catalog.included import IncludedUnits, lines_of
from licenzy.catalog.models import Kind, Product, TrialCard, TrialEnd
from licenzy.catalog.rules import (
    DURATION_UNITS,
    LABEL_MAX,
    Draft,
    draft_problems,
    split_duration,
    trimmed_to_kind,
)
from licenzy.catalog.unit_names import UNIT_MAX
from licenzy.portal.forms import PortalForm
from licenzy.portal.limit_text import UNLIMITED, limit_value
from licenzy.portal.products.included import IncludedRow, IncludedRows, row_values
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
_LIMITS = "Write each limit as code = number, such as projects = 10 or seats = unlimited."


def _needed_if_sold(form: ProductForm, field: SelectField) -> None:
    """A free product has no price; of all others nothing else about the price is checked without one."""
    if form.kind.data != Kind.FREE and not field.data:
        raise StopValidation("Pick a price.")


def _readable_limits(_form: ProductForm, field: TextAreaField) -> None:
    if _limits(field.data or "") is None:
        raise ValidationError(_LIMITS)


class ProductForm(PortalForm):
    price_id = SelectField("Stripe price", validators=[_needed_if_sold], validate_choice=False)
    kind = RadioField(
        "What a purchase gives",
        choices=[
            SelectChoice(Kind.SUBSCRIPTION.value, "Subscription"),
            SelectChoice(Kind.TIME_PASS.value, "Time pass"),
            SelectChoice(Kind.USAGE_PACK.value, "Usage pack"),
            SelectChoice(Kind.FREE.value, "Free"),
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
    limits = TextAreaField(
        "Limits",
        validators=[Length(max=8000), _readable_limits],
        description="One in each line, such as projects = 10 or seats = unlimited. "
        "The access check takes one as limit.",
        render_kw={"rows": 3, "autocomplete": "off", "spellcheck": "false"},
    )
    adds = BooleanField(
        "Add these limits to those of other products",
        description="For add-ons: times the quantity, on top of the largest other limit.",
    )
    is_default = BooleanField(
        "Default product",
        description="Customers without a subscription, time pass or manual grant have it. One in each mode.",
    )
    grants_access = BooleanField(
        "The default product gives access",
        description="The access check then returns true for every customer, known or not.",
    )
    grace_days = IntegerField(
        "Grace days after a failed payment",
        validators=[Optional()],
        default=0,
        description="0 ends access with the first failed renewal.",
    )
    trial_days = IntegerField("Trial days", validators=[Optional()], description="Empty for no trial.")
    trial_card = SelectField(
        "Card for the trial",
        choices=[
            SelectChoice(TrialCard.ALWAYS.value, "Always asked for"),
            SelectChoice(TrialCard.IF_REQUIRED.value, "Only if something is due today"),
        ],
        default=TrialCard.ALWAYS.value,
    )
    trial_end_without_card = SelectField(
        "If the trial ends without a card",
        choices=[
            SelectChoice(TrialEnd.CANCEL.value, "Cancel the subscription"),
            SelectChoice(TrialEnd.PAUSE.value, "Pause it until there is a card"),
        ],
        default=TrialEnd.CANCEL.value,
    )
    trial_once = BooleanField(
        "One trial per customer",
        default=True,
        description="Who had a trial pays from the first day. An operator can allow another trial.",
    )
    trial_group = StringField(
        "Trial group",
        validators=[Length(max=LABEL_MAX)],
        description="Products of one group share one trial. Empty: the trial is of this product alone.",
        render_kw={
            "autocomplete": "off",
            "autocapitalize": "off",
            "spellcheck": "false",
            "maxlength": LABEL_MAX,
        },
    )
    allow_promotion_codes = BooleanField("Let buyers enter promotion codes")
    automatic_tax = BooleanField("Let Stripe Tax add the tax")
    adjustable_quantity = BooleanField("Let buyers change the quantity")
    included = IncludedRows(FormField(IncludedRow), "Included units")
    included_act = HiddenField()
    """The button that was pressed to add or remove a row, if one was."""
    seen_price = HiddenField()
    """The picked price as it was last read, so that the sentence of the offer need not read it again."""
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

    def validate(self, extra_validators: Any = None) -> bool:
        """Check the form without rows into which nothing was typed."""
        self.included.drop_blank()
        return bool(super().validate(extra_validators))

    def field_named(self, name: str) -> Any:
        """A field of the form or of one of its rows; none where no field has this name."""
        fields = {field.name: field for row in self.included for field in row.form}
        return fields[name] if name in fields else super().field_named(name)

    def offer(self, prices: Sequence[PriceFacts], *, current: Product | None = None) -> None:
        """Fill the lists of choices, prices in Stripe's order; `current` is the product being edited."""
        choices = [SelectChoice(price.id) for price in prices]
        main = current.main_price if current is not None else None
        if main is not None and main.stripe_price_id not in {choice.value for choice in choices}:
            choices.insert(0, SelectChoice(main.stripe_price_id))
        self.price_id.choices = choices
        if current is not None and current.kind is Kind.FREE:
            self.holders.choices = [
                SelectChoice("new", "New manual grants"),
                SelectChoice(HOLDERS_NOW, "New manual grants, and all customers who have one now"),
            ]

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
        return self._draft(self.included.lines())

    def _draft(self, included: tuple[IncludedUnits, ...]) -> Draft:
        return Draft(
            product_code=(self.product_code.data or "").strip(),
            kind=Kind(self.kind.data),
            price_id=(self.price_id.data or "").strip(),
            unit=(self.unit.data or "").strip(),
            units=self.units.data,
            usage_low_units=self.usage_low_units.data,
            duration_seconds=self._duration(),
            features=_codes(self.features.data or ""),
            included=included,
            limits=_limits(self.limits.data or "") or {},
            adds=self.adds.data,
            is_default=self.is_default.data,
            grants_access=self.grants_access.data,
            grace_days=self.grace_days.data or 0,
            trial_days=self.trial_days.data,
            trial_card=TrialCard(self.trial_card.data),
            trial_end_without_card=TrialEnd(self.trial_end_without_card.data),
            trial_once=self.trial_once.data,
            trial_group=(self.trial_group.data or "").strip(),
            allow_promotion_codes=self.allow_promotion_codes.data,
            automatic_tax=self.automatic_tax.data,
            adjustable_quantity=self.adjustable_quantity.data,
        )

    def described_draft(self) -> Draft | None:
        """What the form describes so far, without rows that say too little; none where it says too little."""
        try:
            for field in self:
                if isinstance(field, SelectField):  # Radio buttons as well.
                    field.pre_validate(self)
        except ValidationError:
            return None
        draft = trimmed_to_kind(self._draft(self.included.whole_lines()))
        return None if set(draft_problems(draft, priced=False)) - {"product_code"} else draft

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
        "included": [row_values(line) for line in lines_of(product.included)],
        "limits": "\n".join(
            f"{code} = {UNLIMITED if value is None else value}"
            for code, value in sorted(product.limits.items())
        ),
        "adds": product.adds,
        "is_default": product.is_default,
        "grants_access": product.grants_access,
        "grace_days": product.grace_days,
        "trial_days": product.trial_days,
        "trial_card": product.trial_card.value,
        "trial_end_without_card": product.trial_end_without_card.value,
        "trial_once": product.trial_once,
        "trial_group": product.trial_group,
        "allow_promotion_codes": product.allow_promotion_codes,
        "automatic_tax": product.automatic_tax,
        "adjustable_quantity": product.adjustable_quantity,
    }


def _codes(text: str) -> tuple[str, ...]:
    """The codes between commas or spaces, each once, in the order given."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def _limits(text: str) -> dict[str, int | None] | None:
    """The limits between commas or line ends, by code; None where one cannot be read, or stands twice."""
    limits: dict[str, int | None] = {}
    for part in text.replace(",", "\n").splitlines():
        if not part.strip():
            continue
        code, equals, written = (each.strip() for each in part.partition("="))
        if not equals or code in limits:
            return None
        try:
            limits[code] = limit_value(written)
        except ValueError:
            return None
    return limits
