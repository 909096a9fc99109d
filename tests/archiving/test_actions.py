"""An archived project stands still and stays readable; a deleted one is there for nobody."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlmodel import col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import create_key, rotate_key
from licenzy.api_keys.models import ApiKey
from licenzy.archiving.actions import (
    ProjectNotArchived,
    archive_project,
    delete_project,
    unarchive_project,
)
from licenzy.connections.models import Connection, EventPoll
from licenzy.deliveries.actions import EndpointContext, create_endpoint, resume_endpoint
from licenzy.deliveries.models import EventType, WebhookEndpoint
from licenzy.entitlements.models import Entitlement
from licenzy.errors import NotFound
from licenzy.imports.models import Import, ImportStep
from licenzy.imports.progress import Importer, claim_due_import
from licenzy.kit.ids import new_id
from licenzy.projects.models import Project
from licenzy.projects.queries import (
    ProjectArchived,
    project_for,
    project_ids,
    project_names,
    projects_for,
)
from licenzy.projects.scope import Scope
from licenzy.reconciliation.actions import claim_due
from licenzy.reconciliation.polling import _due
from licenzy.runtime import Runtime
from licenzy.setup.stripe_probe import claim_due_probe
from licenzy.stripe_events.models import StripeEvent
from licenzy.workspace.audit import Actor
from licenzy.workspace.models import AuditEntry
from tests.support.cast import WEBHOOK_SECRET, Cast, make_connection, make_key, make_product, make_subject
from tests.support.clock import START
from tests.support.endpoints import make_endpoint
from tests.support.purchases import event, make_attempt, session_object, signed


def archive(runtime: Runtime, project_id: str, now: Any = START) -> None:
    runtime.database.retrying(
        lambda db: archive_project(db, actor=Actor("usr_1", "192.0.2.1"), project_id=project_id, now=now)
    )


def delete(runtime: Runtime, project_id: str) -> None:
    runtime.database.retrying(
        lambda db: delete_project(db, actor=Actor("usr_1"), project_id=project_id, now=START)
    )


def recorded(runtime: Runtime, prefix: str) -> list[AuditEntry]:
    with runtime.database.read() as db:
        rows = select(AuditEntry).where(col(AuditEntry.action).startswith(prefix))
        return list(db.exec(rows.order_by(col(AuditEntry.id))))


@pytest.fixture
def connection(runtime: Runtime, cast: Cast) -> Connection:
    with runtime.database.write() as db:
        return make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)


def test_archiving_revokes_keys_and_disables_endpoints_of_both_modes(runtime: Runtime, cast: Cast) -> None:
    here, there = cast.project_id, cast.stranger.project_id
    with runtime.database.write() as db:
        for project_id in (here, there):
            for mode in Mode:
                make_key(db, project_id=project_id, mode=mode)
                url = "https://example.com/hook"
                make_endpoint(db, project_id=project_id, secret_box=runtime.secret_box, mode=mode, url=url)
        make_key(db, project_id=here, revoked_at=START - timedelta(days=1))
    later = START + timedelta(hours=1)
    archive(runtime, here, later)
    archive(runtime, here, later + timedelta(hours=1))
    with runtime.database.read() as db:
        keys = db.exec(select(ApiKey)).all()
        endpoints = db.exec(select(WebhookEndpoint)).all()
        assert db.get_one(Project, here).archived_at == later
        assert db.get_one(Project, there).archived_at is None
    assert sorted(str(each.revoked_at) for each in keys if each.project_id == here) == sorted(
        map(str, (later, later, START - timedelta(days=1)))
    )
    assert all(each.disabled_at == later for each in endpoints if each.project_id == here)
    assert not [each for each in keys if each.project_id == there and each.revoked_at]
    assert not [each for each in endpoints if each.project_id == there and each.disabled_at]
    [row] = recorded(runtime, "project.archived")
    assert row.after == {"api_keys_revoked": 2, "webhook_endpoints_disabled": 2}
    assert (row.actor_user_id, row.ip, row.workspace_id) == ("usr_1", "192.0.2.1", cast.owner.workspace_id)


def test_an_archived_project_gets_no_keys_and_endpoints(runtime: Runtime, cast: Cast) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    with runtime.database.write() as db:
        endpoint, _secret = make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box)
    archive(runtime, cast.project_id)
    context = EndpointContext(scope, Actor(), START)
    with pytest.raises(ProjectArchived), runtime.database.write() as db:
        create_key(db, scope, name="late", created_by=None, now=START)
    with pytest.raises(ProjectArchived), runtime.database.write() as db:
        rotate_key(db, scope, key_id="key_1", overlap=timedelta(0), actor=Actor(), now=START)
    with pytest.raises(ProjectArchived), runtime.database.write() as db:
        resume_endpoint(db, context, endpoint_id=endpoint.id)
    with pytest.raises(ProjectArchived), runtime.database.write() as db:
        create_endpoint(
            db,
            runtime.secret_box,
            context,
            url="https://example.com/",
            types=[EventType.USAGE_LOW],
            private_allowed=False,
        )
    runtime.database.retrying(
        lambda db: unarchive_project(db, actor=Actor(), project_id=cast.project_id, now=START)
    )
    with runtime.database.write() as db:
        create_key(db, scope, name="anew", created_by=None, now=START)
        resume_endpoint(db, context, endpoint_id=endpoint.id)
    [row] = recorded(runtime, "project.unarchived")
    assert row.before == {"archived_at": START.isoformat()}


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_key_that_is_made_meanwhile_is_revoked_as_well(runtime: Runtime, cast: Cast) -> None:
    scope = Scope(cast.project_id, Mode.TEST)
    made, archived = threading.Event(), threading.Event()

    def archive_it() -> None:
        made.wait(10)
        archive(runtime, cast.project_id)
        archived.set()

    thread = threading.Thread(target=archive_it)
    thread.start()
    with runtime.database.write() as db:
        key, _token = create_key(db, scope, name="just now", created_by=None, now=START)
        made.set()
        assert not archived.wait(0.5), "the key's transaction is still open"
    thread.join(10)
    with runtime.database.read() as db:
        assert db.get_one(ApiKey, key.id).revoked_at == START


def test_the_worker_leaves_archived_projects_alone(
    runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    due = START + timedelta(days=1)
    with runtime.database.write() as db:
        db.add(EventPoll(connection_id=connection.id, next_at=START))
        waiting: dict[str, Any] = {
            "project_id": cast.project_id,
            "mode": Mode.TEST,
            "step": ImportStep.SUBSCRIPTIONS,
        }
        db.add(Import(id=new_id("imp"), connection_id=connection.id, started_at=START, **waiting))
    importer = Importer(runtime.database, runtime.gateway, runtime.secret_box, lambda: due, lambda: 0.5)

    def taken() -> list[bool]:
        """What the worker would do now; nothing of it is kept."""
        found = [claim_due_import(importer) is not None]
        with runtime.database.read() as db:
            found += [
                claim_due(db, now=due) is not None,
                claim_due_probe(db, now=due) is not None,
                _due(db, now=due) is not None,
            ]
        return found

    archive(runtime, cast.project_id)
    assert taken() == [False] * 4
    runtime.database.retrying(
        lambda db: unarchive_project(db, actor=Actor(), project_id=cast.project_id, now=START)
    )
    assert taken() == [True] * 4


def send_purchase(client: FlaskClient, runtime: Runtime, cast: Cast, connection: Connection) -> int:
    with runtime.database.write() as db:
        subject = make_subject(db, project_id=cast.project_id)
        product = make_product(db, project_id=cast.project_id)
        attempt = make_attempt(db, connection=connection, subject=subject, product=product)
    body, headers = signed(event("checkout.session.completed", session_object(attempt)), WEBHOOK_SECRET)
    address = f"/v1/webhooks/stripe/{connection.id}"
    return client.post(address, data=body, headers=headers).status_code


def test_events_of_an_archived_project_are_received_and_applied(
    client: FlaskClient, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    archive(runtime, cast.project_id)
    assert send_purchase(client, runtime, cast, connection) == 200
    with runtime.database.read() as db:
        assert len(db.exec(select(StripeEvent)).all()) == 1


def test_events_of_a_deleted_project_come_to_an_unknown_connection(
    client: FlaskClient, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    archive(runtime, cast.project_id)
    delete(runtime, cast.project_id)
    assert send_purchase(client, runtime, cast, connection) == 400
    with runtime.database.read() as db:
        assert db.exec(select(StripeEvent)).all() == []
        assert db.exec(select(Entitlement)).all() == []


def test_a_deleted_project_is_there_for_nobody(
    client: FlaskClient, runtime: Runtime, cast: Cast, connection: Connection
) -> None:
    with runtime.database.write() as db:
        _key, token = make_key(db, project_id=cast.project_id)
    with pytest.raises(ProjectNotArchived):
        delete(runtime, cast.project_id)
    archive(runtime, cast.project_id)
    delete(runtime, cast.project_id)
    with pytest.raises(NotFound):
        delete(runtime, cast.project_id)
    with pytest.raises(NotFound):
        archive(runtime, cast.project_id)
    with runtime.database.read() as db:
        assert project_for(db, user_id=cast.owner.user_id, project_id=cast.project_id) is None
        assert list(projects_for(db, user_id=cast.owner.user_id)) == []
        assert project_ids(db) == list(project_names(db)) == [cast.stranger.project_id]
        kept = db.get_one(Connection, connection.id)
    assert {kept.key_sealed, kept.webhook_secret_sealed, kept.previous_webhook_secret_sealed} == {None}
    answer = client.get("/v1/entitlements/user_123", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    [row] = recorded(runtime, "project.deleted")
    assert row.before == {"name": "Our project"}


def test_archived_projects_are_left_out_where_all_are_checked(runtime: Runtime, cast: Cast) -> None:
    archive(runtime, cast.project_id)
    with runtime.database.read() as db:
        assert project_ids(db) == [cast.stranger.project_id]
        [(project, _role)] = projects_for(db, user_id=cast.owner.user_id)
    assert project.archived_at == START
