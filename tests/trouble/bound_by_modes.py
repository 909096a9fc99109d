"""`python -m tests.trouble.bound_by_modes ARGUMENTS…`: Python with these, bound by the modes of files.

They do not bind root, whom tests in containers often are, until it gives its rights to pass over them up.
"""

from __future__ import annotations

import ctypes
import os
import sys

_DROP_FROM_BOUNDING_SET = 24
_PASSING_OVER = (1, 2, 3)
"""CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER: the owner's own modes bind root from now on."""


def main() -> None:
    if os.getuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in _PASSING_OVER:
            if libc.prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])


if __name__ == "__main__":
    main()
