"""How much memory a process and everything it started take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """In MiB, over all processes: shared pages counted once (`pss`), and each one's highest mark added up."""

    processes: int
    pss: float
    peak: float


def memory_of(root: int) -> Memory:
    """What `root` and its descendants take now, and took at most."""
    tree = [root, *_descendants(root)]
    pss = sum(_kib(pid, "smaps_rollup", "Pss") for pid in tree)
    peak = sum(_kib(pid, "status", "VmHWM") for pid in tree)
    return Memory(len(tree), pss / 1024, peak / 1024)


def _descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (found := re.search(r"^PPid:\s+(\d+)", _read(folder / "status"), re.M)):
            parents.setdefault(int(found.group(1)), []).append(int(folder.name))
    found_pids: list[int] = []
    waiting = [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found_pids += children
        waiting += children
    return found_pids


def _kib(pid: int, file: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", _read(Path(f"/proc/{pid}/{file}")), re.MULTILINE)
    return int(found.group(1)) if found else 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # It has just ended.
        return ""
