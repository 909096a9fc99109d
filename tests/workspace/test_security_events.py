"""Each security event, done through its door, writes exactly one row, and no secret stands in any.

A new event is a row of EVENTS: what prepares it, what does it, and what the row is to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.cli import make_command_line
from licenzy.cli.wiring import Wiring
from licenzy.db.unit_of_work import Database
from licenzy.entitlements import grants
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement
from licenzy.kit.stopping import StopSignal
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.receive import apply_due_event
from licenzy.workspace.audit import Actor
from licenzy.workspace.audit_wording import WORDING
from licenzy.workspace.models import AuditEntry
from tests.conftest import Sandbox
from tests.portal.fixtures_events import make_event
from tests.portal.set_up_side import SidePages, connected, side_pages
from tests.portal.test_products import price_of
from tests.support.cast import PASSWORD, Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START
from tests.support.endpoints import make_endpoint
from tests.support.visits import csrf_token, sign_in, submit, visiting

CANARY = "canary-of-7-birds-in-a-mine"
CANARY_SECRET = "whsec_Y2FuYXJ5LW9mLTctYmlyZHMtaW4tYS1taW5lLXNlY3JldCE="


@dataclass
class Stage:
    """Where an event happens."""

    app: Flask
    runtime: Runtime
    cast: Cast
    sandbox: Sandbox
    pages: SidePages
    secrets: list[str] = field(default_factory=list)
    """What must stand nowhere in the log."""

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

    def rows(self) -> list[AuditEntry]:
        with self.database.read() as db:
            return list(db.exec(select(AuditEntry).order_by(col(AuditEntry.id))))


@pytest.fixture
def stage(app: Flask, runtime: Runtime, cast: Cast, sandbox: Sandbox) -> Stage:
    return Stage(app, runtime, cast, sandbox, side_pages(app, cast), [PASSWORD, CANARY, CANARY_SECRET])


def nothing(_stage: Stage) -> None:
    return None


# --- what prepares -----------------------------------------------------------------------------------------


def with_sandbox(stage: Stage) -> None:
    connected(stage.pages, stage.sandbox)


def with_product(stage: Stage) -> str:
    connected(stage.pages, stage.sandbox)
    values = {
        "price_id": price_of(stage.pages, "Pro, monthly"),
        "kind": "subscription",
        "product_code": "PRO",
    }
    stage.send("/products/new", "/products/new", values)
    return stage.rows()[-1].about


def with_key(stage: Stage) -> str:
    with stage.database.write() as db:
        key, token = make_key(db, project_id=stage.cast.project_id)
    stage.secrets.append(token)
    return key.id


def with_endpoint(stage: Stage) -> str:
    with stage.database.write() as db:
        return make_endpoint(
            db,
            project_id=stage.cast.project_id,
            secret_box=stage.runtime.secret_box,
            url="https://example.com/hook",
        )[0].id


def with_pass(stage: Stage, kind: Kind = Kind.USAGE_PACK) -> Entitlement:
    with stage.database.write() as db:
        product = make_product(db, project_id=stage.cast.project_id, product_code="PACK", kind=kind)
        subject = make_subject(db, project_id=stage.cast.project_id)
        by_command = OperatorContext(stage.scope, Actor(), "", START)
        until = None if kind is Kind.USAGE_PACK else START.replace(month=12)
        (change,) = grants.grant(
            db, by_command, subject_ref=subject.subject_ref, product=product, until=until
        )
        return db.get_one(Entitlement, (*_side(stage), change["entitlement"]))


def with_time_pass(stage: Stage) -> Entitlement:
    return with_pass(stage, Kind.TIME_PASS)


def _side(stage: Stage) -> tuple[str, Mode]:
    return stage.cast.project_id, Mode.TEST


def with_bad_event(stage: Stage, **columns: Any) -> None:
    with stage.database.write() as db:
        connection = make_connection(
            db, project_id=stage.cast.project_id, secret_box=stage.runtime.secret_box
        )
        make_event(db, connection=connection, status=EventStatus.FAILED, next_try_at=START, **columns)


def with_event_at_its_last_try(stage: Stage) -> None:
    with_bad_event(stage, tries=7)


def with_parked_event(stage: Stage) -> None:
    with_bad_event(stage, tries=8, parked_at=START)


# --- what is done ------------------------------------------------------------------------------------------


def sign_in_wrongly(stage: Stage, _made: object) -> None:
    assert sign_in(stage.app.test_client(), "owner@example.com", CANARY).status_code == 422


def sign_in_rightly(stage: Stage, _made: object) -> None:
    visiting(stage.app, "owner@example.com")


def sign_out(stage: Stage, _made: object) -> None:
    client = stage.pages.client
    assert client.post("/sign-out", data={"csrf_token": csrf_token(client, "/account")}).status_code == 303


def change_password(stage: Stage, _made: object) -> None:
    answer = submit(stage.pages.client, "/account", {"current": PASSWORD, "new": CANARY})
    assert answer.status_code == 303


def reset_password(stage: Stage, _made: object) -> None:
    arguments = ("users", "reset-password", "--email", "owner@example.com", "--password-stdin")
    stage.command(*arguments, input=CANARY + "\n")


def another_session(stage: Stage) -> str:
    visiting(stage.app, "owner@example.com")
    page = stage.pages.client.get("/account").text
    found = re.search(r"/account/sessions/(ses_\w+)/end", page)
    assert found is not None
    return found[1]


def end_session(stage: Stage, made: object) -> None:
    client = stage.pages.client
    token = {"csrf_token": csrf_token(client, "/account")}
    assert client.post(f"/account/sessions/{made}/end", data=token).status_code == 303


def create_key_by_command(stage: Stage, _made: object) -> None:
    side = ("--project", stage.cast.project_id, "--mode", "live")
    printed = stage.command("keys", "create", *side, "--name", "backend")
    stage.secrets.append(printed.split()[0])


def create_key(stage: Stage, _made: object) -> None:
    stage.send("/api-keys", "/api-keys", {"name": "backend"})


def forbidden_page(stage: Stage, _made: object) -> None:
    assert visiting(stage.app, stage.cast.colleague.email).get("/projects").status_code == 200
    pages = side_pages(stage.app, stage.cast, email=stage.cast.colleague.email)
    assert pages.get("/products/new").status_code == 403


def export(stage: Stage, _made: object) -> None:
    client, log = stage.pages.client, f"/workspaces/{stage.cast.owner.workspace_id}/audit"
    data = {"csrf_token": csrf_token(client, log), "format": "csv"}
    assert client.post(f"{log}/export", data=data).status_code == 200


def act(of: str, values: dict[str, str]) -> Callable[[Stage, Any], None]:
    def do(stage: Stage, made: Entitlement) -> None:
        stage.send(f"/customers/{made.subject_id}", f"/entitlements/{made.id}/{of}", values)

    return do


def on(path: str, ends: str, values: dict[str, Any] | None = None) -> Callable[[Stage, Any], None]:
    """A form of a page; `{}` in the paths is what was prepared."""

    def do(stage: Stage, made: object) -> None:
        stage.send(path.format(made), ends.format(made), values)

    return do


def disable_endpoint(stage: Stage, made: object) -> None:
    side = ("--project", stage.cast.project_id, "--mode", "test")
    stage.command("endpoints", "disable", *side, str(made))


def grant(stage: Stage, _made: object) -> None:
    values = {"subject_ref": "user_9", "product_code": "PACK", "note": "a gift"}
    stage.send("/grants/new", "/grants/new", values)


def add_price(stage: Stage, made: object) -> None:
    yearly = price_of(stage.pages, "Pro, yearly")
    stage.send(f"/products/{made}", "/prices", {"price_id": yearly, "price_label": "year"})


def apply_due(stage: Stage, _made: object) -> None:
    with stage.database.write() as db:
        assert apply_due_event(db, now=stage.runtime.clock()) is not None


@dataclass(frozen=True)
class SecurityEvent:
    """One event: what is done, and the row that it writes."""

    action: str
    do: Callable[[Stage, Any], None]
    prepare: Callable[[Stage], Any] = nothing
    actor: str | None = "owner"
    """A name of the cast; None for the command line and for Licenzy itself."""
    mode: Mode | None = Mode.TEST
    """With a mode it belongs to the owner's project."""
    project: bool = True
    besides: frozenset[str] = frozenset()
    """Actions that the way there writes as well."""


def of_person(action: str, do: Callable[[Stage, Any], None], **more: Any) -> SecurityEvent:
    return SecurityEvent(action, do, mode=None, project=False, **more)


EVENTS = [
    of_person("sign_in.succeeded", sign_in_rightly),
    of_person("sign_in.failed", sign_in_wrongly),
    of_person("sign_in.ended", sign_out),
    of_person("password.changed", change_password),
    of_person("password.reset", reset_password, actor=None),
    of_person("session.ended", end_session, prepare=another_session),
    of_person("audit.exported", export),
    SecurityEvent(
        "role.refused", forbidden_page, actor="colleague", besides=frozenset({"sign_in.succeeded"})
    ),
    SecurityEvent("api_key.created", create_key),
    SecurityEvent("api_key.created", create_key_by_command, actor=None, mode=Mode.LIVE),
    SecurityEvent("api_key.revoked", on("/api-keys", "/{}/revocation"), with_key),
    SecurityEvent("api_key.rotated", on("/api-keys/{}", "/rotation", {"overlap": "24"}), with_key),
    SecurityEvent(
        "stripe_key.saved",
        on("/connection", "/connection/sandbox"),
        besides=frozenset({"webhook_secret.saved"}),
    ),
    SecurityEvent("stripe_connection.removed", on("/connection", "/removal"), with_sandbox),
    SecurityEvent(
        "webhook_secret.saved",
        on("/connection", "/webhook-secret", {"webhook_secret": CANARY_SECRET}),
        with_sandbox,
    ),
    SecurityEvent("product.price_added", add_price, with_product),
    SecurityEvent("product.archived", on("/products/{}", "/archival"), with_product),
    SecurityEvent("entitlement.grant", grant, with_pass),
    SecurityEvent("entitlement.revoke", act("revocation", {"note": "x"}), with_pass),
    SecurityEvent(
        "entitlement.adjust", act("adjustments", {"units": "5", "direction": "add", "note": "x"}), with_pass
    ),
    SecurityEvent(
        "entitlement.extend",
        act("extensions", {"note": "x", "amount": "2", "amount_unit": "days"}),
        with_time_pass,
    ),
    SecurityEvent("event.replay", on("/events/evt_1", "/evt_1/replay"), with_parked_event),
    SecurityEvent("event.parked", apply_due, with_event_at_its_last_try, actor=None),
    SecurityEvent(
        "webhook_endpoint.created",
        on("/webhooks", "/webhooks", {"url": "https://example.com/hook", "types": ["usage.low"]}),
    ),
    SecurityEvent(
        "webhook_endpoint.secret_rotated", on("/webhooks/{}", "/secret", {"overlap": "24"}), with_endpoint
    ),
    SecurityEvent("webhook_endpoint.disabled", disable_endpoint, with_endpoint, actor=None),
    SecurityEvent("webhook_endpoint.paused", on("/webhooks/{}", "/pause"), with_endpoint),
    SecurityEvent(
        "webhook_endpoint.deleted", on("/webhooks/{}", "/removal", {"typed": "example.com"}), with_endpoint
    ),
    SecurityEvent("project.renamed", on("/settings", "/name", {"name": "Another"}), mode=None),
]


@pytest.mark.parametrize("wanted", EVENTS, ids=lambda each: f"{each.action}-{each.actor}")
def test_a_security_event_is_one_row_without_any_secret(stage: Stage, wanted: SecurityEvent) -> None:
    made = wanted.prepare(stage)
    before = {row.id for row in stage.rows()}
    wanted.do(stage, made)
    written = [row for row in stage.rows() if row.id not in before and row.action not in wanted.besides]
    assert [row.action for row in written] == [wanted.action]
    (row,) = written
    assert row.action in WORDING
    actor = getattr(stage.cast, wanted.actor).user_id if wanted.actor is not None else None
    assert row.actor_user_id == actor
    assert row.ip == ("127.0.0.1" if wanted.actor is not None else None)
    assert row.project_id == (stage.cast.project_id if wanted.project else None)
    assert row.mode == wanted.mode
    if wanted.project or wanted.action == "audit.exported":
        assert row.workspace_id == stage.cast.owner.workspace_id
    everything = repr([each.model_dump() for each in stage.rows()])
    assert [secret for secret in stage.secrets if secret in everything] == []
