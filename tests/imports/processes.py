"""`licenzy import` as a process of its own, which may be killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlmodel import col, func, select, update

from licenzy.imports import queries
from licenzy.imports.models import Import, ImportRow, ImportStep
from licenzy.settings import Settings
from tests.imports.account import Account

ROOT = Path(__file__).resolve().parents[2]
_MOST_SECONDS = 3000


@dataclass
class Command:
    """The command with its settings, and the import that it works on."""

    account: Account
    settings: Settings

    def start(self, *options: str) -> subprocess.Popen[str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LICENZY_")}
        environ |= {
            "LICENZY_INSTANCE": str(self.settings.instance),
            "LICENZY_DATABASE_URL": self.settings.database_url,
            "LICENZY_PORT": str(self.settings.port),
        }
        named = ("--project", self.account.shop.project_id, "--metadata", "user", "--json", *options)
        return subprocess.Popen(
            [sys.executable, "-m", "licenzy", "import", *named],
            cwd=ROOT,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ends(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        out, err = process.communicate(timeout=_MOST_SECONDS)
        return process.returncode, out + err

    def kill_when(self, process: subprocess.Popen[str], is_reached: Callable[[], bool]) -> bool:
        """Kill it a moment after something is so; False where it ended before."""
        deadline = time.monotonic() + _MOST_SECONDS
        while not is_reached():
            assert time.monotonic() < deadline
            if process.poll() is not None:
                return False
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        process.kill()
        process.communicate()
        return True

    def let_time_pass(self) -> None:
        """As long as a lease of a killed process lasts."""
        with self.account.shop.runtime.database.write() as db:
            db.exec(update(Import).values(leased_until=None))

    # --- how far it is ----------------------------------------------------------------------------

    def place(self) -> tuple[int, int]:
        """The step, and how many purchases are read, matched or written in it."""
        with self.account.shop.runtime.database.read() as db:
            found = queries.last_import(db, self.account.scope)
            if found is None:
                return -1, 0
            if found.step is not ImportStep.RUN:
                return list(ImportStep).index(found.step), found.seen
            written: Any = select(func.count()).where(
                ImportRow.import_id == found.id, col(ImportRow.applied_at).is_not(None)
            )
            return list(ImportStep).index(ImportStep.RUN), int(db.exec(written).one())
