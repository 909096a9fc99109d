"""A served product, client processes that consume from it, and a hand that kills its workers meanwhile."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from licenzy.catalog.models import Kind
from licenzy.factory import make_runtime
from licenzy.settings import Settings
from tests.exactness import raw_rows
from tests.support.cast import make_cast, make_key, make_subject
from tests.support.purchases import make_entitlement
from tests.support.web_processes import ROOT, serving, web_processes

CLIENTS = 6
SMALL = 20
"""Subjects beside the hot one; theirs is the other half of all calls."""
_MEAN_UNITS = 5
FORKED = ("-m", "tests.exactness.served")
GROWN_SECONDS = 1.0
"""How long a worker lives before it may be killed: by then it has something to answer."""


@dataclass
class Report:
    """What a campaign did and found."""

    keys: int = 0
    calls: int = 0
    replays: int = 0
    refused: int = 0
    broken: int = 0
    kills: int = 0
    in_flight: int = 0
    """Kills that at least one client noticed: its call was on its way and its connection broke."""
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


def run(
    settings: Settings, folder: Path, *, keys: int, kills: int, command: Sequence[str] = FORKED
) -> Report:
    """Have `keys` calls made, each at least twice, while at least `kills` workers are killed."""
    token, subjects = _open_accounts(settings, keys)
    began = time.monotonic()
    with serving(settings, command, LICENZY_WORKERS="4") as server:
        clients = [
            _client(settings, folder / f"client{number}.jsonl", token, subjects, number, -(-keys // CLIENTS))
            for number in range(CLIENTS)
        ]
        killed = _kill_meanwhile(server, clients, kills, folder / "enough")
        statuses = [client.wait() for client in clients]
    assert statuses == [0] * CLIENTS
    heard = [
        line
        for number in range(CLIENTS)
        for line in raw_rows.lines((folder / f"client{number}.jsonl").read_text())
    ]
    broken = sorted(each["at"] for each in heard if "broken" in each)
    return Report(
        keys=len({each["key"] for each in heard}),
        calls=sum("status" in each for each in heard),
        replays=sum(bool(each.get("replayed")) for each in heard),
        refused=sum(each.get("status") == 409 for each in heard),
        broken=len(broken),
        kills=len(killed),
        in_flight=sum(any(0 <= at - moment < 0.5 for at in broken) for moment in killed),
        seconds=round(time.monotonic() - began, 1),
        wrong=raw_rows.problems(settings.database_url, heard),
    )


def _open_accounts(settings: Settings, keys: int) -> tuple[str, list[str]]:
    """The hot subject can pay for all that is asked of it, the small ones for most; each has three packs."""
    runtime = make_runtime(settings)
    now = runtime.clock()
    subjects = ["hot", *(f"small_{number}" for number in range(SMALL))]
    with runtime.database.write() as db:
        project_id = make_cast(db, now=now).project_id
        _key, token = make_key(db, project_id=project_id, now=now)
        for ref in subjects:
            subject = make_subject(db, project_id=project_id, subject_ref=ref, now=now)
            due = keys * _MEAN_UNITS // 2
            units = due * 2 if ref == "hot" else due * 8 // 10 // SMALL
            for _ in range(3):
                make_entitlement(
                    db,
                    subject=subject,
                    kind=Kind.USAGE_PACK,
                    starts_at=now,
                    ends_at=None,
                    granted_units=units // 3,
                )
    runtime.database.close()
    return token, subjects


def _client(
    settings: Settings, log: Path, token: str, subjects: list[str], number: int, count: int
) -> subprocess.Popen[bytes]:
    arguments = {
        "port": settings.port,
        "token": token,
        "name": f"client{number}",
        "seed": "7",
        "count": count,
        "subjects": ",".join(subjects),
        "log": log,
        "until": log.with_name("enough"),
    }
    command = [sys.executable, "-m", "tests.exactness.client"]
    command += [f"--{name}={value}" for name, value in arguments.items()]
    return subprocess.Popen(command, cwd=ROOT)


def _kill_meanwhile(
    server: subprocess.Popen[bytes], clients: Sequence[subprocess.Popen[bytes]], kills: int, enough: Path
) -> list[float]:
    """Kill so many workers, one now and then, and let the clients end after that; when each was killed."""
    chance, killed = random.Random(7), list[float]()
    seen: dict[int, float] = {}
    while any(client.poll() is None for client in clients):
        time.sleep(chance.uniform(0.1, 0.5))
        now = time.monotonic()
        seen = {pid: seen.get(pid, now) for pid in web_processes(server.pid)}
        # Granian gives up when one dies that was the last to be started, and was so less than 5.5 s ago.
        old = sorted(seen, key=lambda pid: seen[pid])[:-1]
        grown = [pid for pid in old if now - seen[pid] > GROWN_SECONDS]
        if len(killed) < kills and grown:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(grown), signal.SIGKILL)
                killed.append(time.monotonic())
        elif len(killed) >= kills:
            enough.touch()
    return killed
