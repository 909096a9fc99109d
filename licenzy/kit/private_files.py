"""Files and folders that nobody else on this machine may open."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(path: Path) -> None:
    """Take what others may do with a file or folder away, where it is there and ours.

    Its owner keeps what they may do. A link is left alone, and so is a folder that is made to be shared,
    such as /tmp.
    """
    with contextlib.suppress(OSError):
        found = path.lstat()
        if _is_shared(found) or stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
            return
        if found.st_mode & _OTHERS:
            path.chmod(stat.S_IMODE(found.st_mode) & ~_OTHERS)


def is_private(path: Path) -> bool:
    """Whether others may do nothing with a file or folder; so too when it is not there."""
    try:
        return not path.stat().st_mode & _OTHERS
    except OSError:
        return True


def _is_shared(found: os.stat_result) -> bool:
    return bool(found.st_mode & stat.S_ISVTX)
