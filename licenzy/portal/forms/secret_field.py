"""A text field for secrets: what was sent is never sent back."""

from __future__ import annotations

from typing import Any

from wtforms import StringField


class SecretField(StringField):  # type: ignore[misc]  # wtforms carries no types.
    """Shown as text while pasting, so that one sees what one pastes, and always empty when rendered."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        words = {"autocomplete": "off", "autocapitalize": "off", "spellcheck": "false", "data-1p-ignore": ""}
        kwargs["render_kw"] = {**words, **(kwargs.get("render_kw") or {})}
        super().__init__(*args, **kwargs)

    def _value(self) -> str:
        return ""
