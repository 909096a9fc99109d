"""What the forms of the portal are made from: the form itself, fields for secrets, typed confirmations."""

from __future__ import annotations

from types import EllipsisType, TracebackType
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import MultiDict
from wtforms import StringField

from licenzy.alignment.modes import Mode
from licenzy.errors import LicenzyError, NotFound, RateLimited


class PortalForm(FlaskForm):  # type: ignore[misc]  # flask_wtf carries no types.
    """A form that can take the refusal of a verb and show it at the fields it is about."""

    refusal: LicenzyError | None = None
    """What the verb refused, if it did."""

    def __init__(self, formdata: MultiDict[str, str] | EllipsisType | None = ..., **values: Any) -> None:
        """Takes what was sent as a form; the library by itself would also take uploads and JSON."""
        if formdata is ...:
            formdata = (request.form or None) if self.is_submitted() else None
        super().__init__(formdata=formdata, **values)

    @property
    def http_status(self) -> int:
        """The status of the page that shows the form: 200 as it is opened; once it was sent 422, or 429."""
        if isinstance(self.refusal, RateLimited):
            return self.refusal.status
        return 422 if self.is_submitted() else 200

    def refusals(self, *, besides: type[LicenzyError] = NotFound) -> _Refusals:
        """Within it a verb is tried: what the verb refuses is put into the form, and what follows goes on.

        That the address names nothing is no matter of a form, nor is what the caller names in `besides`.
        """
        return _Refusals(self, (NotFound, besides))

    def field_named(self, name: str) -> Any:
        """The field that a verb means by this name; none where the form has none."""
        return self._fields.get(name)

    def refuse(self, error: LicenzyError) -> None:
        """Put the error's `fields` at their inputs; what fits none goes above the form."""
        self.refusal = error
        placed = False
        for name, sentence in error.fields.items():
            field = self.field_named(name)
            if field is not None:
                field.errors = [*field.errors, sentence]
                placed = True
        if not placed:
            self.form_errors.append(" ".join(part for part in (error.message, error.hint) if part))


class _Refusals:
    """The context of `PortalForm.refusals`."""

    def __init__(self, form: PortalForm, besides: tuple[type[LicenzyError], ...]) -> None:
        self._form, self._besides = form, besides

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, LicenzyError) or isinstance(error, self._besides):
            return False
        self._form.refuse(error)
        return True


class SecretField(StringField):  # type: ignore[misc]  # wtforms carries no types.
    """Shown as text while pasting, so that one sees what one pastes, and always empty when rendered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        words = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "data-1p-ignore": ""}
        kwargs["render_kw"] = {**words, **(kwargs.get("render_kw") or {})}
        super().__init__(*args, **kwargs)

    def _value(self) -> str:
        return ""


def input_attributes(field: Any, **attributes: Any) -> dict[str, Any]:
    """The attributes of a field's input: its help and its errors are what describe it.

    `hx_post` and its like are written with hyphens.
    """
    named = {
        name.replace("_", "-") if name.startswith("hx_") else name: value
        for name, value in attributes.items()
    }
    described = [f"{field.id}-help"] if field.description else []
    if field.errors:
        described.append(f"{field.id}-error")
        named["aria-invalid"] = "true"
    if described:
        named["aria-describedby"] = " ".join(described)
    return named


class TypedForm(PortalForm):
    """A destructive act: in live it goes on only when the name of what it ends was typed."""

    typed = StringField()

    def problem(self, mode: Mode, word: str, what: str) -> str | None:
        """What to say when `word` was not typed, where `what` is “the project’s name”; none to go on."""
        return None if typed_word(mode, word) is None else self.unless_typed(word, what)

    def unless_typed(self, word: str, what: str) -> str | None:
        """The same, whatever the mode."""
        return None if (self.typed.data or "").strip() == word else f"That is not {what}."


def typed_word(mode: Mode, word: str) -> str | None:
    """The word that must be typed in this mode; none in test, where a second click is enough."""
    return word if mode.livemode else None
