"""`python -m tests.exactness.served [MISTAKE]`: what `licenzy web` serves, maybe with a mistake to be found.

The first process imports everything, and those that are killed are forked from it: the processor is
spent on consuming, not on importing it all for each of them.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from licenzy import api, hooks, portal  # noqa: F401 - what the processes need
from licenzy.factory import load_in_web_process, run_granian
from licenzy.hotpath import consume_sql
from licenzy.hotpath.consume import ConsumeFacts, ConsumeRequest, Writes
from licenzy.hotpath.consume_sql import Run, SqliteStatements
from licenzy.kit.stopping import StopSignal
from licenzy.settings import load_settings
from tests.support.patches import replace


def dedupe_off() -> None:
    """Keys are stored where no repeat finds them."""
    consume_sql._SQLITE_KEY = consume_sql._SQLITE_KEY.replace(
        "VALUES (?, ?, 'usage/consume', ?,", "VALUES (?, ?, 'usage/consume', ? || hex(randomblob(8)),"
    )


def read_then_write() -> None:
    """What is used is written as this process remembers it, whatever others have used since."""
    known: dict[str, int] = {}
    read, write = SqliteStatements.read, SqliteStatements.write

    def remember(
        statements: SqliteStatements, run: Run, requests: Sequence[ConsumeRequest]
    ) -> list[ConsumeFacts]:
        for pack_id, used in run("SELECT id, used_units FROM entitlements", ()):
            known.setdefault(pack_id, used)
        return read(statements, run, requests)

    def write_late(statements: SqliteStatements, run: Run, writes: Writes) -> None:
        for (_project_id, _mode, pack_id), units in writes.draws.items():
            known[pack_id] += units
            run("UPDATE entitlements SET used_units = ? WHERE id = ?", (known[pack_id], pack_id))
        write(statements, run, Writes({}, writes.window_draws, writes.ledger, writes.keys))

    replace(SqliteStatements, read=remember, write=write_late)


MISTAKES = {each.__name__: each for each in (dedupe_off, read_then_write)}


if __name__ == "__main__":
    for mistake in sys.argv[1:]:
        MISTAKES[mistake]()
    gc.freeze()
    run_granian(load_settings(), "exactness", load_in_web_process, StopSignal())
