"""Where security events happen in the tests, and what each is to leave in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from click.testing import CliRunner
from flask import Flask
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.cli import make_command_line
from licenzy.cli.wiring import Wiring
from licenzy.db.unit_of_work import Database
from licenzy.kit.stopping import StopSignal
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.workspace import queries
from licenzy.workspace.models import AuditEntry
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import PASSWORD, Cast
from tests.support.clock import StandingClock

CANARY = "canary-of-7-birds-in-a-mine"
CANARY_SECRET = "whsec_Y2FuYXJ5LW9mLTctYmlyZHMtaW4tYS1taW5lLXNlY3JldCE="


@dataclass
class Stage:
    """Where an event happens."""

    app: Flask
    runtime: Runtime
    cast: Cast
    pages: SidePages
    clock: StandingClock
    secrets: list[str] = field(default_factory=list)
    """What must stand nowhere in the log."""
    kept: dict[str, Any] = field(default_factory=dict)
    """What one event of a sequence leaves to those after it."""

    @property
    def database(self) -> Database:
        return self.runtime.database

    @property
    def scope(self) -> Scope:
        return Scope(self.cast.project_id, Mode.TEST)

    def command(self, *arguments: str, **options: Any) -> str:
        """What a command prints."""

        def not_here(_settings: Settings) -> None:
            raise AssertionError("a test of commands starts no server")

        wiring = Wiring(
            settings=lambda: self.runtime.settings,
            make_runtime=lambda settings: replace(self.runtime, settings=settings),
            run_web=not_here,
            run_worker=not_here,
            run_sandbox=not_here,
            stop=StopSignal(),
        )
        result = CliRunner().invoke(make_command_line(wiring), arguments, **options)
        assert result.exit_code == 0, result.output
        return result.output

    def send(self, path: str, ends: str, values: dict[str, Any] | None = None) -> None:
        answer = self.pages.send(path, ends, values or {})
        assert answer.status_code == 303, answer.text

    def user_id(self, name: str) -> str:
        """The id of whoever has this name before the @ of their address."""
        with self.database.read() as db:
            user = queries.find_user(db, email=f"{name}@example.com")
        assert user is not None
        return user.id

    def rows(self) -> list[AuditEntry]:
        with self.database.read() as db:
            return list(db.exec(select(AuditEntry).order_by(col(AuditEntry.id))))


def make_stage(app: Flask, runtime: Runtime, cast: Cast, clock: StandingClock) -> Stage:
    """The owner, signed in, in test mode."""
    return Stage(app, runtime, cast, side_pages(app, cast), clock, [PASSWORD, CANARY, CANARY_SECRET])


def nothing(_stage: Stage) -> None:
    return None


@dataclass(frozen=True)
class SecurityEvent:
    """One event: what is done, and the row that it writes."""

    action: str
    do: Callable[[Stage, Any], None]
    prepare: Callable[[Stage], Any] = nothing
    actor: str | None = "owner"
    """The part of their address before the @; None for the command line, Licenzy itself and strangers."""
    mode: Mode | None = Mode.TEST
    """With a mode it belongs to the owner's project."""
    project: bool | None = True
    """Whether it names that project; None for another one."""
    workspace: bool | None = True
    """Whether it names the workspace of the cast; None for another one."""
    stranger: bool = False
    besides: frozenset[str] = frozenset()
    """Actions that the way there writes as well."""


def of_person(action: str, do: Callable[[Stage, Any], None], **more: Any) -> SecurityEvent:
    """Of what people do in no workspace, such as signing in."""
    return SecurityEvent(action, do, mode=None, project=False, workspace=False, **more)


def of_workspace(action: str, do: Callable[[Stage, Any], None], **more: Any) -> SecurityEvent:
    """Of what is done in a workspace and in none of its projects."""
    return SecurityEvent(action, do, mode=None, project=False, **more)


def happens(stage: Stage, wanted: SecurityEvent) -> None:
    """Let it happen: it writes exactly its row, and there is no secret in that or another one."""
    made = wanted.prepare(stage)
    before = {row.id for row in stage.rows()}
    wanted.do(stage, made)
    everything = stage.rows()
    written = [row for row in everything if row.id not in before and row.action not in wanted.besides]
    actions = [row.action for row in written]
    assert actions == [wanted.action], f"{wanted.action}: {actions}"
    (row,) = written
    said = (row.actor_user_id, row.ip, row.project_id, row.mode)
    expected = (
        stage.user_id(wanted.actor) if wanted.actor is not None else None,
        "127.0.0.1" if wanted.actor or wanted.stranger else None,
        row.project_id if wanted.project is None else stage.cast.project_id if wanted.project else None,
        wanted.mode,
    )
    assert said == expected, f"{wanted.action}: {said}, not {expected}"
    if wanted.workspace is not None:
        workspace_id = stage.cast.owner.workspace_id if wanted.workspace else None
        assert row.workspace_id == workspace_id, f"{wanted.action}: {row.workspace_id}"
    text = repr([each.model_dump() for each in everything])
    shown = [secret for secret in stage.secrets if secret in text]
    assert shown == [], f"{wanted.action} shows {shown}"
