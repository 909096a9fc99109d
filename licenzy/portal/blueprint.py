"""The blueprint of the portal's pages, and inside of it that of the pages of one project and mode."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.routing import BaseConverter, ValidationError

from licenzy.alignment.modes import Mode

portal = Blueprint("portal", __name__)

project = Blueprint("project", __name__, url_prefix="/projects/<project_id>/<mode:mode>")
"""Its views get a `Side` in place of `project_id` and `mode`; see `guards.require_project_role`."""

portal.register_blueprint(project)


class ModeInPath(BaseConverter):
    """`<mode:mode>` in a rule: `test` or `live`, handed to the view as a `Mode`."""

    regex = "test|live"

    def to_python(self, value: str) -> Mode:
        try:
            return Mode(value)
        except ValueError:
            raise ValidationError from None

    def to_url(self, value: str) -> str:
        return Mode(value).value
