"""What load balancers ask."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from licenzy.db import readiness, schema
from licenzy.db.unit_of_work import Database
from licenzy.factory import create_app
from tests.conftest import make_settings
from tests.support import confined
from tests.support.databases import PostgresServer, SqliteFiles
from tests.support.next_version import migrate_further

HEAD = schema.head()
NEXT = f"{schema.number_of(HEAD) + 1:04}"


@pytest.fixture(autouse=True)
def _ask_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call asks the database, so that no test waits for an answer to grow old."""
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)


@pytest.fixture
def sqlite_file(tmp_path: Path, sqlite_files: SqliteFiles) -> Path:
    """A migrated file in a folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return Path(sqlite_files.fresh(folder).removeprefix("sqlite:///"))


@pytest.fixture
def sqlite_client(tmp_path: Path, sqlite_file: Path) -> Iterator[FlaskClient]:
    application = create_app(make_settings(tmp_path, f"sqlite:///{sqlite_file}"))
    yield application.test_client()
    application.extensions["licenzy"].database.close()


def refusal(client: FlaskClient) -> str:
    """The sentence of a 503; the process lives on."""
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["error"]) == (503, "database_unavailable")
    assert client.get("/healthz").status_code == 200
    message: str = answer.get_json()["message"]
    return message


def test_a_migrated_installation_lives_and_is_ready(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "ok"}
    for _again in range(2):
        assert client.get("/readyz").get_json() == {"status": "ready"}


def test_an_unmigrated_database_is_not_ready(client: FlaskClient, database: Database) -> None:
    with database.write() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '0011_count_checks_by_the_hour'"))
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["error"]) == (503, "database_unavailable")
    assert answer.get_json()["message"] == "The database has not been migrated."
    assert answer.get_json()["hint"] == "Run `licenzy db upgrade`."
    assert client.get("/healthz").status_code == 200


def test_a_database_without_tables_is_not_ready(client: FlaskClient, database: Database) -> None:
    with database.write() as db:
        db.execute(text("DROP TABLE alembic_version"))
    assert refusal(client) == "The database has not been migrated."


@pytest.mark.parametrize("oldest", ["0011", HEAD])
def test_a_process_stays_ready_while_the_next_version_migrates(
    client: FlaskClient, database: Database, oldest: str
) -> None:
    assert client.get("/readyz").status_code == 200
    for _version in range(2):
        migrate_further(database.engine, compatible_since=oldest)
        assert client.get("/readyz").get_json() == {"status": "ready"}


def test_a_process_is_not_ready_on_a_schema_that_its_code_does_not_work_with(
    client: FlaskClient, database: Database
) -> None:
    assert client.get("/readyz").status_code == 200
    migrate_further(database.engine, compatible_since=NEXT)
    assert refusal(client) == "The database is newer than this version of Licenzy."
    assert client.get("/readyz").get_json()["hint"] == (
        "Install the version that upgraded it, or restore the backup from before the upgrade."
    )


def test_a_server_that_only_reads_is_not_ready(tmp_path: Path, postgres: PostgresServer) -> None:
    with postgres.lent() as url:
        read_only = f"{url}&options=-c%20default_transaction_read_only%3Don"
        application = create_app(make_settings(tmp_path, read_only))
        assert refusal(application.test_client()) == (
            "The database cannot be written to: Postgres is read-only."
        )
        application.extensions["licenzy"].database.close()


@pytest.mark.parametrize("was_ready", [True, False])
def test_a_file_that_is_missing_is_reported(
    sqlite_client: FlaskClient, sqlite_file: Path, was_ready: bool
) -> None:
    schema_note = Path(f"{sqlite_file}.made")
    if was_ready:
        assert sqlite_client.get("/readyz").status_code == 200
    else:
        schema_note.touch()
    kept = sqlite_file.rename(sqlite_file.with_name("elsewhere"))
    assert refusal(sqlite_client) == "The database file is missing."
    assert not sqlite_file.exists(), "nothing puts an empty one there"
    kept.rename(sqlite_file)
    assert sqlite_client.get("/readyz").status_code == 200


def test_a_file_that_was_never_there_is_not_missed(sqlite_client: FlaskClient, sqlite_file: Path) -> None:
    sqlite_file.unlink()
    assert refusal(sqlite_client) == "The database has not been migrated."


def test_a_file_that_was_replaced_is_reported(sqlite_client: FlaskClient, sqlite_file: Path) -> None:
    assert sqlite_client.get("/readyz").status_code == 200
    restored = Path(shutil.copyfile(sqlite_file, sqlite_file.with_name("backup")))
    restored.rename(sqlite_file)
    assert refusal(sqlite_client) == "The database file was replaced while Licenzy runs."


@pytest.mark.slow
def test_a_lock_that_somebody_else_holds_is_reported(sqlite_client: FlaskClient, sqlite_file: Path) -> None:
    with sqlite3.connect(sqlite_file, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        assert refusal(sqlite_client) == "The database cannot be written to: another program has locked it."
        assert time.monotonic() - began < 6
        other.execute("ROLLBACK")
    other.close()
    assert sqlite_client.get("/readyz").status_code == 200


_TWICE = """
import json, resource, sys
from licenzy.db import readiness
from licenzy.factory import create_app
readiness.FRESH_SECONDS = 0
application = create_app()
client = application.test_client()
answers = [client.get("/readyz").get_json()]
if sys.argv[1] == "nothing more on disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
answers.append(client.get("/readyz").get_json())
print(json.dumps(answers))
"""


def asked_twice(file: Path, what: str) -> list[dict[str, str]]:
    """What a process of its own answers, before and after `what` befalls it."""
    environ = {
        "LICENZY_INSTANCE": str(file.parent.parent / "instance"),
        "LICENZY_DATABASE_URL": f"sqlite:///{file}",
    }
    done = confined.python("-c", _TWICE, what, environ=environ)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, str]] = json.loads(done.stdout)
    return answers


def test_a_disk_that_takes_nothing_more_is_reported(sqlite_file: Path) -> None:
    before, after = asked_twice(sqlite_file, "nothing more on disk")
    assert before == {"status": "ready"}
    assert after["error"] == "database_unavailable"
    assert after["message"] == "The database cannot be written to: the disk reports an error."


def test_a_file_that_may_only_be_read_is_reported(sqlite_file: Path) -> None:
    sqlite_file.chmod(0o400)
    for answer in asked_twice(sqlite_file, "nothing"):
        assert answer["message"] == "The database cannot be written to: its file or folder is read-only."


def test_a_folder_that_may_only_be_read_is_reported(sqlite_file: Path) -> None:
    sqlite_file.parent.chmod(0o500)
    try:
        for answer in asked_twice(sqlite_file, "nothing"):
            assert answer["message"] == "The database cannot be written to: its file or folder is read-only."
    finally:
        os.chmod(sqlite_file.parent, 0o700)
