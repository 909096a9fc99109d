"""Forms of the list of projects."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import SelectField, StringField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm
from licenzy.workspace.models import Workspace


class NewProjectForm(PortalForm):
    name = StringField(
        "Name",
        description="What you sell with it: an app, a website, a team's product. You can change it later.",
        validators=[InputRequired("Enter a name for the project."), Length(max=80)],
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )
    workspace = SelectField("Workspace")

    def offer(self, workspaces: Sequence[Workspace]) -> None:
        """Let one of these be chosen; the first one where none was named."""
        self.workspace.choices = [SelectChoice(each.id, each.name) for each in workspaces]
        if not self.workspace.raw_data and self.workspace.data not in {each.id for each in workspaces}:
            self.workspace.data = workspaces[0].id
