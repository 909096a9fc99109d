"""The migrations lead to exactly the tables that the models describe, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from licenzy.db import migrate
from licenzy.db.engine import WRITES, make_engine
from licenzy.db.tables import metadata
from licenzy.db.unit_of_work import Database
from licenzy.errors import DatabaseUnavailable
from licenzy.factory import load_models


@pytest.fixture(params=["sqlite", "postgres"])
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    if request.param == "sqlite":
        engine = make_engine(f"sqlite:///{tmp_path / 'empty.sqlite3'}", creates=True)
        yield engine
        engine.dispose()
        return
    server = request.getfixturevalue("postgres")
    name = server.empty()
    engine = make_engine(server.url(name))
    yield engine
    engine.dispose()
    server.drop(name)


def test_migrations_equal_the_metadata(database: Database) -> None:
    load_models()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, metadata)
    assert differences == [], "run `make migration`"


def test_upgrading_twice_changes_nothing(empty_engine: Engine) -> None:
    assert not migrate.is_current(empty_engine)
    migrate.upgrade(empty_engine)
    migrate.upgrade(empty_engine)
    assert migrate.is_current(empty_engine)


def test_rows_outlast_the_change_of_their_table(empty_engine: Engine) -> None:
    with empty_engine.execution_options(**{WRITES: True}).begin() as connection:
        command.upgrade(migrate.alembic_config(connection), "0009_tell_of_walks")
        for statement in (
            "INSERT INTO workspaces (id, name, created_at) VALUES ('w', 'ours', 1)",
            "INSERT INTO projects (id, workspace_id, name, created_at) VALUES ('p', 'w', 'shop', 1)",
            "INSERT INTO subjects (id, project_id, mode, subject_ref, created_at) "
            "VALUES ('s', 'p', 'test', 'user_1', 1)",
            "INSERT INTO purchases (project_id, mode, key, subject_id, created_at) "
            "VALUES ('p', 'test', 'sub_1', 's', 1)",
        ):
            connection.execute(text(statement))
    migrate.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        held = connection.execute(
            text("SELECT key, ref.subject_ref FROM purchases JOIN subjects ref ON ref.id = subject_id")
        )
        assert [tuple(row) for row in held] == [("sub_1", "user_1")]
    with (
        empty_engine.execution_options(**{WRITES: True}).begin() as connection,
        pytest.raises(IntegrityError),
    ):
        connection.execute(
            text(
                "INSERT INTO subjects SELECT 's2', project_id, mode, subject_ref, email, "
                "stripe_customer_id, created_at, erased_at FROM subjects"
            )
        )


def test_a_damaged_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "damaged.sqlite3"
    file.write_bytes(b"no database" * 1000)
    engine = make_engine(f"sqlite:///{file}")
    for verb in (migrate.upgrade, migrate.is_current):
        with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
            verb(engine)
    engine.dispose()


def test_a_lost_file_is_not_taken_for_a_first_run(tmp_path: Path) -> None:
    file = tmp_path / "lost.sqlite3"
    engine = make_engine(f"sqlite:///{file}")
    migrate.upgrade(engine)
    migrate.upgrade(engine)
    engine.dispose()
    file.unlink()
    with pytest.raises(DatabaseUnavailable, match="is missing"):
        migrate.upgrade(engine)
    assert not file.exists()
    (tmp_path / "lost.sqlite3.made").unlink()
    migrate.upgrade(engine)
    assert migrate.is_current(engine)
    engine.dispose()


def test_a_migration_that_breaks_leaves_nothing_behind(
    empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_args: Any) -> None:
        raise RuntimeError("pulled the plug")

    real = migrate.command.upgrade

    def upgrade_and_break(*args: Any) -> None:
        real(*args)
        breaks()

    monkeypatch.setattr(migrate.command, "upgrade", upgrade_and_break)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        migrate.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        assert not empty_engine.dialect.has_table(connection, "projects")
        assert not empty_engine.dialect.has_table(connection, "alembic_version")


def test_every_pooled_sqlite_connection_has_its_pragmas(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path / 'pragmas.sqlite3'}", pool_size=3, creates=True)
    connections = [engine.connect() for _ in range(4)]
    for connection in connections:
        told = {
            pragma: connection.execute(text(f"PRAGMA {pragma}")).scalar_one()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
        assert told == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 15_000}
    for connection in connections:
        connection.close()
    engine.dispose()
