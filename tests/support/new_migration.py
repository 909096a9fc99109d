"""`make migration NAME=…`: write the migration from what the newest one leaves to what the models say."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from licenzy.db import migrate
from licenzy.db.engine import WRITES, make_engine
from licenzy.factory import load_models


def main(name: str) -> None:
    load_models()
    with tempfile.TemporaryDirectory() as folder:
        engine = make_engine(f"sqlite:///{Path(folder) / 'scratch.sqlite3'}")
        migrate.upgrade(engine)
        with engine.execution_options(**{WRITES: True}).begin() as connection:
            config = migrate.alembic_config(connection)
            number = len(list(ScriptDirectory.from_config(config).walk_revisions())) + 1
            slug = re.sub(r"\W+", "_", name.lower()).strip("_")
            # Alembic keeps the id of the newest one in a column of 32 characters.
            command.revision(config, name, autogenerate=True, rev_id=f"{number:04}_{slug}"[:32])
        engine.dispose()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]) or "first")
