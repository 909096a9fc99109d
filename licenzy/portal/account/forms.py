"""Forms of my account."""

from __future__ import annotations

from wtforms import HiddenField, PasswordField, StringField
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm

_NEEDS_SCRIPTS = "Passkeys need JavaScript, which this browser does not run."


class ConfirmForm(PortalForm):
    password = PasswordField(
        "Your password",
        validators=[InputRequired("Enter your password."), Length(max=1000)],
        render_kw={"autocomplete": "current-password"},
    )
    next = HiddenField()


class AppCodeForm(PortalForm):
    code = StringField(
        "Code",
        description="The six digits that the app shows now.",
        validators=[InputRequired("Enter the code that the app shows."), Length(max=100)],
        render_kw={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"},
    )
    next = HiddenField()


class NewPasskeyForm(PortalForm):
    name = StringField(
        "Name",
        description="So that you recognize it, such as “Work laptop”.",
        validators=[InputRequired("Enter a name."), Length(max=80)],
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )
    credential = HiddenField(validators=[InputRequired(_NEEDS_SCRIPTS), Length(max=20_000)])
    next = HiddenField()


class PasswordForm(PortalForm):
    current = PasswordField(
        "Current password",
        validators=[InputRequired("Enter your current password."), Length(max=1000)],
        render_kw={"autocomplete": "current-password"},
    )
    new = PasswordField(
        "New password",
        description="At least 8 characters. Changing it ends your other sessions.",
        validators=[InputRequired("Enter a new password.")],
        render_kw={"autocomplete": "new-password"},
    )
