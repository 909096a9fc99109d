"""`GET /metrics`: for whom, what, and that it tells no names."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlmodel import select

from licenzy.alignment.findings import Severity
from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.api import metrics
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.deliveries.models import Delivery, DeliveryStatus, WebhookEndpoint
from licenzy.factory import create_app
from licenzy.kit.ids import new_id
from licenzy.observations.models import StripeProbe
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.setup.fact_collector import project_facts
from licenzy.stripe_events.models import EventStatus, SettlingRead, StripeEvent
from tests.support.cast import Cast, make_connection
from tests.support.clock import START, StandingClock
from tests.support.endpoints import enqueue_events, make_endpoint

TOKEN = "a-tökën-of-the-tests-0123456789"


@pytest.fixture
def app(settings: Settings, clock: StandingClock) -> Iterator[Flask]:
    application = create_app(replace(settings, metrics_token=TOKEN), clock=clock)
    yield application
    application.extensions["licenzy"].database.close()


def scrape(client: FlaskClient, token: str = TOKEN, scheme: str = "Bearer") -> Any:
    header = f"{scheme} {token}".encode().decode("latin-1")
    return client.get("/metrics", environ_overrides={"HTTP_AUTHORIZATION": header})


def numbers(client: FlaskClient) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels, which stand in the order of their names."""
    answer = scrape(client)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert answer.headers["Cache-Control"] == "no-store"
    return {
        (sample.name.removeprefix("licenzy_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_without_a_setting_there_is_no_such_address(settings: Settings, cast: Cast) -> None:
    plain = create_app(settings)
    client = plain.test_client()
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {'x' * 20}"})
    other = client.get("/nothing-here")
    assert (answer.status_code, answer.data) == (404, other.data)
    plain.extensions["licenzy"].database.close()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_nobody_without_the_token_learns_anything(client: FlaskClient, cast: Cast) -> None:
    answers = [
        client.get("/metrics"),
        scrape(client, "wrong"),
        scrape(client, ""),
        scrape(client, TOKEN + "x"),
        scrape(client, TOKEN[:-1]),
        scrape(client, TOKEN, scheme="Basic"),
        client.get("/metrics", query_string={"token": TOKEN}),
        client.get("/metrics", headers={"Authorization": "Bearer ☕".encode().decode("latin-1")}),
    ]
    for answer in answers:
        assert (answer.status_code, answer.data) == (401, b"A token is needed.\n")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "Licenzy-Request-Id" not in answer.headers
    assert scrape(client, scheme="bearer").status_code == 200


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_tokens_are_compared_in_constant_time(
    client: FlaskClient, cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(sent: bytes, known: bytes) -> bool:
        compared.append((sent, known))
        return hmac.compare_digest(sent, known)

    monkeypatch.setattr(metrics, "compare_digest", compare)
    assert scrape(client, "wrong").status_code == 401
    assert compared == [(b"wrong", TOKEN.encode())]


def test_an_empty_installation_reports_zeros(client: FlaskClient) -> None:
    told = numbers(client)
    assert set(told.values()) == {0.0}
    assert {("stripe_events", status.value) for status in EventStatus} <= set(told)
    assert {("deliveries", word) for word in ("pending", "failed", "dead")} <= set(told)
    assert ("deliveries", "sent") not in told
    jobs = {key[1] for key in told if key[0] == "oldest_due_job_seconds"}
    assert jobs == {"apply_event", "settling_read", "delivery", "reconciliation", "look_at_stripe"}


def test_the_numbers_are_those_of_the_database(
    client: FlaskClient, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    connection = _connect(runtime, cast)
    _receive(runtime.database, connection)
    _deliver(runtime, cast)
    clock.advance(minutes=10)
    told = numbers(client)
    assert told["stripe_events", "applied"] == 2
    assert told["stripe_events", "failed"] == 2
    assert told["stripe_events", "received"] == 0
    assert told[("stripe_events_parked",)] == 1
    assert told[("settling_reads_due",)] == 1
    assert [told["deliveries", word] for word in ("pending", "failed", "dead")] == [1, 1, 1]
    assert told["oldest_due_job_seconds", "apply_event"] == 480
    assert told["oldest_due_job_seconds", "settling_read"] == 540
    assert told["oldest_due_job_seconds", "delivery"] == 600
    assert told["oldest_due_job_seconds", "look_at_stripe"] == 300


def test_what_is_held_back_is_not_due(
    client: FlaskClient, runtime: Runtime, cast: Cast, clock: StandingClock
) -> None:
    _connect(runtime, cast)
    _deliver(runtime, cast)
    clock.advance(minutes=10)
    assert numbers(client)["oldest_due_job_seconds", "delivery"] == 600
    with runtime.database.write() as db:
        db.exec(select(WebhookEndpoint)).one().paused_at = clock()
        db.exec(select(Connection)).one().key_sealed = None
    told = numbers(client)
    assert told["oldest_due_job_seconds", "delivery"] == 0
    assert told["oldest_due_job_seconds", "look_at_stripe"] == 0
    assert told["deliveries", "pending"] == 1


def test_findings_are_reported_by_project_and_never_by_name(
    client: FlaskClient, runtime: Runtime, cast: Cast
) -> None:
    ours, theirs = cast.project_id, cast.stranger.project_id
    before = numbers(client)
    assert before["findings", "test", ours, "blocks"] == before["findings", "test", theirs, "blocks"] == 1
    with runtime.database.write() as db:
        make_connection(
            db, project_id=ours, secret_box=runtime.secret_box, mode=Mode.LIVE, webhook_secret=None
        )
    told = numbers(client)
    assert told["findings", "test", theirs, "blocks"] == 1
    with runtime.database.read() as db:
        facts = project_facts(
            db, runtime.secret_box, project_id=ours, base_url=runtime.settings.base_url, now=runtime.clock()
        )
    found = [finding for mode in Mode for finding in findings(facts, mode)]
    assert len({(finding.mode, finding.severity) for finding in found}) >= 2
    assert told["findings", "live", ours, "blocks"] > before["findings", "live", ours, "blocks"] == 0
    for mode in Mode:
        for severity in Severity:
            count = sum((each.mode, each.severity) == (mode, severity) for each in found)
            assert told["findings", mode.value, ours, severity.value] == count
    text = scrape(client).text
    assert cast.project_id in text
    for name in ("Our project", "Our workspace", "A project", "The tests' shop", "acct_tests", "example.com"):
        assert name not in text


def _connect(runtime: Runtime, cast: Cast) -> Connection:
    with runtime.database.write() as db:
        connection = make_connection(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        where: dict[str, Any] = {"connection_id": connection.id, "project_id": cast.project_id}
        where["mode"] = connection.mode
        db.add(StripeProbe(**where, due_at=START + timedelta(minutes=5)))
        db.add(SettlingRead(**where, object_id="sub_due", due_at=START + timedelta(minutes=1)))
        db.add(SettlingRead(**where, object_id="sub_later", due_at=START + timedelta(hours=1)))
        db.add(SettlingRead(**where, object_id="sub_done"))
        return connection


def _receive(database: Database, connection: Connection) -> None:
    states: list[dict[str, Any]] = [
        {"status": EventStatus.APPLIED},
        {"status": EventStatus.APPLIED},
        {"status": EventStatus.FAILED, "next_try_at": START + timedelta(minutes=2)},
        {"status": EventStatus.FAILED, "parked_at": START},
    ]
    with database.write() as db:
        for state in states:
            db.add(
                StripeEvent(
                    id=new_id("rcv"),
                    connection_id=connection.id,
                    event_id=new_id("evt"),
                    project_id=connection.project_id,
                    mode=connection.mode,
                    type="invoice.paid",
                    created=START,
                    payload="{}",
                    received_at=START,
                    **state,
                )
            )


def _deliver(runtime: Runtime, cast: Cast) -> None:
    with runtime.database.write() as db:
        make_endpoint(db, project_id=cast.project_id, secret_box=runtime.secret_box)
        enqueue_events(db, project_id=cast.project_id, count=4)
        rows = db.exec(select(Delivery).order_by(Delivery.id)).all()
        became = (DeliveryStatus.PENDING, DeliveryStatus.FAILED, DeliveryStatus.DEAD, DeliveryStatus.SENT)
        for row, status in zip(rows, became, strict=True):
            row.status = status
            row.next_try_at = START if status in (DeliveryStatus.PENDING, DeliveryStatus.FAILED) else None
