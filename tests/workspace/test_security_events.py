"""Each security event, done through its door, writes exactly one row, and no secret stands in any.

A new event is a row of EVENTS: what prepares it, what does it, and what the row is to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.connections.models import Connection
from licenzy.entitlements import grants
from licenzy.entitlements.grants import OperatorContext
from licenzy.entitlements.models import Entitlement
from licenzy.projects.queries import mode_settings
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus
from licenzy.stripe_events.receive import apply_due_event
from licenzy.workspace.audit import Actor
from tests.conftest import Sandbox
from tests.portal.filled_import import make_imports
from tests.portal.fixtures_events import make_event
from tests.portal.set_up_side import side_pages
from tests.portal.test_products import price_of
from tests.support.cast import PASSWORD, Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START, StandingClock
from tests.support.endpoints import make_endpoint
from tests.support.ports import wait_until
from tests.support.visits import csrf_token, forms_of, sign_in, submit, visiting
from tests.workspace.security_events import (
    CANARY,
    CANARY_SECRET,
    SecurityEvent,
    Stage,
    happens,
    make_stage,
    of_person,
    of_workspace,
)


@pytest.fixture
def stage(app: Flask, runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> Stage:
    return make_stage(app, runtime, cast, clock)


# --- what prepares -----------------------------------------------------------------------------------------


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


def apply_due(stage: Stage, _made: object) -> None:
    with stage.database.write() as db:
        assert apply_due_event(db, now=stage.runtime.clock()) is not None


EVENTS = [
    of_person("sign_in.succeeded", sign_in_rightly),
    of_person("sign_in.failed", sign_in_wrongly),
    of_person("sign_in.ended", sign_out),
    of_person("password.changed", change_password),
    of_person("password.reset", reset_password, actor=None),
    of_person("session.ended", end_session, prepare=another_session),
    of_workspace("audit.exported", export),
    SecurityEvent(
        "role.refused", forbidden_page, actor="colleague", besides=frozenset({"sign_in.succeeded"})
    ),
    SecurityEvent("api_key.created", create_key),
    SecurityEvent("api_key.created", create_key_by_command, actor=None, mode=Mode.LIVE),
    SecurityEvent("api_key.revoked", on("/api-keys", "/{}/revocation"), with_key),
    SecurityEvent("api_key.rotated", on("/api-keys/{}", "/rotation", {"overlap": "24"}), with_key),
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
    happens(stage, wanted)


# --- one after another on the same stage -------------------------------------------------------------------


def archived(stage: Stage) -> None:
    stage.send("/settings", "/settings/archive")


def forget(stage: Stage, made: object) -> None:
    side = ("--project", stage.cast.project_id, "--mode", "test")
    stage.command("forget", str(made), *side, "--yes")


def a_customer(stage: Stage) -> str:
    with stage.database.write() as db:
        return make_subject(db, project_id=stage.cast.project_id, subject_ref="user_8").subject_ref


def set_override(stage: Stage, made: object) -> None:
    values = {"what": "feature", "code": "beta", "value": "", "note": "x"}
    stage.send(f"/customers/{made}", "/overrides", values)
    stage.kept["subject"] = made


def subject_id(stage: Stage) -> str:
    with stage.database.write() as db:
        return make_subject(db, project_id=stage.cast.project_id).id


def remove_override(stage: Stage, _made: object) -> None:
    (form,) = [
        form
        for form in forms_of(stage.pages.get(f"/customers/{stage.kept['subject']}"))
        if "/overrides/" in form.action
    ]
    answer = stage.pages.client.post(form.action, data={**form.fields, "note": "x"})
    assert answer.status_code == 303


def make_project(stage: Stage, _made: object) -> None:
    assert submit(stage.pages.client, "/projects/new", {"name": "Another"}).status_code == 303


def forge(stage: Stage, _made: object) -> None:
    with stage.database.read() as db:
        connection_id = db.exec(select(Connection.id)).one()
    path = f"/v1/webhooks/stripe/{connection_id}"
    headers = {"Stripe-Signature": f"t={int(START.timestamp())},v1={'0' * 64}"}
    answer = stage.app.test_client().post(path, data=b"{}", headers=headers)
    assert answer.status_code == 400, answer.text
    # It is recorded after the answer.
    refused = "webhook.signature_refused"
    wait_until(lambda: stage.rows()[-1].action == refused, seconds=10, what="a row")


def a_paused_endpoint(stage: Stage) -> str:
    endpoint_id = with_endpoint(stage)
    stage.send(f"/webhooks/{endpoint_id}", "/pause")
    return endpoint_id


def nothing_consumed(stage: Stage) -> None:
    with stage.database.write() as db:
        mode_settings(db, stage.scope).default_unit_used_at = None


def new_product(stage: Stage, _made: object) -> None:
    values = {
        "price_id": price_of(stage.pages, "Pro, monthly"),
        "kind": "subscription",
        "product_code": "PRO",
    }
    stage.send("/products/new", "/products/new", values)
    stage.kept["product"] = stage.rows()[-1].about


def on_product(ending: str, values: dict[str, Any] | None = None) -> Callable[[Stage, Any], None]:
    """A form of the page of the product that was created first; `{}` is its first price."""

    def do(stage: Stage, _made: object) -> None:
        with stage.database.read() as db:
            product = db.get_one(Product, (stage.cast.project_id, stage.kept["product"]))
            price = product.prices[0].id
        page = f"/products/{product.id}"
        stage.send(page, page + ending.format(price), values)

    return do


def add_yearly(stage: Stage, _made: object) -> None:
    yearly = price_of(stage.pages, "Pro, yearly")
    values = {"price_id": yearly, "price_label": "year"}
    stage.send(f"/products/{stage.kept['product']}", "/prices", values)


SETTINGS = {"success_url": "https://example.com/yes", "cancel_url": "https://example.com/no"}
OF_PROJECT = [
    SecurityEvent("project.returns_changed", on("/settings", "/returns", SETTINGS)),
    SecurityEvent(
        "project.default_unit_changed",
        on("/settings", "/default-unit", {"default_unit": "images"}),
        prepare=nothing_consumed,
    ),
    SecurityEvent(
        "project.known_customers_changed",
        on("/settings", "/known-customers", {"adopt_known_customers": "y"}),
        mode=None,
    ),
    SecurityEvent("entitlement.override", set_override, prepare=subject_id),
    SecurityEvent("entitlement.remove_override", remove_override),
    SecurityEvent("customer.forgotten", forget, prepare=a_customer, actor=None),
    SecurityEvent("webhook_endpoint.resumed", on("/webhooks/{}", "/resumption"), a_paused_endpoint),
    SecurityEvent(
        "webhook_endpoint.changed", on("/webhooks/{}", "{}", {"description": "new"}), with_endpoint
    ),
    SecurityEvent("project.created", make_project, mode=None, project=None),
    SecurityEvent(
        "project.archived",
        on("/settings", "/settings/archive"),
        mode=None,
        besides=frozenset({"webhook_endpoint.disabled"}),
    ),
    SecurityEvent("project.unarchived", on("/settings", "/unarchive"), mode=None),
    SecurityEvent(
        "project.deleted", on("/settings", "/deletion", {"typed": "Our project"}), archived, mode=None
    ),
]


def with_import(stage: Stage) -> str:
    with stage.database.write() as db:
        connection = db.exec(select(Connection)).one()
        done, *_others = make_imports(
            db, connection, price="price_x", subject_ref="user_7", email="a@b.example"
        )
    return done


def export_purchases(stage: Stage, made: object) -> None:
    assert stage.pages.send(str(made), "/purchases/export", {}).status_code == 200


SAVED = frozenset({"webhook_secret.saved"})
OF_CONNECTION = [
    SecurityEvent("stripe_key.saved", on("/connection", "/connection/sandbox"), besides=SAVED),
    SecurityEvent(
        "webhook_secret.saved", on("/connection", "/webhook-secret", {"webhook_secret": CANARY_SECRET})
    ),
    SecurityEvent("webhook_secret.saved", on("/connection", "/connection/endpoint", {"rotate": "1"})),
    SecurityEvent("webhook_secret.overlap_ended", on("/connection", "/overlap-end")),
    SecurityEvent("webhook.signature_refused", forge, actor=None, stranger=True),
    SecurityEvent("product.created", new_product),
    SecurityEvent("product.changed", on_product("", {"features": "a"})),
    SecurityEvent("product.price_added", add_yearly),
    SecurityEvent("product.price_retired", on_product("/prices/{}/retirement")),
    SecurityEvent("product.price_removed", on_product("/prices/{}/removal")),
    SecurityEvent("product.archived", on_product("/archival")),
    SecurityEvent("product.restored", on("/products", "/restoration")),
    SecurityEvent("import.exported", export_purchases, with_import),
    SecurityEvent("stripe_connection.removed", on("/connection", "/removal")),
]
SEQUENCES = {"project": OF_PROJECT, "connection": OF_CONNECTION}


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_each_event_of_a_sequence_is_one_row(stage: Stage, sequence: list[SecurityEvent]) -> None:
    for wanted in sequence:
        happens(stage, wanted)
