"""What a `subject_ref` may be, and which spellings of it a search treats as equal."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 200  # Stripe's cap for client_reference_id.

# C0 and C1 controls, surrogates, line and paragraph separators, bidi overrides and isolates.
_NEVER = r"\u0000-\u001f\u007f-\u009f\ud800-\udfff\u2028\u2029\u202a-\u202e\u2066-\u2069"
_SPACES = r"\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_FORBIDDEN = re.compile(f"[{_NEVER}]")
REF_PATTERN = f"^[^{_NEVER}]*[^{_NEVER}{_SPACES}][^{_NEVER}]*$"
"""The same as a regular expression of JSON Schema, beside the length."""
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def ref_problem(ref: str) -> str | None:
    """What is wrong with a ref, as the sentence a caller is shown; None when it is good."""
    if not 1 <= len(ref) <= MAX_LENGTH:
        return f"must have 1 to {MAX_LENGTH} characters"
    if _FORBIDDEN.search(ref):
        return "must not contain control characters, line separators or text direction overrides"
    if ref.isspace():
        return "must not be only spaces"
    return None


def is_plain(ref: str) -> bool:
    """Whether the ref can stand as Stripe's client_reference_id as it is."""
    return _PLAIN.fullmatch(ref) is not None


def folded(text: str) -> str:
    """The text as searches compare it: without case, accents, widths, ligatures and invisible characters.

    `MÜLLER`, `Müller` and `muller` fold to the same text; so do `ß` and `ss`. What a letter is made of stays:
    `ø` does not become `o`. Folding twice changes nothing more.
    """
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    # Casefolding can bring composed characters and marks back, so the text is decomposed once more.
    return "".join(each for each in unicodedata.normalize("NFKD", decomposed) if not _is_ignored(each))


def search_text(subject_ref: str, email: str | None) -> str:
    """What a subject's row stores for searches: its ref and its e-mail address, folded, a line each.

    Neither a ref nor a valid search holds a line feed, so that no search matches across the two.
    """
    return f"{folded(subject_ref)}\n{folded(email or '')}"


def _is_ignored(character: str) -> bool:
    """Combining marks, invisible format characters (zero-width, direction) and variation selectors."""
    return (
        unicodedata.combining(character) > 0
        or unicodedata.category(character) == "Cf"
        or "\ufe00" <= character <= "\ufe0f"
    )
