"""The forms of the first purchase, of a sample call, and of copying products to live."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from wtforms import BooleanField, HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, ValidationError

from licenzy.catalog.models import Kind, Product
from licenzy.portal.forms import PortalForm, SecretField
from licenzy.subjects.rules import ref_problem


class PurchaseForm(PortalForm):
    subject_ref = StringField(
        "Buyer",
        validators=[InputRequired("Name the buyer.")],
        description="Your own id of the user, sent as subject_ref.",
        render_kw={"maxlength": 200, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"},
    )
    product_code = SelectField("Product", validators=[InputRequired("Pick a product.")])
    submission_id = HiddenField(default=lambda: secrets.token_hex(16))
    """Sent as Idempotency-Key, so that a form sent twice opens one Checkout Session."""

    def offer(self, product_codes: Sequence[str]) -> None:
        """Fill the list of what can be bought."""
        self.product_code.choices = [SelectChoice(code) for code in product_codes]

    def validate_subject_ref(self, field: StringField) -> None:
        problem = ref_problem(field.data or "")
        if problem is not None:
            raise ValidationError(f"The ref {problem}.")

    def validate_submission_id(self, field: HiddenField) -> None:
        if not (field.data or "").isalnum() or len(field.data) > 64:
            raise ValidationError("Reload the page and try again.")


def copy_form(products: Sequence[Product], proposed: Mapping[str, str] | None = None) -> Any:
    """A form with one field for each selling price, by its id; `proposed` fills it, else what was sent.

    A free product has no price: its own field says whether it is copied.
    """
    fields: dict[str, Any] = {
        price.id: StringField(product.product_code, validators=[Length(max=255)])
        for product in products
        for price in product.selling_prices
    }
    fields |= {product.id: BooleanField(default=True) for product in products if product.kind is Kind.FREE}
    made: Any = type("CopyForm", (PortalForm,), fields)
    return made() if proposed is None else made(formdata=None, data=dict(proposed))


class TryForm(PortalForm):
    api_key = SecretField("API key", validators=[InputRequired("Paste the key."), Length(max=200)])
    subject_ref = StringField(
        "Customer",
        default="user_demo_1",
        validators=[InputRequired("Name somebody.")],
        render_kw={"maxlength": 200, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"},
    )
    step = HiddenField()
    """The step of the wizard that the form stands in."""
    shown = HiddenField()
    """Set where the key stands on the page anyway, so that without scripts it stays there."""

    def validate_subject_ref(self, field: StringField) -> None:
        problem = ref_problem(field.data or "")
        if problem is not None:
            raise ValidationError(f"The ref {problem}.")
