"""Forms of a team: inviting somebody, and changing a role."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import EmailField, SelectField
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length, ValidationError

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

    def validate_role(self, field: SelectField) -> None:
        """What is no role is not taken for the lowest one."""
        if field.data not in set(Role):
            raise ValidationError("Choose a role.")

    @property
    def chosen(self) -> Role:
        """The role that was chosen, once the form is valid."""
        return Role(self.role.data)


class RoleForm(InviteForm):
    email = None
    role = SelectField("Role", validators=[InputRequired("Choose a role.")])
