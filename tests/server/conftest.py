"""An installation with a migrated database and a key, and commands that are ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from licenzy.factory import make_runtime
from licenzy.settings import load_settings
from tests.support.cast import make_cast, make_key
from tests.support.databases import SqliteFiles
from tests.support.installation import Installation, Running


class Shop(Installation):
    """An installation whose merchant has a key, and others that may do less."""

    def __init__(self, folder: Path, database_url: str) -> None:
        super().__init__(folder, LICENZY_DATABASE_URL=database_url, LICENZY_WORKERS="1")
        runtime = make_runtime(load_settings(self.environ))
        with runtime.database.write() as db:
            project_id = make_cast(db, now=runtime.clock()).project_id
            _key, self.token = make_key(db, project_id=project_id, now=runtime.clock())
            _key, self.read_token = make_key(db, project_id=project_id, now=runtime.clock(), scopes="read")
            _key, self.audit_token = make_key(db, project_id=project_id, now=runtime.clock(), scopes="audit")
        runtime.database.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def checks(self) -> int:
        """Make one access check, on a connection of its own; the status of the answer."""
        return httpx.post(
            f"{self.url}/v1/access/check",
            json={"subject_ref": "user_1"},
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=2,
        ).status_code

    def is_well(self, port: int | None = None) -> bool:
        """Whether what listens there answers as it should."""
        try:
            return httpx.get(f"http://127.0.0.1:{port or self.port}/healthz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False


@pytest.fixture
def shop(tmp_path: Path, sqlite_files: SqliteFiles) -> Shop:
    return Shop(tmp_path, sqlite_files.fresh(tmp_path))


@pytest.fixture
def start() -> Iterator[Callable[[Installation, str], Running]]:
    started: list[Running] = []

    def begin(installation: Installation, command: str) -> Running:
        started.append(installation.starts(command))
        return started[-1]

    yield begin
    for running in started:
        running.ends()
