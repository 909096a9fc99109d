"""Forms of workspaces."""

from __future__ import annotations

from wtforms import HiddenField, SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from licenzy.kit.time_zones import zones_by_region
from licenzy.portal.forms import PortalForm
from licenzy.workspace.models import DateFormat

_EXAMPLES = {
    DateFormat.DAY_FIRST: "30 Nov 2026",
    DateFormat.MONTH_FIRST: "Nov 30, 2026",
    DateFormat.ISO: "2026-11-30",
}


class WorkspaceNameForm(PortalForm):
    name = StringField(
        "Name",
        description="Such as your company or your team.",
        validators=[InputRequired("Enter a name for the workspace."), Length(max=80)],
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )


class TimeDisplayForm(PortalForm):
    """In which zone and how the pages of a workspace write times."""

    time_zone = SelectField(
        "Time zone",
        choices=lambda: [
            SelectChoice(name, name.replace("_", " "), optgroup=region)
            for region, names in zones_by_region().items()
            for name in names
        ],
    )
    date_format = SelectField(
        "Date format", choices=[SelectChoice(each.value, _EXAMPLES[each]) for each in DateFormat]
    )


class SecondFactorForm(PortalForm):
    required = HiddenField()
    """`yes` or `no`."""
