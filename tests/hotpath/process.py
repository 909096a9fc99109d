"""`python -m tests.hotpath.process URL KEY_HASH NAME SEED SECONDS`: a process that consumes by its committer.

Thirty callers consume at once from subjects that all processes have, under keys that they share, in random
order. What each was told is printed as a line of JSON: key, subject, units, what came of it, and how long
it took.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.factory import load_models
from licenzy.hotpath.consume import Answered, ConsumeRequest
from licenzy.hotpath.consumer import Committer, make_committer
from licenzy.idempotency.outcome import Outcome

CALLERS = 30
SUBJECTS = 12


def request(key_hash: str, name: str, *, subject: str, units: int, key: str) -> ConsumeRequest:
    """A call as the door makes it; a subject's key stands for the same call in all processes."""
    return ConsumeRequest(
        key_hash=key_hash,
        subject_ref=subject,
        units=units,
        idempotency_key=key,
        body_hash=f"{subject} {units}",
        request_id=f"req_{name}",
        now=time.time_ns() // 1000,
        render=lambda decided, mode: Outcome(200, f"{type(decided).__name__} {decided.remaining} {mode}"),
    )


async def caller(committer: Committer, key_hash: str, name: str, seed: int, until: float) -> list[Any]:
    chance, told = random.Random(f"{seed} {name}"), []
    number = 0
    while time.monotonic() < until:
        number += 1
        subject, units = f"user_{chance.randrange(SUBJECTS)}", chance.randint(1, 5)
        key = f"{subject} {units} {chance.randrange(10**6)}"
        if chance.random() < 0.3:
            key = f"{subject} {units} shared {chance.randrange(40)}"
        asked = request(key_hash, f"{name}_{number}", subject=subject, units=units, key=key)
        began = time.monotonic()
        try:
            result = await committer.submit(asked, ends_at=began + 5)
        except DatabaseUnavailable:
            came = "unavailable"
        else:
            assert isinstance(result, Answered), result
            came = result.outcome.body
        told.append([key, subject, units, came, time.monotonic() - began])
    return told


async def run(committer: Committer, key_hash: str, name: str, seed: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    work = [caller(committer, key_hash, f"{name}_{each}", seed, until) for each in range(CALLERS)]
    for told in await asyncio.gather(*work):
        for line in told:
            print(json.dumps(line))


def main() -> None:
    url, key_hash, name, seed, seconds = sys.argv[1:]
    load_models()
    database = Database(make_engine(url))
    committer = make_committer(database, prepares=True)
    asyncio.run(run(committer, key_hash, name, int(seed), float(seconds)))
    database.close()


if __name__ == "__main__":
    main()
