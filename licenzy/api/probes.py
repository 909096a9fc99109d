"""What a load balancer asks: does the process live, and can it answer?"""

from __future__ import annotations

from sqlalchemy import text

from licenzy.api.exchange import Exchange
from licenzy.api.reply import Reply
from licenzy.errors import DatabaseUnavailable


def healthz(exchange: Exchange) -> Reply:
    """`GET /healthz`: the process answers."""
    return exchange.answer({"status": "ok"})


def readyz(exchange: Exchange) -> Reply:
    """`GET /readyz`: the database answers and its tables are those of this version, else 503."""
    # Imported here, since the migration tools weigh more than the rest of the door.
    from licenzy.db.migrate import is_current

    database = exchange.runtime.database
    with database.read() as db:
        db.execute(text("SELECT 1"))
    if not is_current(database.engine):
        raise DatabaseUnavailable("The database has not been migrated.", hint="Run `licenzy db upgrade`.")
    return exchange.answer({"status": "ready"})
