"""The form that sends deliveries again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from wtforms import DateTimeLocalField, SelectField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Optional

from licenzy.deliveries.models import DeliveryStatus, WebhookEndpoint
from licenzy.portal.endpoints.forms import EVENT_TYPE_CHOICES
from licenzy.portal.formatting import zone_words
from licenzy.portal.forms import PortalForm
from licenzy.portal.time_display import time_display


class ResendForm(PortalForm):
    """Which deliveries to send again."""

    status = SelectField(
        "State",
        default="",
        choices=[
            SelectChoice("", "failed, or failed permanently"),
            SelectChoice("failed", "failed (retried automatically)"),
            SelectChoice("dead", "failed permanently (not retried)"),
            SelectChoice("sent", "sent (already received)"),
        ],
    )
    event_type = SelectField(
        "Event", default="", choices=[SelectChoice("", "all events"), *EVENT_TYPE_CHOICES]
    )
    endpoint = SelectField("Endpoint", default="", validate_choice=False)
    since = DateTimeLocalField("Created from", validators=[Optional()])
    until = DateTimeLocalField("Created before", validators=[Optional()])

    def offer(self, endpoints: Sequence[WebhookEndpoint]) -> None:
        """The endpoints to choose from."""
        listed = [SelectChoice(each.id, each.url) for each in endpoints]
        self.endpoint.choices = [SelectChoice("", "all endpoints"), *listed]
        for field in (self.since, self.until):
            field.label.text = f"{field.label.text} ({zone_words()})"

    @property
    def statuses(self) -> list[DeliveryStatus]:
        """The statuses chosen."""
        if self.status.data:
            return [DeliveryStatus(self.status.data)]
        return [DeliveryStatus.FAILED, DeliveryStatus.DEAD]

    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """From when until when; entered in the zone of the page, given in UTC."""
        since, until = self.since.data, self.until.data
        entered = time_display().entered
        return entered(since) if since else None, entered(until) if until else None
