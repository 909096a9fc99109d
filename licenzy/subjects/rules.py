"""What a `subject_ref` may be."""

from __future__ import annotations

import re

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
        return "must not hold control characters, line separators or text direction overrides"
    if ref.isspace():
        return "must not be only spaces"
    return None


def is_plain(ref: str) -> bool:
    """Whether the ref can stand as Stripe's client_reference_id as it is."""
    return _PLAIN.fullmatch(ref) is not None
