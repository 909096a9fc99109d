"""Forms of a team: inviting somebody, and changing a role."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import EmailField, SelectField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm
from licenzy.workspace.models import Role

_MEANINGS = {
    Role.VIEWER: "Viewer: read only",
    Role.SUPPORT: "Support: also helps customers",
    Role.ADMIN: "Admin: also products, keys, team",
    Role.OWNER: "Owner: everything",
}


def _choices(roles: Sequence[Role]) -> list[SelectChoice]:
    return [SelectChoice(role.value, _MEANINGS[role]) for role in roles]


class InviteForm(PortalForm):
    email = EmailField(
        "E-mail address",
        validators=[InputRequired("Enter an e-mail address."), Length(max=254)],
        render_kw={"autocomplete": "off", "maxlength": 254},
    )
    role = SelectField("Role", default=Role.VIEWER.value)

    def offer(self, roles: Sequence[Role]) -> None:
        """Have these roles to choose from. What else is sent is refused by the verb, which knows why."""
        self.role.choices = _choices(roles)
        self.role.validate_choice = False

    @property
    def chosen(self) -> Role:
        """The role that was chosen; the lowest where it is none."""
        return Role(self.role.data) if self.role.data in set(Role) else Role.VIEWER


class RoleForm(InviteForm):
    email = None
