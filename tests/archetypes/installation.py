"""A running `licenzy serve` on one database, and the projects of merchants in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import create_key
from licenzy.catalog.queries import has_trials
from licenzy.connections import actions as connections
from licenzy.factory import make_runtime
from licenzy.projects.actions import create_project
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.actions import ensure_first_workspace
from licenzy.workspace.audit import Actor
from tests.archetypes.merchant import Merchant
from tests.configuration.conftest import command_line
from tests.conftest import make_settings
from tests.support.ports import answers, wait_until
from tests.support.web_processes import serving


@dataclass(frozen=True, slots=True)
class Installation:
    """Web, worker and sandbox as processes; `runtime` is for what a person sets up in the portal."""

    runtime: Runtime
    folder: Path

    @contextmanager
    def merchant(self, name: str) -> Iterator[Merchant]:
        """A project with a sandbox account of its own, its webhook and an API key, without products."""
        parts, actor = self.runtime, Actor()
        stores = (parts.database, parts.gateway, parts.secret_box)
        now = parts.clock()
        with parts.database.write() as db:
            workspace_id = ensure_first_workspace(db, now=now)
            project_id = create_project(db, actor=actor, workspace_id=workspace_id, name=name, now=now).id
            _key, api_key = create_key(
                db, Scope(project_id, Mode.TEST), name="backend", created_by=None, now=now
            )
        connection = connections.connect_sandbox(
            *stores, parts.settings, project_id=project_id, project_name=name, actor=actor, now=now
        )
        connections.register_endpoint(
            *stores,
            Scope(project_id, Mode.TEST),
            base_url=parts.settings.base_url,
            has_trials=has_trials,
            actor=actor,
            now=now,
        )
        with Merchant(
            url=parts.settings.base_url,
            api_key=api_key,
            sandbox_url=parts.settings.sandbox_url,
            sandbox_key=connections.stripe_key(parts.secret_box, connection),
            apply=lambda content: self._apply(project_id, content),
        ) as merchant:
            yield merchant

    def _apply(self, project_id: str, content: str) -> None:
        path = self.folder / f"{project_id}.toml"
        path.write_text(content, encoding="utf-8")
        done = command_line(
            self.runtime, "apply", str(path), "--project", project_id, "--create-prices", "--json"
        )
        assert done.exit_code == 0, done.output


@contextmanager
def running(folder: Path, database_url: str) -> Iterator[Installation]:
    """Serve on free ports, with the secrets in `folder`, until the block ends."""
    settings = make_settings(folder, database_url)
    with serving(settings, ("-m", "licenzy", "serve"), LICENZY_WORKERS="1"):
        wait_until(lambda: answers(settings.port + 1), seconds=60, what="the sandbox listens")
        runtime = make_runtime(settings)
        try:
            yield Installation(runtime, folder)
        finally:
            runtime.database.close()
