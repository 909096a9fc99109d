"""Forms of what operators do manually to what a customer owns."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta

from wtforms import HiddenField, IntegerField, SelectField, StringField, TextAreaField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, NumberRange, Optional, ValidationError

from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import CODE_MAX, DURATION_MAX_SECONDS, DURATION_UNITS
from licenzy.catalog.unit_names import UNITS_MAX
from licenzy.entitlements.grants import MAX_NOTE
from licenzy.entitlements.models import Entitlement
from licenzy.entitlements.overrides import Override
from licenzy.entitlements.windows import included_of
from licenzy.errors import LicenzyError
from licenzy.portal.forms import PortalForm
from licenzy.portal.limit_text import limit_value
from licenzy.portal.products.forms import DURATION_CHOICES
from licenzy.subjects.rules import ref_problem

_AMOUNT_MAX = 1_000_000
_FIELD_OF_ARGUMENT = {"until": "amount", "seconds": "amount"}
"""Where the form asks for what a verb calls otherwise."""


class OperatorForm(PortalForm):
    """What every manual act asks for: why, and in live the customer's ref where something is taken."""

    note = TextAreaField(
        "Reason",
        validators=[
            DataRequired("Give a reason. It is kept with your name."),
            Length(max=MAX_NOTE, message=f"At most {MAX_NOTE} characters."),
        ],
        render_kw={"rows": 2, "maxlength": MAX_NOTE},
    )
    typed = StringField(render_kw={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"})
    submission_id = HiddenField(default=lambda: secrets.token_hex(16))
    """Names the act, so that a form sent twice is done once."""

    required_word: str | None = None
    """What must be typed before something is taken away; none where nothing need be."""

    def set_ids(self, suffix: str, *, required_word: str | None) -> None:
        """Give the inputs ids of their own, since several of these forms stand on one page."""
        self.required_word = required_word
        for field in self:
            field.id = f"{field.name}-{suffix}"
            field.label.field_id = field.id

    def fill_choices(self, entitlement: Entitlement) -> None:
        """Offer what of the entitlement can be chosen; most acts leave no choice."""

    def takes_away(self) -> bool:
        """Whether what the form asks for takes something from the customer."""
        return False

    def refuse(self, error: LicenzyError) -> None:
        """Put the refusal at the inputs it is about, as sentences."""
        error.fields = {
            _FIELD_OF_ARGUMENT.get(name, name): f"{sentence[:1].upper()}{sentence[1:]}."
            for name, sentence in error.fields.items()
        }
        super().refuse(error)

    def validate_submission_id(self, field: HiddenField) -> None:
        if not (field.data or "").isalnum() or not field.data.isascii() or len(field.data) > 64:
            raise ValidationError("Reload the page and try again.")

    def validate_typed(self, field: StringField) -> None:
        if (
            self.required_word
            and self.takes_away()
            and (field.data or "").strip() != self.required_word.strip()
        ):
            raise ValidationError("This does not match the customer’s subject_ref.")


class ErasureForm(PortalForm):
    """Erases a customer, whose ref must be typed in both modes: it cannot be undone."""

    typed = StringField(
        "subject_ref",
        validators=[InputRequired("Enter the customer’s subject_ref.")],
        render_kw={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"},
    )

    def __init__(self, subject_ref: str) -> None:
        super().__init__()
        self.subject_ref = subject_ref

    def validate_typed(self, field: StringField) -> None:
        if (field.data or "").strip() != self.subject_ref.strip():
            raise ValidationError("This does not match the customer’s subject_ref.")


class TrialForm(OperatorForm):
    """Allows a customer one more trial."""


class RevokeForm(OperatorForm):
    def takes_away(self) -> bool:
        return True


class LiftForm(OperatorForm):
    pass


class AdjustForm(OperatorForm):
    direction = SelectField(
        "Change", choices=[SelectChoice("add", "Add units"), SelectChoice("take", "Remove units")]
    )
    units = IntegerField(
        "Units",
        validators=[
            InputRequired("Enter the number of units."),
            NumberRange(1, UNITS_MAX, message=f"A whole number from 1 to {UNITS_MAX:,}."),
        ],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )

    def takes_away(self) -> bool:
        return bool(self.direction.data == "take")

    @property
    def change(self) -> int:
        """The units with their sign. Call it on a valid form only."""
        units: int = self.units.data
        return -units if self.takes_away() else units


class AdjustIncludedForm(AdjustForm):
    unit = SelectField("Unit", validators=[InputRequired("Choose a unit.")], choices=[])

    def fill_choices(self, entitlement: Entitlement) -> None:
        units = [each.unit for each in included_of(entitlement.included)]
        self.unit.choices = [SelectChoice(unit) for unit in units]
        if not self.is_submitted() and units:
            self.unit.data = units[0]


def _check_length(form: ExtendForm | GrantForm | OverrideForm, field: IntegerField) -> None:
    unit = DURATION_UNITS.get(form.amount_unit.data, 0)  # Another word is refused at its own field.
    if field.data is not None and field.data * unit > DURATION_MAX_SECONDS:
        raise ValidationError("At most 100 years.")


class ExtendForm(OperatorForm):
    amount = IntegerField(
        "Extend by",
        validators=[
            InputRequired("Enter a length."),
            NumberRange(1, _AMOUNT_MAX, message=f"A whole number from 1 to {_AMOUNT_MAX:,}."),
            _check_length,
        ],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    amount_unit = SelectField("Unit", choices=DURATION_CHOICES, default="days")

    @property
    def seconds(self) -> int:
        """The length asked for. Call it on a valid form only."""
        return int(self.amount.data) * DURATION_UNITS[self.amount_unit.data]


class CustomerForm(OperatorForm):
    """An act that names its customer, known or new."""

    subject_ref = StringField(
        "Customer",
        validators=[InputRequired("Enter the customer’s subject_ref.")],
        description="Your own id of the user, as your backend sends it. A new one creates the customer.",
        render_kw={"maxlength": 200, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"},
    )

    def validate_subject_ref(self, field: StringField) -> None:
        problem = ref_problem(field.data or "")
        if problem is not None:
            raise ValidationError(f"The subject_ref {problem}.")


class GrantForm(CustomerForm):
    product_code = SelectField("Product", validators=[InputRequired("Choose a product.")])
    units = IntegerField(
        "Units",
        validators=[
            Optional(),
            NumberRange(1, UNITS_MAX, message=f"A whole number from 1 to {UNITS_MAX:,}."),
        ],
        description="Empty: the units of one pack.",
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    amount = IntegerField(
        "Lasts",
        validators=[
            Optional(),
            NumberRange(1, _AMOUNT_MAX, message=f"A whole number from 1 to {_AMOUNT_MAX:,}."),
            _check_length,
        ],
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    amount_unit = SelectField("Unit", choices=DURATION_CHOICES, default="days")

    products: Sequence[Product] = ()

    def offer(self, products: Sequence[Product]) -> None:
        """Fill the list of what can be granted."""
        self.products = products
        self.product_code.choices = [SelectChoice(product.product_code) for product in products]

    @property
    def product(self) -> Product | None:
        """The product picked."""
        return next((each for each in self.products if each.product_code == self.product_code.data), None)

    @property
    def seconds(self) -> int | None:
        """How long it lasts; a pass without a length as long as one pass, all else for good."""
        if self.amount.data is not None:
            return int(self.amount.data) * DURATION_UNITS[self.amount_unit.data]
        product = self.product
        return product.duration_seconds if product is not None and product.kind is Kind.TIME_PASS else None


class OverrideForm(OperatorForm):
    """A feature or a limit to set for one customer."""

    what = SelectField(
        "Set", choices=[SelectChoice("limit", "A limit"), SelectChoice("feature", "A feature")]
    )
    code = StringField(
        "Code",
        validators=[InputRequired("Enter the code of a feature or limit.")],
        description="As products have it, such as projects.",
        render_kw={
            "maxlength": CODE_MAX,
            "autocomplete": "off",
            "spellcheck": "false",
            "autocapitalize": "off",
        },
    )
    value = StringField(
        "Limit",
        description="A whole number, or unlimited. It counts instead of what the customer’s products give.",
        render_kw={"maxlength": 20, "autocomplete": "off"},
    )
    amount = IntegerField(
        "Lasts",
        validators=[
            Optional(),
            NumberRange(1, _AMOUNT_MAX, message=f"A whole number from 1 to {_AMOUNT_MAX:,}."),
            _check_length,
        ],
        description="Empty: until someone takes it away.",
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    amount_unit = SelectField("Unit", choices=DURATION_CHOICES, default="days")

    def validate_value(self, field: StringField) -> None:
        if self.what.data == "limit":
            try:
                limit_value(field.data or "")
            except ValueError:
                raise ValidationError("Enter a whole number, or unlimited.") from None

    @property
    def override(self) -> Override:
        """What is asked for. Call it on a valid form only."""
        code = (self.code.data or "").strip()
        if self.what.data == "feature":
            return Override(feature=code)
        return Override(limit=code, value=limit_value(self.value.data or ""))

    @property
    def lasts(self) -> timedelta | None:
        """How long it is set for; none is for good."""
        if self.amount.data is None:
            return None
        return timedelta(seconds=int(self.amount.data) * DURATION_UNITS[self.amount_unit.data])


class RemoveOverrideForm(OperatorForm):
    def takes_away(self) -> bool:
        return True
