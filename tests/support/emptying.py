"""Postgres databases that tests use one after another: emptied, which is quicker than cloned anew."""

from __future__ import annotations

from typing import Any

import psycopg

BLOAT = 2 * 1024**2
"""How many bytes of deleted rows make a database slower than a new one would be."""

_DESCRIBING = (
    "alembic_version",
    "pg_attrdef",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_index",
    "pg_proc",
    "pg_trigger",
    "schema_compatibility",
)
"""Tables whose rows say what a database is; each row bears the number of the transaction that wrote it."""

_SCHEMA = " UNION ALL ".join(
    f"SELECT '{table}', count(*), max(xmin::text::bigint) FROM {table}" for table in _DESCRIBING
).encode()

_SIZE = b"""
    SELECT sum(pg_relation_size(oid)) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
"""

# Tables that never had a row have no bytes. Without triggers their order is of no importance.
_EMPTY = b"""
    DO $$ DECLARE written regclass; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR written IN
            SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            AND relname NOT IN ('alembic_version', 'schema_compatibility') AND pg_relation_size(oid) > 0
        LOOP
            EXECUTE format('DELETE FROM %s', written);
        END LOOP;
        PERFORM setval(seqrelid, seqstart, false) FROM pg_sequence;
    END $$
"""


def schema_of(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """What a database is but for its rows: equal for two clones that no statement of a test has changed."""
    return connection.execute(_SCHEMA).fetchall()


def empty(connection: psycopg.Connection[Any], *, schema: list[tuple[Any, ...]]) -> bool:
    """Take all rows away; false when the database cannot be used again, for its schema or its size."""
    if schema_of(connection) != schema:
        return False
    ((size,),) = connection.execute(_SIZE).fetchall()
    if size > BLOAT:
        return False
    take_rows_away(connection)
    return True


def take_rows_away(connection: psycopg.Connection[Any]) -> None:
    """Leave nothing but the schema."""
    connection.execute(_EMPTY)
