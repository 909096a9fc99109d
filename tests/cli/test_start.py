"""What keeps the processes from starting is told in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from licenzy.db import migrate, schema
from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from tests.support import confined
from tests.support.next_version import migrate_further
from tests.support.ports import free_port_pair


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Of an installation whose database is migrated."""
    given = {"LICENZY_INSTANCE": str(tmp_path / "instance"), "LICENZY_PORT": str(free_port_pair())}
    runtime = make_runtime(load_settings(given))
    migrate.upgrade(runtime.database.engine)
    runtime.database.close()
    return given


def refusal(command: str, environ: dict[str, str]) -> str:
    done = confined.python("-m", "licenzy", command, environ=environ)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("command", ["serve", "web", "worker"])
def test_a_database_that_is_too_new_is_refused(environ: dict[str, str], command: str) -> None:
    runtime = make_runtime(load_settings(environ))
    migrate_further(runtime.database.engine, compatible_since=f"{schema.number_of(schema.head()) + 1:04}")
    runtime.database.close()
    assert refusal(command, environ).startswith("Error: The database is newer than this version of Licenzy. ")


@pytest.mark.parametrize("what", ["migrated", "migrated, without its note", "empty"])
def test_a_folder_that_may_only_be_read_is_told_in_a_sentence(
    environ: dict[str, str], tmp_path: Path, what: str
) -> None:
    instance = tmp_path / "instance"
    if what != "migrated":
        (instance / "licenzy.sqlite3.made").unlink()
    if what == "empty":
        (instance / "licenzy.sqlite3").unlink()
    instance.chmod(0o500)
    try:
        said = refusal("serve", environ)
    finally:
        instance.chmod(0o700)
    assert said.startswith("Error: The ")
    assert "Traceback" not in said
    assert "Allow the user that runs Licenzy to write to" in said
