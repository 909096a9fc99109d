"""What people may name things: projects, keys, themselves. Pure."""

from __future__ import annotations

import re

_SPACES = re.compile(r"[^\S\x00-\x1f\x7f-\x9f\u2028\u2029]+")
"""White space within a line, without the control characters and line separators that `\\s` matches too."""


def clean_name(name: str) -> str:
    """The name as stored: without outer spaces, and with one space where several stand."""
    return _SPACES.sub(" ", name.strip())


def name_problem(name: str, *, most: int, required: bool = True) -> str | None:
    """What is wrong with a cleaned name of at most `most` characters, as a sentence; None when it is good.

    A name of invisible characters alone looks like no name, and direction marks reorder the text that stands
    around it.
    """
    if required and not name:
        return "Enter a name."
    if not name.isprintable():
        return "Remove the control characters and invisible characters."
    if len(name) > most:
        return f"Use at most {most} characters."
    return None
