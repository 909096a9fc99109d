"""Forms of the list of projects."""

from __future__ import annotations

from wtforms import StringField
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm


class NewProjectForm(PortalForm):
    name = StringField(
        "Name",
        description="What you sell with it: an app, a website, a team's product. You can change it later.",
        validators=[InputRequired("Give the project a name."), Length(max=80)],
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )
