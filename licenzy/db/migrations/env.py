"""Alembic's environment: one connection handed over by licenzy.db.migrate, inside its transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlmodel.sql.sqltypes import AutoString

import licenzy.db.schema  # noqa: F401 - its tables are compared as well
from licenzy.db.columns import Instant, Word
from licenzy.db.tables import metadata


def in_plain_types(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write column types as SQLAlchemy's own: a migration must not change when our classes do."""
    if kind != "type":
        return False
    if isinstance(item, Instant):
        return "sa.BigInteger()"
    if isinstance(item, Word):
        return f"sa.String({item.length})"
    if isinstance(item, AutoString):
        return f"sa.String({item.length or ''})"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    render_item=in_plain_types,
    compare_type=True,
    # SQLite can roll back schema changes as well, because the engine opens its transactions itself.
    transactional_ddl=True,
)
context.run_migrations()
