"""Forms of imports: what to read, by what to match, and the files that people give."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict
from wtforms import BooleanField, DateField, FileField, StringField
from wtforms.validators import Optional, ValidationError

from licenzy.errors import LicenzyError
from licenzy.kit.uploads import MOST_MB
from licenzy.portal.formatting import zone_words
from licenzy.portal.forms import PortalForm
from licenzy.portal.time_display import time_display

_MOST_NAME = 200
_FILE = {"accept": ".csv,text/csv", "data-most-megabytes": str(MOST_MB)}
_EARLIEST = datetime(2011, 1, 1, tzinfo=UTC).date()
"""Stripe has nothing older."""


class KeysForm(PortalForm):
    """By which metadata keys purchases are matched."""

    metadata_keys = StringField(
        "Metadata keys",
        description="Keys on subscriptions or Stripe customers whose value is your customer’s ID, such as "
        "user_id. Separate several with commas. The first that has a value counts.",
        render_kw={"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false"},
    )

    @property
    def keys(self) -> list[str]:
        return [key for key in re.split(r"[,\s]+", self.metadata_keys.data or "") if key]


class ImportForm(KeysForm):
    """What an import reads, and by what it matches."""

    map_file = FileField(
        "CSV file", description=f"Says whose purchases are. At most {MOST_MB} MB.", render_kw=_FILE
    )
    with_ended = BooleanField("Ended subscriptions")
    payments_since = DateField("One-time payments since", validators=[Optional()])
    announced = BooleanField("Send entitlement.updated with reason imported")

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        self.payments_since.description = (
            f"From the start of that day in {zone_words()}. Leave it empty to import none."
        )

    def validate_payments_since(self, field: Any) -> None:
        if field.data is not None and field.data < _EARLIEST:
            raise ValidationError(f"Choose a day from {_EARLIEST.isoformat()} on.")

    @property
    def since(self) -> datetime | None:
        day = self.payments_since.data
        return time_display().entered(datetime.combine(day, time())) if day is not None else None

    def refuse(self, error: LicenzyError) -> None:
        """What is said of the file stands at the file."""
        if not error.fields and "CSV" in error.message and _chosen("map_file"):
            error.fields = {"map_file": " ".join(part for part in (error.message, error.hint) if part)}
        super().refuse(error)


class UploadForm(PortalForm):
    """A file for an import that is open."""

    file = FileField("CSV file", render_kw={**_FILE, "required": ""})

    def __init__(self, formdata: MultiDict[str, str] | None = None, *, suffix: str) -> None:
        super().__init__(formdata=formdata)
        self.file.id = self.file.label.field_id = f"file-{suffix}"

    def refuse(self, error: LicenzyError) -> None:
        """All that can be wrong is the file."""
        error.fields = {"file": " ".join(part for part in (error.message, error.hint) if part)}
        super().refuse(error)


def uploaded(field: str) -> tuple[str, bytes] | None:
    """Name and content of an uploaded file; None where none was chosen."""
    if not _chosen(field):
        return None
    file = request.files[field]
    name = "".join(char for char in file.filename or "" if char.isprintable())[:_MOST_NAME]
    content = file.read()
    file.close()
    return name or "file.csv", content


def _chosen(field: str) -> bool:
    return bool((file := request.files.get(field)) and file.filename)
