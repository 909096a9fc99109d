"""For what cannot be undone in live: the name of the thing, typed.

Beside it stands the macro `confirm_typed` of components/form.html, and `typed_word` for its `word`.
"""

from __future__ import annotations

from wtforms import StringField

from licenzy.alignment.modes import Mode
from licenzy.portal.forms.portal_form import PortalForm


class TypedForm(PortalForm):
    """A destructive act: in live it goes on only when the name of what it ends was typed."""

    typed = StringField()

    def problem(self, mode: Mode, word: str, what: str) -> str | None:
        """What to say when `word` was not typed, where `what` is “the project’s name”; none to go on."""
        if typed_word(mode, word) is None or (self.typed.data or "").strip() == word:
            return None
        return f"That is not {what}."


def typed_word(mode: Mode, word: str) -> str | None:
    """The word that must be typed in this mode; none in test, where a second click is enough."""
    return word if mode.livemode else None
