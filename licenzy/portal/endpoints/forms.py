"""The forms of webhook endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from wtforms import SelectField, SelectMultipleField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length
from wtforms.widgets import CheckboxInput, ListWidget

from licenzy.deliveries.models import EventType
from licenzy.deliveries.rules import MAX_DESCRIPTION, MAX_URL
from licenzy.errors import LicenzyError
from licenzy.portal.forms import PortalForm

EVENT_TYPE_CHOICES = [SelectChoice(each.value) for each in EventType]
USUAL_TYPES = [each.value for each in EventType if each is not EventType.USAGE_CONSUMED]
"""What a new endpoint is sent: all but the one that may come many times a second."""


class EndpointForm(PortalForm):
    url = StringField(
        "Address",
        validators=[InputRequired("Enter the address of your endpoint."), Length(max=MAX_URL)],
        description="Where Licenzy sends a POST for each event.",
        render_kw={
            "autocomplete": "off",
            "inputmode": "url",
            "autocapitalize": "off",
            "spellcheck": "false",
            "maxlength": MAX_URL,
        },
    )
    description = StringField(
        "Description", validators=[Length(max=MAX_DESCRIPTION)], render_kw={"maxlength": MAX_DESCRIPTION}
    )
    types = SelectMultipleField(
        "Events",
        choices=EVENT_TYPE_CHOICES,
        default=USUAL_TYPES,
        validators=[InputRequired("Choose at least one event.")],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )

    def refuse(self, error: LicenzyError) -> None:
        """Put the refusal at the inputs it is about, as sentences."""
        subjects = {"url": "The address ", "types": ""}
        error.fields = {
            name: _sentence(subjects[name] + problem) if name in subjects else problem
            for name, problem in error.fields.items()
        }
        super().refuse(error)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


class RotationForm(PortalForm):
    overlap = SelectField(
        "Keep the current secret valid",
        default="24",
        choices=[
            SelectChoice("0", "Revoke now, if it leaked"),
            SelectChoice("1", "For 1 hour"),
            SelectChoice("24", "For 1 day"),
            SelectChoice("168", "For 1 week"),
        ],
    )

    @property
    def hours(self) -> timedelta:
        """For how long deliveries carry both signatures."""
        return timedelta(hours=int(self.overlap.data))


class ExampleForm(PortalForm):
    event_type = SelectField("Event", choices=EVENT_TYPE_CHOICES, default=EventType.ENTITLEMENT_UPDATED.value)

    def offer(self, types: Sequence[str]) -> None:
        """Narrow the choice to what the endpoint wants."""
        self.event_type.choices = [SelectChoice(each) for each in types]
