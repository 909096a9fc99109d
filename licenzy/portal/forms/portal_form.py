"""The form that all forms of the portal are made from."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict

from licenzy.errors import LicenzyError


class PortalForm(FlaskForm):  # type: ignore[misc]  # flask_wtf carries no types.
    """A form that can take the refusal of a verb and show it at the fields it is about."""

    def __init__(self, formdata: MultiDict[str, str] | EllipsisType | None = ..., **given: Any) -> None:
        """Takes what was sent as a form; the library by itself would also take uploads and JSON."""
        if formdata is ...:
            formdata = (request.form or None) if self.is_submitted() else None
        super().__init__(formdata=formdata, **given)

    def refuse(self, error: LicenzyError) -> None:
        """Put the error's `fields` beside their inputs; what fits none goes above the form."""
        placed = False
        for name, sentence in error.fields.items():
            if name in self._fields:
                field = self._fields[name]
                field.errors = [*field.errors, sentence]
                placed = True
        if not placed:
            self.form_errors.append(" ".join(part for part in (error.message, error.hint) if part))
