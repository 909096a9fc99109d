"""The form of the lab: one of its many buttons, and how the webhooks of it arrive."""

from __future__ import annotations

from wtforms import IntegerField, RadioField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import Optional

from licenzy.lab.scenarios import DELIVERIES
from licenzy.portal.forms import PortalForm


class LabForm(PortalForm):
    action = StringField()
    """A name of the lab's happenings; a change of plan names its price after a colon, and use its unit."""
    units = IntegerField(
        "Units to use",
        validators=[Optional()],
        default=10,
        render_kw={"inputmode": "numeric", "autocomplete": "off"},
    )
    delivery = RadioField(
        "How the next step’s webhooks arrive",
        choices=[SelectChoice(name, label) for name, label in DELIVERIES.items()],
        default="in_order",
    )
