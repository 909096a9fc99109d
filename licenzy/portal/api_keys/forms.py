"""The forms of API keys: a new one, its rotation, its end."""

from __future__ import annotations

from datetime import datetime, timedelta

from wtforms import DateField, HiddenField, SelectField, SelectMultipleField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from licenzy.api_keys.models import KeyScope
from licenzy.api_keys.rules import last_moment
from licenzy.portal.forms import PortalForm, TypedForm

SCOPE_MEANINGS = {
    KeyScope.RUNTIME.value: "Every call of a backend: checks, reads, checkouts and usage.",
    KeyScope.READ.value: "Only calls that change nothing: access checks, and what a customer has.",
    KeyScope.AUDIT.value: "Only the audit log.",
}
OVERLAPS = {"0": "now", "1": "in 1 hour", "24": "in 24 hours", "168": "in 7 days"}
"""By hours, when the old key of a rotation ends."""


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
    last_day = DateField(
        "Last day",
        validators=[Optional()],
        description="Instead of a period: the last day on which the key works, in UTC.",
    )
    scopes = SelectMultipleField(
        "Scopes",
        choices=[SelectChoice(scope) for scope in SCOPE_MEANINGS],
        default=[KeyScope.RUNTIME.value],
        validators=[InputRequired("Choose at least one scope.")],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )
    back = HiddenField()

    def expires_at(self, now: datetime) -> datetime | None:
        """The instant chosen, if any."""
        if self.last_day.data is not None:
            return last_moment(self.last_day.data)
        return now + timedelta(days=int(self.expires.data)) if self.expires.data else None


class KeyRotationForm(PortalForm):
    overlap = SelectField(
        "The old key ends",
        default="24",
        choices=[SelectChoice(hours, words) for hours, words in OVERLAPS.items()],
        description="Until then both keys work, so that you can replace the old one without a gap.",
    )

    @property
    def duration(self) -> timedelta:
        """How long both keys work."""
        return timedelta(hours=int(self.overlap.data))


class RevocationForm(TypedForm):
    shown_on = HiddenField()
    """`page` where it stands on the page of the key, which then shows what is wrong."""
