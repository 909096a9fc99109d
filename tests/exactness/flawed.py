"""`python -m tests.exactness.flawed MISTAKE`: the product with a mistake that the campaign must find."""

from __future__ import annotations

import os
import sys

from flask import Flask

from licenzy.factory import create_app, run_granian
from licenzy.settings import load_settings
from licenzy.usage import on_sqlite
from licenzy.usage.consuming import Consumed, Order
from licenzy.usage.on_sqlite import SqliteConsumer


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


def flawed_app(_target: str) -> Flask:
    """Loaded by each of the server's processes."""
    MISTAKES[os.environ["FLAW"]]()
    return create_app()


if __name__ == "__main__":
    os.environ["FLAW"] = sys.argv[1]
    run_granian(load_settings(), "flawed", flawed_app)
