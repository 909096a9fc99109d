"""A delivery's way: signed, sent, tried again on schedule, disabled when the receiver is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from sqlmodel import col, select
from standardwebhooks import Webhook, WebhookVerificationError

from licenzy.alignment.modes import Mode
from licenzy.db.unit_of_work import Database
from licenzy.deliveries import actions, rules
from licenzy.deliveries.actions import EndpointContext
from licenzy.deliveries.models import (
    Delivery,
    DeliveryAttempt,
    DeliveryStatus,
    WebhookEndpoint,
)
from licenzy.deliveries.outbox import requeue
from licenzy.deliveries.queries import failing_endpoints
from licenzy.deliveries.sending import Sender
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from licenzy.workspace.audit_wording import who
from licenzy.workspace.models import AuditEntry
from tests.support.cast import Cast, make_subject
from tests.support.clock import StandingClock
from tests.support.endpoints import enqueue_events, make_endpoint
from tests.support.receivers import Receiver, answering, receiver, status
from tests.support.sending import drain


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def secret(database: Database, cast: Cast, runtime: Runtime, hook: Receiver, clock: StandingClock) -> str:
    """An endpoint at `hook`; its secret."""
    with database.write() as db:
        return make_endpoint(
            db, project_id=cast.project_id, secret_box=runtime.secret_box, url=hook.url, now=clock()
        )[1]


def only_delivery(database: Database) -> Delivery:
    with database.read() as db:
        return db.exec(select(Delivery)).one()


def the_endpoint(database: Database) -> WebhookEndpoint:
    with database.read() as db:
        return db.exec(select(WebhookEndpoint)).one()


def happen(database: Database, cast: Cast, clock: StandingClock, count: int = 1) -> None:
    with database.write() as db:
        enqueue_events(db, project_id=cast.project_id, count=count, now=clock())


def test_it_arrives_signed(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    clock.now = datetime.now(UTC)  # The reference library knows the real time only.
    with database.write() as db:
        subject = make_subject(db, project_id=cast.project_id, subject_ref="käufer/1 😀")
        enqueue_events(db, project_id=cast.project_id, subject_id=subject.id, now=clock())
    assert drain(sender) == 1
    (request,) = hook.requests
    told: dict[str, Any] = Webhook(secret).verify(request.body, request.headers)
    assert told["subject_ref"] == "käufer/1 😀"
    assert told["id"] == request.headers["webhook-id"]
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    row = only_delivery(database)
    assert (row.status, row.attempts, row.last_status, row.next_try_at) == (DeliveryStatus.SENT, 1, 200, None)
    assert drain(sender) == 0


def test_any_flipped_byte_is_refused(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    clock.now = datetime.now(UTC)
    happen(database, cast, clock)
    drain(sender)
    (request,) = hook.requests
    for place in range(len(request.body)):
        flipped = bytearray(request.body)
        flipped[place] ^= 1
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(bytes(flipped).decode("latin-1"), request.headers)
    event_id = request.headers["webhook-id"]
    for place in range(len(event_id)):
        other = event_id[:place] + ("a" if event_id[place] != "a" else "b") + event_id[place + 1 :]
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(request.body, {**request.headers, "webhook-id": other})


def test_while_a_secret_is_rotated_both_sign(
    database: Database,
    cast: Cast,
    clock: StandingClock,
    runtime: Runtime,
    hook: Receiver,
    secret: str,
    sender: Sender,
) -> None:
    clock.now = datetime.now(UTC)
    with database.write() as db:
        context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())
        endpoint_id = the_endpoint(database).id
        _endpoint, newer = actions.rotate_secret(
            db, runtime.secret_box, context, endpoint_id=endpoint_id, overlap=timedelta(hours=24)
        )
    happen(database, cast, clock)
    drain(sender)
    (request,) = hook.requests
    assert request.headers["webhook-signature"].count("v1,") == 2
    for each in (secret, newer):
        Webhook(each).verify(request.body, request.headers)
    clock.advance(hours=24)
    happen(database, cast, clock)
    drain(sender)
    assert hook.requests[-1].headers["webhook-signature"].count("v1,") == 1


def test_secrets_are_sealed(database: Database, secret: str, runtime: Runtime) -> None:
    row = the_endpoint(database)
    assert row.secret_sealed is not None
    assert secret not in json.dumps(row.model_dump(mode="json"))
    assert secret[6:20] not in row.secret_masked
    with pytest.raises(Exception, match="another row"):
        runtime.secret_box.decrypt(row.secret_sealed, bound_to="webhook_endpoint:whe_other:secret")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(500, body=b"broken <b>badly</b>"), "The endpoint answered 500."),
        (status(302, "Location: http://127.0.0.1:1/elsewhere"), "The endpoint answered 302."),
        (answering(b"no HTTP at all\r\n\r\n"), "The answer is not valid HTTP."),
        (answering(b""), "The connection was closed before an answer arrived."),
    ],
)
def test_what_is_no_success_is_tried_again(
    database: Database,
    cast: Cast,
    clock: StandingClock,
    hook: Receiver,
    secret: str,
    sender: Sender,
    answer: Any,
    error: str,
) -> None:
    hook.answer = answer
    happen(database, cast, clock)
    assert drain(sender) == 1
    row = only_delivery(database)
    assert (row.status, row.tries, row.last_error) == (DeliveryStatus.FAILED, 1, error)
    assert the_endpoint(database).failing_since == clock()
    hook.answer = status(204)
    clock.advance(seconds=6)
    assert drain(sender) == 1
    row = only_delivery(database)
    assert (row.status, row.attempts, row.last_status, row.last_error) == (DeliveryStatus.SENT, 2, 204, None)
    assert the_endpoint(database).failing_since is None
    assert len({request.headers["webhook-id"] for request in hook.requests}) == 1


def test_the_schedule_is_followed_to_its_end(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    hook.answer = status(503)
    happen(database, cast, clock)
    began = clock()
    expected = timedelta(0)
    for number, delay in enumerate((timedelta(0), *rules.DELAYS), start=1):
        expected += delay
        while drain(sender) == 0:
            due = only_delivery(database).next_try_at
            assert due is not None
            assert due > clock(), "what is due is sent"
            clock.now = due
        assert abs((clock() - began) - expected) <= 0.2 * expected
        assert len(hook.requests) == number
    row = only_delivery(database)
    assert (row.status, row.attempts, row.next_try_at) == (DeliveryStatus.DEAD, 10, None)
    assert timedelta(hours=67) < clock() - began < timedelta(hours=84)
    with database.write() as db:
        context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())
        assert requeue(db, context, delivery_id=row.id) == 1
    hook.answer = status(200)
    assert drain(sender) == 1
    row = only_delivery(database)
    assert (row.status, row.attempts, row.tries) == (DeliveryStatus.SENT, 11, 1)
    assert len({request.headers["webhook-id"] for request in hook.requests}) == 1
    with database.read() as db:
        numbers = db.exec(select(DeliveryAttempt.number).order_by(col(DeliveryAttempt.number))).all()
    assert list(numbers) == list(range(1, 12))


def test_who_asks_to_be_left_alone_is_left_alone(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    hook.answer = status(429, "Retry-After: 600")
    happen(database, cast, clock)
    drain(sender)
    assert only_delivery(database).next_try_at == clock() + timedelta(seconds=600)


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        ("as a date", None),
        ("120", 120),
        ("0", 0),
        ("-5", 0),
        ("1e3", 0),
        ("\xb2", 0),
        ("9" * 5000, 86_400),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 99 Jan 2024 99:99:99 GMT", 0),
        ("soon", 0),
        ("", 0),
    ],
)
def test_nothing_that_a_receiver_asks_for_stops_the_sender(
    database: Database,
    cast: Cast,
    clock: StandingClock,
    hook: Receiver,
    secret: str,
    sender: Sender,
    value: str,
    waits: int | None,
) -> None:
    """`waits` are seconds; none is an hour from now, as a date."""
    if waits is None:
        value, waits = format_datetime(clock() + timedelta(hours=1), usegmt=True), 3600
    head = b"HTTP/1.1 503 Busy\r\nRetry-After: " + value.encode("latin-1")
    hook.answer = answering(head + b"\r\nContent-Length: 0\r\n\r\n")
    happen(database, cast, clock)
    assert drain(sender) == 1
    due = only_delivery(database).next_try_at
    assert due is not None
    wanted = max(waits, 5)
    assert wanted * 0.85 <= (due - clock()).total_seconds() <= wanted * 1.15


def test_who_is_gone_is_not_asked_again(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    hook.answer = status(410)
    happen(database, cast, clock, count=3)
    drain(sender)
    endpoint = the_endpoint(database)
    assert (endpoint.disabled_at, endpoint.disabled_reason) == (clock(), "gone")
    with database.read() as db:
        (entry,) = db.exec(select(AuditEntry).where(AuditEntry.action == "webhook_endpoint.disabled")).all()
    assert (entry.about, entry.project_id, who(entry, {})) == (endpoint.id, cast.project_id, "Licenzy")
    clock.advance(days=1)
    sent = len(hook.requests)
    assert drain(sender) == 0
    happen(database, cast, clock)
    assert len(hook.requests) == sent
    with database.read() as db:
        assert len(db.exec(select(Delivery)).all()) == 3, "nothing is written for who is gone"


def test_only_failures_for_120_hours_disable(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    hook.answer = status(500)
    happen(database, cast, clock)
    drain(sender)
    clock.advance(hours=119)
    drain(sender)
    assert the_endpoint(database).disabled_at is None
    clock.advance(hours=2)
    happen(database, cast, clock)
    drain(sender)
    endpoint = the_endpoint(database)
    assert (endpoint.disabled_at, endpoint.disabled_reason) == (clock(), "failing")


def test_what_waits_while_paused_is_sent_after(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())
    endpoint_id = the_endpoint(database).id
    with database.write() as db:
        actions.pause_endpoint(db, context, endpoint_id=endpoint_id)
    happen(database, cast, clock, count=5)
    assert drain(sender) == 0
    with database.write() as db:
        actions.resume_endpoint(db, context, endpoint_id=endpoint_id)
    assert drain(sender) == 5
    assert len(hook.requests) == 5


def test_a_sender_that_dies_leaves_a_trace_and_another_takes_over(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    from licenzy.deliveries.claims import LEASE, claim_due

    happen(database, cast, clock)
    with database.write() as db:
        (claim,) = claim_due(db, room={the_endpoint(database).id: 5}, now=clock())
    assert drain(sender) == 0, "somebody has it"
    clock.advance(seconds=LEASE.lasts.total_seconds())
    assert drain(sender) == 1
    assert only_delivery(database).status is DeliveryStatus.SENT
    with database.read() as db:
        tries = db.exec(select(DeliveryAttempt).order_by(col(DeliveryAttempt.number))).all()
    assert [(each.number, each.status) for each in tries] == [(1, None), (2, 200)]
    assert claim.number == 1


def test_without_the_encryption_key_everything_waits(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, runtime: Runtime
) -> None:
    from cryptography.fernet import Fernet

    from licenzy.kit.outbound_http import OutboundHttp

    happen(database, cast, clock)
    other = Sender(
        database,
        SecretBox([Fernet.generate_key().decode()]),
        OutboundHttp(private_allowed=True),
        clock=runtime.clock,
    )
    assert drain(other) == 0
    other.close()
    row = only_delivery(database)
    assert (row.status, row.attempts) == (DeliveryStatus.PENDING, 0)


def test_a_deleted_endpoint_gets_nothing_more(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())
    happen(database, cast, clock)
    with database.write() as db:
        actions.delete_endpoint(db, context, endpoint_id=the_endpoint(database).id)
        assert requeue(db, context) == 0
    assert drain(sender) == 0
    row = only_delivery(database)
    assert (row.status, row.last_error) == (DeliveryStatus.DEAD, "The endpoint was deleted.")
    assert the_endpoint(database).secret_sealed is None


def test_what_a_receiver_answers_is_kept_short_and_plain(
    database: Database, cast: Cast, clock: StandingClock, hook: Receiver, secret: str, sender: Sender
) -> None:
    hook.answer = status(500, body=b"\x00\xff" + b"x" * 10_000)
    happen(database, cast, clock)
    drain(sender)
    with database.read() as db:
        answer = db.exec(select(DeliveryAttempt)).one().answer
    assert answer is not None
    assert len(answer) == 2048
    assert "\x00" not in answer


def test_an_endpoint_in_trouble_is_a_finding(
    database: Database,
    cast: Cast,
    clock: StandingClock,
    hook: Receiver,
    secret: str,
    sender: Sender,
) -> None:
    def seen() -> list[str]:
        with database.read() as db:
            facts = failing_endpoints(db, Scope(cast.project_id, Mode.TEST), now=clock())
        assert {fact.url for fact in facts} <= {hook.url}
        return [fact.last_error for fact in facts]

    hook.answer = status(500)
    happen(database, cast, clock)
    drain(sender)
    assert seen() == [], "a hiccup is none"
    clock.advance(minutes=11)
    assert seen() == ["The endpoint answered 500."]
    hook.answer = status(410)
    drain(sender)
    assert seen() == ["The endpoint answered 410 Gone and is disabled."]
    with database.write() as db:
        context = EndpointContext(Scope(cast.project_id, Mode.TEST), Actor(), clock())
        actions.resume_endpoint(db, context, endpoint_id=the_endpoint(database).id)
    assert seen() == []
