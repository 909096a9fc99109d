"""Processes that meet what a machine may refuse them, root's as well."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_DROP_FROM_BOUNDS = 24
_PASS_OVER_RIGHTS = (1, 2)
"""PR_CAPBSET_DROP, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of Linux."""


def python(*arguments: str, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python on our code. The rights of files hold for it even when its user is root."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_give_up_rights if os.geteuid() == 0 else None,
    )


def _give_up_rights() -> None:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for right in _PASS_OVER_RIGHTS:
        if prctl(_DROP_FROM_BOUNDS, right, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot give up a right of root's")
