"""The blueprint of the portal's pages, and in it those of one workspace and of one project and mode."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.routing import BaseConverter, Map, ValidationError

from licenzy.alignment.modes import Mode
from licenzy.kit.ids import has_shape

portal = Blueprint("portal", __name__)

project = Blueprint("project", __name__, url_prefix="/projects/<id('prj'):project_id>/<mode:mode>")
"""Its views get a `Side` in place of `project_id` and `mode`; see `guards.require_project_role`."""

workspace = Blueprint("workspace", __name__, url_prefix="/workspaces/<id('wsp'):workspace_id>")
"""Its views get a `WorkspaceMember` in place of `workspace_id`; see `guards.require_workspace_role`."""

portal.register_blueprint(project)
portal.register_blueprint(workspace)


class IdInPath(BaseConverter):
    """`<id('att'):attempt_id>` in a rule: an id of ours with this prefix. No other word has an address."""

    def __init__(self, url_map: Map, prefix: str) -> None:
        super().__init__(url_map)
        self.prefix = prefix

    def to_python(self, value: str) -> str:
        if not has_shape(value, self.prefix):
            raise ValidationError
        return value


class StripeIdInPath(BaseConverter):
    """`<stripe_id:event_id>` in a rule: Stripe's, or the inbox's of a body that is no event."""

    def to_python(self, value: str) -> str:
        if not may_be_stripe_id(value):
            raise ValidationError
        return value


def may_be_stripe_id(word: str) -> bool:
    """Whether this could be an id of Stripe's."""
    return 0 < len(word) <= 255 and word.isascii() and word.isprintable()


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
