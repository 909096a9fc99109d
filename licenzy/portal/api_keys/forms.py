"""The form of a new API key."""

from __future__ import annotations

from datetime import datetime, timedelta

from wtforms import HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm


class ApiKeyForm(PortalForm):
    name = StringField(
        "Name",
        validators=[InputRequired("Enter a name for the key."), Length(max=80)],
        description="Where it is used: “backend”, “staging”.",
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )
    expires = SelectField(
        "Expires",
        default="",
        choices=[
            SelectChoice("", "Never expires"),
            SelectChoice("30", "In 30 days"),
            SelectChoice("90", "In 90 days"),
            SelectChoice("365", "In a year"),
        ],
    )
    back = HiddenField()

    def expires_at(self, now: datetime) -> datetime | None:
        """The instant chosen, if any."""
        return now + timedelta(days=int(self.expires.data)) if self.expires.data else None
