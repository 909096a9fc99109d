"""The blueprint that every page of the portal hangs on."""

from __future__ import annotations

from flask import Blueprint
from werkzeug.routing import BaseConverter, ValidationError

from licenzy.alignment.modes import Mode

portal = Blueprint("portal", __name__)


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
