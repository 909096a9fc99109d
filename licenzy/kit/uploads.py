"""Files that people upload on pages of a project: where, and how large."""

from __future__ import annotations

PREFIX, SUFFIX = "/projects/", "/uploads"
"""What the paths begin and end with that take files. All others take small forms."""
MOST_MB = 20
MOST_BYTES = (MOST_MB * 1024 + 64) * 1024
"""The file with the form around it."""
TOO_LARGE = f"The file is larger than {MOST_MB} MB. Nothing was changed. Split it into smaller files."


def takes_files(path: str) -> bool:
    """Whether a file may be sent to this path."""
    return path.startswith(PREFIX) and path.endswith(SUFFIX)
