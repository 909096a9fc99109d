"""What a later version of Licenzy does to a database that this one still uses: its migration."""

from __future__ import annotations

import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from alembic import command
from sqlalchemy import Engine

from licenzy.db import migrate, schema
from licenzy.db.engine import WRITES

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

from licenzy.db.migrations.compatibility import compatible_since

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    op.add_column("projects", sa.Column("{revision}", sa.String(), nullable=True))
    compatible_since("{compatible_since}")
"""


def migrate_further(engine: Engine, *, compatible_since: str) -> str:
    """Apply the migration of a next version, and of the one after it when called again; gives its name.

    `compatible_since` is what it states of older code.
    """
    with engine.connect() as connection:
        before = schema.revision_of(connection)
    assert before is not None
    chain = [schema.head()]
    while len(chain) < 2 or chain[-2] != before:
        chain.append(f"{schema.number_of(chain[-1]) + 1:04}_next")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "migrations"
        shutil.copytree(schema.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
        for earlier, revision in pairwise(chain):
            text = _MIGRATION.format(revision=revision, before=earlier, compatible_since=compatible_since)
            (folder / "versions" / f"{revision}.py").write_text(text)
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            config = migrate.alembic_config(connection)
            config.set_main_option("script_location", str(folder).replace("%", "%%"))
            command.upgrade(config, "head")
    return chain[-1]
