"""The form that sends deliveries again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from wtforms import DateTimeLocalField, SelectField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Optional

from licenzy.deliveries.models import DeliveryStatus, WebhookEndpoint
from licenzy.portal.endpoints.forms import EVENT_TYPE_CHOICES
from licenzy.portal.forms import PortalForm


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
    since = DateTimeLocalField("Created from (UTC)", validators=[Optional()])
    until = DateTimeLocalField("Created before (UTC)", validators=[Optional()])

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
