"""The form of the first purchase."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from wtforms import HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, ValidationError

from licenzy.portal.forms.portal_form import PortalForm
from licenzy.subjects.rules import ref_problem


class PurchaseForm(PortalForm):
    subject_ref = StringField(
        "Buyer",
        validators=[InputRequired("Name the buyer.")],
        description="Your own id of the user, sent as subject_ref.",
        render_kw={"maxlength": 200, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"},
    )
    product_code = SelectField("Product", validators=[InputRequired("Pick a product.")])
    once = HiddenField(default=lambda: secrets.token_hex(16))
    """Sent as Idempotency-Key, so that a form sent twice opens one Checkout Session."""

    def offer(self, product_codes: Sequence[str]) -> None:
        """Fill the list of what can be bought."""
        self.product_code.choices = [SelectChoice(code) for code in product_codes]

    def validate_subject_ref(self, field: StringField) -> None:
        problem = ref_problem(field.data or "")
        if problem is not None:
            raise ValidationError(f"The ref {problem}.")

    def validate_once(self, field: HiddenField) -> None:
        if not (field.data or "").isalnum() or len(field.data) > 64:
            raise ValidationError("Reload the page and try again.")
