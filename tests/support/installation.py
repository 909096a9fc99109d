"""An installation in a folder of its own, and its processes as a machine runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.bench.memory import descendants
from tests.support.ports import answers, free_port_pair, wait_until

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 10


class Installation:
    """A folder of its own, and the commands that are given there."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.port = int(settings.get("LICENZY_PORT") or free_port_pair())
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
        self.environ = {
            **kept,
            "LICENZY_INSTANCE": str(folder / "instance"),
            "LICENZY_PORT": str(self.port),
            "LICENZY_WORKERS": "2",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }

    def licenzy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "licenzy", *arguments],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def starts(self, command: str) -> Running:
        """One of the commands that run until they are told to stop."""
        return Running(self, command)

    def processes(self) -> list[int]:
        """Whatever runs for this installation, whoever started it."""
        mark = f"LICENZY_INSTANCE={self.environ['LICENZY_INSTANCE']}".encode()
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue
        return alive(found)


class Running:
    """A command of an installation that runs."""

    def __init__(self, installation: Installation, command: str) -> None:
        self.installation = installation
        self._log = installation.folder / f"{command}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "licenzy", command],
                cwd=ROOT,
                env=installation.environ,
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return self._log.read_text()

    def wait_until_it_says(self, words: str) -> None:
        wait_until(
            lambda: words in self.said() or self.process.poll() is not None,
            seconds=30,
            what=f"it says {words}",
        )
        assert self.process.poll() is None, self.said()

    def wait_until_it_answers(self, port: int) -> None:
        wait_until(lambda: answers(port) or self.process.poll() is not None, seconds=30, what="it answers")
        assert self.process.poll() is None, self.said()

    def wait_until_it_hears(self, number: int) -> None:
        """Until it has a handler for this signal, or ignores it."""
        wait_until(lambda: self._hears(number), seconds=30, what="it hears signals")

    def _hears(self, number: int) -> bool:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        masks = dict(
            line.split(":\t") for line in status.splitlines() if line.startswith(("SigCgt", "SigIgn"))
        )
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())

    def children(self) -> list[int]:
        return descendants(self.process.pid)

    def ends(self) -> None:
        """Stop it, for the end of a test, whatever became of it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS + 5)
            finally:
                self.process.kill()
                self.process.wait()


class Served(Installation):
    """A running `licenzy serve`."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder, **settings)
        self._running = self.starts("serve")
        self.process = self._running.process
        self.said = self._running.said
        self.children = self._running.children

    def wait_until_ready(self) -> None:
        self._running.wait_until_it_says("Ctrl-C")


def alive(pids: list[int]) -> list[int]:
    """Those that still run; one that has ended and was not yet collected does not count."""
    running = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            running.append(pid)
    return running
