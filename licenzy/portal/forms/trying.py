"""The form that sends an access check with an API key."""

from __future__ import annotations

from wtforms import HiddenField, StringField
from wtforms.validators import InputRequired, Length, ValidationError

from licenzy.portal.forms.portal_form import PortalForm
from licenzy.portal.forms.secret_field import SecretField
from licenzy.subjects.rules import ref_problem


class TryForm(PortalForm):
    api_key = SecretField("API key", validators=[InputRequired("Paste the key."), Length(max=200)])
    subject_ref = StringField(
        "Customer",
        default="user_demo_1",
        validators=[InputRequired("Name somebody.")],
        render_kw={"maxlength": 200, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"},
    )
    shown = HiddenField()
    """Set where the key stands on the page anyway, so that without scripts it stays there."""

    def validate_subject_ref(self, field: StringField) -> None:
        problem = ref_problem(field.data or "")
        if problem is not None:
            raise ValidationError(f"The ref {problem}.")
