"""`python -m tests.exactness.served [MISTAKE]`: what `licenzy web` serves, maybe with a mistake to be found.

The first process imports everything, and those that are killed are forked from it: the processor is
spent on consuming, not on importing it all for each of them.
"""

from __future__ import annotations

import gc
import sys

from licenzy.usage.consuming import Consumed, Order
from licenzy.usage.on_sqlite import SqliteConsumer

from licenzy import api, hooks, portal  # noqa: F401 - what the processes need
from licenzy.factory import _load_in_web_process, run_granian
from licenzy.kit.stopping import StopSignal
from licenzy.settings import load_settings
from licenzy.usage import on_sqlite


def dedupe_off() -> None:
    """Keys are stored where no repeat finds them."""
    on_sqlite._STORE = on_sqlite._STORE.replace(
        "VALUES (?, ?, ?, ?,", "VALUES (?, ?, ?, ? || hex(randomblob(8)),"
    )


def read_then_write() -> None:
    """What is used is read in one transaction and written in the next."""
    real = on_sqlite._consume
    take = on_sqlite._TAKE

    def consume(consumer: SqliteConsumer, order: Order) -> Consumed:
        read = consumer._writer.run(
            lambda connection: dict(connection.execute("SELECT id, used_units FROM entitlements"))
        )

        def write(connection: object) -> Consumed:
            class Late:
                """Writes what was right when it was read."""

                def execute(self, statement: str, values: tuple[object, ...]) -> object:
                    if statement == take:
                        units, pack_id = values
                        late = "UPDATE entitlements SET used_units = ? + ? WHERE id = ?"
                        return connection.execute(late, (read[pack_id], units, pack_id))
                    return connection.execute(statement, values)

            return real(Late(), order)  # type: ignore[arg-type]

        return consumer._writer.run(write)

    SqliteConsumer.consume = consume  # type: ignore[method-assign]


MISTAKES = {each.__name__: each for each in (dedupe_off, read_then_write)}


if __name__ == "__main__":
    for mistake in sys.argv[1:]:
        MISTAKES[mistake]()
    gc.freeze()
    run_granian(load_settings(), "exactness", _load_in_web_process, StopSignal())
