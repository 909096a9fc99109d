"""A process that guesses at one account: `python -m tests.workspace.guessing URL NUMBER OF GUESSES`.

It is one of OF such processes, and makes every OF-th of the guesses, from 100 addresses in turn, spread
over an hour by the clock that it tells. It prints how many of them reached the password hash.
"""

from __future__ import annotations

import sys
from datetime import timedelta

from licenzy.db.engine import make_engine
from licenzy.db.unit_of_work import Database
from licenzy.errors import InvalidRequest
from licenzy.factory import load_models
from licenzy.workspace import actions
from licenzy.workspace.actions import Device
from licenzy.workspace.passwords import Passwords
from tests.support.clock import START


class Counting(Passwords):
    """Counts what is looked at."""

    looked_at = 0

    def matches(self, stored: str | None, password: str) -> bool:
        self.looked_at += 1
        return super().matches(stored, password)


def main(url: str, number: int, of: int, guesses: int) -> None:
    load_models()
    database, hasher = Database(make_engine(url)), Counting(cheap=True)
    for each in range(number, guesses, of):
        try:
            actions.sign_in(
                database,
                email="owner@example.com",
                password=f"guess {each}",
                device=Device(f"192.0.2.{each % 100}"),
                hasher=hasher,
                now=START + timedelta(hours=1) * each / guesses,
            )
        except (actions.TooManyTries, InvalidRequest):
            continue
        raise AssertionError("a guess was right")
    database.close()
    print(hasher.looked_at)


if __name__ == "__main__":
    main(sys.argv[1], *(int(each) for each in sys.argv[2:]))
