"""Where the temporary files of tests stand: in memory, when the machine has enough of it.

Both databases wait for the disk with each commit, as they must in service. Tests kill processes and
never cut the power, so that what is written to memory is as durable for them as what is on a disk.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED = 2 * 1024**3
"""Bytes that must be free: several times what a whole run has at any one time."""


def use_memory() -> None:
    """From now on this process and all it starts make their temporary files in memory.

    Whoever sets TMPDIR has chosen another place.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    if shutil.disk_usage(MEMORY).free >= NEEDED:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # It is remembered once it was asked for.
