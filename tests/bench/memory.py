"""How much memory and time a process and everything it started take."""

from __future__ import annotations

import os
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
    tree = [root, *descendants(root)]
    pss = sum(_kib(pid, "smaps_rollup", "Pss") for pid in tree)
    return Memory(len(tree), pss / 1024, peak_of(tree))


def workers_of(root: int) -> list[int]:
    """The processes that answer requests: what the web server among `root` and its descendants has forked."""
    tree = [root, *descendants(root)]
    web = next(pid for pid in tree if "\0web" in _read(Path(f"/proc/{pid}/cmdline")))
    return descendants(web)


def peak_of(pids: list[int]) -> float:
    """Each one's highest mark added up, in MiB."""
    return sum(_kib(pid, "status", "VmHWM") for pid in pids) / 1024


def own_memory_of(pids: list[int]) -> float:
    """What they share with nothing, not even with a file, in MiB: where a leak would show."""
    return sum(_kib(pid, "status", "RssAnon") for pid in pids) / 1024


def cpu_seconds(root: int) -> float:
    """The processor time that `root` and its descendants have taken so far, ended ones included."""
    ticks = 0
    for pid in [root, *descendants(root)]:
        after_name = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        # Its own in user and system mode, and that of the children that it has waited for.
        ticks += sum(int(ticked) for ticked in after_name[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(root: int) -> list[int]:
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
