"""Forms of a project's settings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wtforms import BooleanField, StringField, TextAreaField
from wtforms.validators import InputRequired, Length, ValidationError

from licenzy.alignment.modes import Mode
from licenzy.catalog.unit_names import UNIT_MAX, unit_problem
from licenzy.checkout.rules import redirect_problem
from licenzy.portal.forms import PortalForm

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.ASCII)
_HOSTS_MAX = 50


class ProjectNameForm(PortalForm):
    name = StringField(
        "Name",
        validators=[InputRequired("Enter a name for the project."), Length(max=80)],
        render_kw={"maxlength": 80, "autocomplete": "off"},
    )


class ReturnsForm(PortalForm):
    """Where checkouts of one mode may return to."""

    success_url = StringField(
        "Success URL",
        description="Stripe sends buyers here after payment, unless the call sends its own success_url. "
        "Empty: a page of Licenzy.",
        render_kw={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"},
    )
    cancel_url = StringField(
        "Cancel URL",
        description="The payment page’s back link leads here, unless the call sends its own cancel_url. "
        "Empty: a page of Licenzy.",
        render_kw={"inputmode": "url", "autocomplete": "off", "spellcheck": "false"},
    )
    redirect_hosts = TextAreaField(
        "Hosts that calls may redirect to",
        description="One host per line, such as app.example.com. Empty allows any host.",
        render_kw={"rows": 3, "autocomplete": "off", "spellcheck": "false"},
    )

    mode: Mode

    def hosts(self) -> list[str]:
        """The hosts as stored: lower case, each once."""
        return list(dict.fromkeys((self.redirect_hosts.data or "").lower().split()))

    def validate_redirect_hosts(self, _field: TextAreaField) -> None:
        hosts = self.hosts()
        if len(hosts) > _HOSTS_MAX:
            raise ValidationError(f"At most {_HOSTS_MAX} hosts.")
        for host in hosts:
            if not _HOST.fullmatch(host):
                raise ValidationError(f"“{host[:60]}” is no host name: leave out https://, ports and paths.")

    def validate_success_url(self, field: StringField) -> None:
        _check(field, self.mode, self.hosts())

    def validate_cancel_url(self, field: StringField) -> None:
        _check(field, self.mode, self.hosts())


class DefaultUnitForm(PortalForm):
    """The unit that calls of one mode draw which name none."""

    default_unit = StringField(
        "Default unit",
        description="Such as units or images. It is fixed by the first call that names no unit.",
        render_kw={
            "autocomplete": "off",
            "autocapitalize": "off",
            "spellcheck": "false",
            "maxlength": UNIT_MAX,
        },
    )

    def validate_default_unit(self, field: StringField) -> None:
        field.data = (field.data or "").strip()
        problem = unit_problem(field.data)
        if problem is not None:
            raise ValidationError(problem)


class KnownCustomersForm(PortalForm):
    """Whether subscriptions of known customers are adopted without an operator."""

    adopt_known_customers = BooleanField("Adopt subscriptions of known customers")


def _check(field: StringField, mode: Mode, hosts: Sequence[str]) -> None:
    field.data = (field.data or "").strip()
    problem = redirect_problem(field.data, mode=mode, hosts=hosts) if field.data else None
    if problem is not None:
        raise ValidationError(f"The address {problem}.")
