"""The forms of webhook endpoints and of sending deliveries again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from wtforms import DateTimeLocalField, SelectField, SelectMultipleField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from licenzy.deliveries.models import DeliveryStatus, EventType, WebhookEndpoint
from licenzy.deliveries.rules import MAX_DESCRIPTION, MAX_URL
from licenzy.portal.forms.portal_form import PortalForm

_TYPES = [SelectChoice(each.value) for each in EventType]
USUAL_TYPES = [each.value for each in EventType if each is not EventType.USAGE_CONSUMED]
"""What a new endpoint is told: all but the one that may come many times a second."""


class EndpointForm(PortalForm):
    url = StringField(
        "Address",
        validators=[InputRequired("Give the address of your endpoint."), Length(max=MAX_URL)],
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
        choices=_TYPES,
        default=USUAL_TYPES,
        validators=[InputRequired("Choose at least one.")],
        widget=ListWidget(prefix_label=False),
        option_widget=CheckboxInput(),
    )


class RotationForm(PortalForm):
    overlap = SelectField(
        "The present secret signs as well",
        default="24",
        choices=[
            SelectChoice("0", "No longer: it is known to somebody else"),
            SelectChoice("1", "For another hour"),
            SelectChoice("24", "For another day"),
            SelectChoice("168", "For another week"),
        ],
    )

    @property
    def hours(self) -> timedelta:
        """For how long deliveries carry both signatures."""
        return timedelta(hours=int(self.overlap.data))


class ExampleForm(PortalForm):
    event_type = SelectField("Event", choices=_TYPES, default=EventType.ENTITLEMENT_UPDATED.value)

    def offer(self, types: Sequence[str]) -> None:
        """Narrow the choice to what the endpoint wants."""
        self.event_type.choices = [SelectChoice(each) for each in types]


class AgainForm(PortalForm):
    """Which deliveries to send again."""

    status = SelectField(
        "Those that are",
        default="",
        choices=[
            SelectChoice("", "failed or dead"),
            SelectChoice("failed", "failed: they are tried again by themselves"),
            SelectChoice("dead", "dead: they are not tried any more"),
            SelectChoice("sent", "sent: they have arrived already"),
        ],
    )
    event_type = SelectField("Event", default="", choices=[SelectChoice("", "all events"), *_TYPES])
    endpoint = SelectField("Endpoint", default="", validate_choice=False)
    since = DateTimeLocalField("Written from (UTC)", validators=[Optional()])
    until = DateTimeLocalField("Written before (UTC)", validators=[Optional()])

    def offer(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        """The endpoints to choose from."""
        listed = [SelectChoice(each.id, each.url) for each in endpoints]
        self.endpoint.choices = [SelectChoice("", "all endpoints"), *listed]

    @property
    def statuses(self) -> list[DeliveryStatus]:
        """The statuses chosen."""
        if self.status.data:
            return [DeliveryStatus(self.status.data)]
        return [DeliveryStatus.FAILED, DeliveryStatus.DEAD]

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """From when until when, in UTC."""
        since, until = self.since.data, self.until.data
        return since and since.replace(tzinfo=UTC), until and until.replace(tzinfo=UTC)
