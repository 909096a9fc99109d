"""Forms of a team: inviting somebody, and changing a role."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import EmailField, SelectField, ValidationError
from wtforms.fields.choices import SelectChoice
from wtforms.validators import InputRequired, Length

from licenzy.portal.forms import PortalForm
from licenzy.workspace.models import Role

_MEANINGS = {
    Role.VIEWER: "Viewer: sees everything except payloads",
    Role.SUPPORT: "Support: also helps customers",
    Role.ADMIN: "Admin: also changes the catalog, keys and the team",
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
        """Nobody gets a role for another word."""
        if field.data not in set(Role):
            raise ValidationError("Choose a role.")

    @property
    def chosen(self) -> Role:
        """The role that was chosen, once the form is valid."""
        return Role(self.role.data)


class RoleForm(InviteForm):
    email = None

    def validate_role(self, field: SelectField) -> None:
        """Nor is a role changed that was not named, to the one that is proposed."""
        if not field.raw_data:
            raise ValidationError("Choose a role.")
        super().validate_role(field)
