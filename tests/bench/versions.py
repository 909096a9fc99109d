"""The versions of the product that are measured: the tree this file is in, and one of before, checked out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RELEASED = "bc8b982f96833e25f2077b05a1eb033a88691f8c"
"""What is measured beside this version when nobody says otherwise."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its name in the table, its code, and which commit that is."""

    name: str
    tree: Path
    commit: str

    def environ(self, **settings: str) -> dict[str, str]:
        """The environment in which Python finds this version's code, with these settings and no others."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("LICENZY_") and name != "PYTHONPATH"
        }
        return {**kept, "PYTHONPATH": str(self.tree), **settings}

    def run(
        self, arguments: Sequence[str], environ: dict[str, str], *, stdin: str = "", seconds: float = 600
    ) -> str:
        """Run Python with these arguments to its end; gives what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.tree,
            env=environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} of the {self.name} version failed:\n{done.stderr}"
        return done.stdout


def this_version() -> Version:
    """The tree that this file is in, with whatever is not committed yet."""
    return Version("new", ROOT, _git("rev-parse", "--short", "HEAD") or "(none)")


def commit_of(ref: str) -> str:
    """The short name of the commit that a ref leads to; empty when there is none, or no repository."""
    return _git("rev-parse", "--short", "--verify", "--quiet", f"{ref}^{{commit}}") if ref else ""


def check_out(commit: str, tree: Path) -> Version:
    """The version of a commit, put into a folder that is not there yet."""
    packed = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=ROOT, capture_output=True, check=True
    )
    tree.mkdir()
    subprocess.run(["tar", "-x", "-C", str(tree)], input=packed.stdout, check=True)
    return Version("old", tree, commit)


def _git(*arguments: str) -> str:
    try:
        asked = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
