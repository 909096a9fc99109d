"""Webhooks in: only the right signature counts, each event counts once, and nothing acknowledged is lost."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import Entitlement, Fact, State
from licenzy.errors import NotFound
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_events.models import EventStatus, StripeEvent, UntrackedCheckout
from licenzy.stripe_events.replay import replay_event
from licenzy.subjects.models import Subject
from licenzy.worker.loop import JOBS
from tests.support.cast import Cast, make_connection, make_product, make_subject
from tests.support.clock import START, StandingClock
from tests.support.purchases import (
    event,
    invoice_object,
    make_attempt,
    session_object,
    signed,
    subscription_object,
)
from tests.support.threads import join
from tests.support.worker import work_once

SECRET = "whsec_first_0123456789abcdef"


@dataclass
class Shop:
    """A connection with a subject, a product and an open attempt, and the way to send it events."""

    client: FlaskClient
    database: Database
    connection: Connection
    attempt: CheckoutAttempt

    def send(self, value: Any, *, secret: str = SECRET, to: str | None = None, **signing: Any) -> Any:
        body, headers = signed(value, secret, **signing)
        return self.client.post(f"/v1/webhooks/stripe/{to or self.connection.id}", data=body, headers=headers)

    def all(self, model: Any) -> list[Any]:
        with self.database.read() as db:
            return list(db.exec(select(model)))

    def entitlements(self) -> list[Entitlement]:
        return self.all(Entitlement)


@pytest.fixture
def open_shop(client: FlaskClient, runtime: Runtime, cast: Cast) -> Callable[..., Shop]:
    """Open a shop that sells one product of a kind."""

    def open_one(kind: Kind = Kind.SUBSCRIPTION, **product_columns: Any) -> Shop:
        with runtime.database.write() as db:
            connection = make_connection(
                db, project_id=cast.project_id, secret_box=runtime.secret_box, webhook_secret=SECRET
            )
            subject = make_subject(db, project_id=cast.project_id)
            product = make_product(db, project_id=cast.project_id, kind=kind, **product_columns)
            attempt = make_attempt(db, connection=connection, subject=subject, product=product, quantity=2)
        return Shop(client, runtime.database, connection, attempt)

    return open_one


@pytest.fixture
def shop(open_shop: Callable[..., Shop]) -> Shop:
    return open_shop()


def test_a_paid_pack_is_granted_once(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    completed = event("checkout.session.completed", session_object(shop.attempt))
    for _ in range(3):
        assert shop.send(completed).status_code == 200
    # Another event may tell of the same purchase.
    assert shop.send(event("checkout.session.async_payment_succeeded", session_object(shop.attempt)))
    held = shop.entitlements()
    assert [(row.granted_units, row.state, row.attempt_id) for row in held] == [
        (2000, State.ACTIVE, shop.attempt.id)
    ]
    kept = {row.event_id: row for row in shop.all(StripeEvent)}
    assert kept[completed["id"]].duplicates == 2
    assert {row.status for row in kept.values()} == {EventStatus.APPLIED}
    assert kept[completed["id"]].changes[0]["before"] is None


def test_a_completed_session_settles_the_attempt_and_the_customer(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(Kind.TIME_PASS)
    shop.send(event("checkout.session.completed", session_object(shop.attempt)))
    attempt = shop.all(CheckoutAttempt)[0]
    assert (attempt.status, attempt.paid_at, attempt.amount_total) == (AttemptStatus.PAID, START, 1200)
    subject = shop.all(Subject)[0]
    assert (subject.stripe_customer_id, subject.email) == ("cus_1", "buyer@example.com")
    held = shop.entitlements()[0]
    assert (held.starts_at, held.ends_at) == (START, START + timedelta(days=2))


@pytest.mark.parametrize("missing", [{"status": None}, None], ids=["null", "absent"])
def test_a_session_of_before_2022_has_no_status_and_is_complete(
    open_shop: Callable[..., Shop], missing: dict[str, Any] | None
) -> None:
    shop = open_shop(Kind.TIME_PASS)
    session = session_object(shop.attempt, **(missing or {}))
    if missing is None:
        del session["status"]
    assert shop.send(event("checkout.session.completed", session)).status_code == 200
    assert [row.state for row in shop.entitlements()] == [State.ACTIVE]
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.PAID
    subject = shop.all(Subject)[0]
    assert (subject.stripe_customer_id, subject.email) == ("cus_1", "buyer@example.com")
    # One that Licenzy did not open is kept as untracked, as it is with a status.
    foreign = {**session, "id": "cs_foreign", "metadata": {}}
    assert shop.send(event("checkout.session.completed", foreign)).status_code == 200
    assert [row.session_id for row in shop.all(UntrackedCheckout)] == ["cs_foreign"]


def test_a_session_of_before_2022_that_expired_has_not_completed(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(Kind.TIME_PASS)
    expired = session_object(shop.attempt, status=None, payment_status="unpaid")
    assert shop.send(event("checkout.session.expired", expired)).status_code == 200
    assert shop.entitlements() == []
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.FAILED
    assert shop.all(Subject)[0].stripe_customer_id is None


def test_a_bank_debit_waits_for_its_settlement(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    unpaid = session_object(shop.attempt, payment_status="unpaid")
    shop.send(event("checkout.session.completed", unpaid))
    assert shop.entitlements() == []
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.PROCESSING
    shop.send(event("checkout.session.async_payment_succeeded", session_object(shop.attempt)))
    assert len(shop.entitlements()) == 1
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.PAID


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("checkout.session.expired", "expired"), ("checkout.session.async_payment_failed", "payment_failed")],
)
def test_attempts_that_fail(open_shop: Callable[..., Shop], kind: str, reason: str) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    shop.send(event(kind, session_object(shop.attempt, payment_status="unpaid", status="expired")))
    attempt = shop.all(CheckoutAttempt)[0]
    assert (attempt.status, attempt.reason) == (AttemptStatus.FAILED, reason)
    assert shop.entitlements() == []


def subscription_events(shop: Shop) -> list[dict[str, Any]]:
    incomplete = subscription_object(shop.attempt, status="incomplete", metadata={})
    return [
        event("checkout.session.completed", session_object(shop.attempt, subscription="sub_1")),
        event("customer.subscription.created", incomplete),
        event(
            "customer.subscription.updated",
            subscription_object(shop.attempt, metadata={}),
            previous={"status": "incomplete"},
        ),
        event("invoice.paid", invoice_object()),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_every_order_of_a_subscriptions_first_events(shop: Shop, order: tuple[int, ...]) -> None:
    """The subscription carries no metadata here: it is ours only once its session says so."""
    events = subscription_events(shop)
    for index in order:
        assert shop.send(events[index]).status_code == 200
    held = shop.entitlements()
    assert [(row.state, row.stripe_subscription_id, row.quantity) for row in held] == [
        (State.ACTIVE, "sub_1", 2)
    ]
    assert held[0].valid_until == START + timedelta(days=30)
    assert shop.all(CheckoutAttempt)[0].stripe_subscription_id == "sub_1"


def test_two_deliverers_at_once_grant_once(app: Flask, shop: Shop) -> None:
    events = subscription_events(shop)
    gate = threading.Barrier(2)
    answers: list[int] = []

    def deliver(seed: int) -> None:
        sent = [*events, *events]
        random.Random(seed).shuffle(sent)
        mine = Shop(app.test_client(), shop.database, shop.connection, shop.attempt)
        gate.wait()
        answers.extend(mine.send(each).status_code for each in sent)

    threads = [threading.Thread(target=deliver, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert answers == [200] * 16
    assert [row.state for row in shop.entitlements()] == [State.ACTIVE]
    assert len(shop.all(StripeEvent)) == 4
    assert len(shop.all(Fact)) == 4
    assert sum(row.duplicates for row in shop.all(StripeEvent)) == 12


def test_deleted_ends_it_and_a_late_update_does_not_revive_it(shop: Shop) -> None:
    for each in subscription_events(shop):
        shop.send(each)
    ended = int(START.timestamp()) + 86_400
    gone = subscription_object(shop.attempt, status="canceled", ended_at=ended, canceled_at=ended)
    shop.send(event("customer.subscription.deleted", gone, at=START + timedelta(days=1)))
    shop.send(event("customer.subscription.updated", subscription_object(shop.attempt)))
    assert [row.state for row in shop.entitlements()] == [State.CANCELED]


SIGNATURES: list[tuple[str, str | bytes]] = [
    ("none", ""),
    ("garbage", "what"),
    ("no v1", "t=1"),
    ("two t", "t=1,t=1,v1=00"),
    ("no t", "v1=00"),
    ("non-ASCII", "t=1,v1=\u00e9\u00ff".encode("latin-1")),
    ("many", "t=1," + ",".join(["v1=00"] * 5000)),
    ("long t", "t=" + "1" * 5000 + ",v1=00"),
    ("letters", "t=١٢٣,v1=00".encode()),
]


@pytest.mark.parametrize("header", [row[1] for row in SIGNATURES], ids=[row[0] for row in SIGNATURES])
def test_bad_signatures_are_refused(shop: Shop, header: str | bytes) -> None:
    body = json.dumps(event("checkout.session.completed", session_object(shop.attempt))).encode()
    text = header.decode("latin-1") if isinstance(header, bytes) else header
    answer = shop.client.post(
        f"/v1/webhooks/stripe/{shop.connection.id}",
        data=body,
        environ_overrides={"HTTP_STRIPE_SIGNATURE": text},
    )
    assert (answer.status_code, answer.get_json()["error"]) == (400, "signature_invalid")
    assert shop.all(StripeEvent) == shop.entitlements() == []


def test_every_flipped_bit_and_the_wrong_secret_are_refused(shop: Shop) -> None:
    value = event("checkout.session.completed", session_object(shop.attempt))
    assert shop.send(value, secret="whsec_other_0123456789abcdef").status_code == 400
    body, headers = signed(value, SECRET)
    chance = random.Random(7)
    for _ in range(200):
        flipped = bytearray(body)
        flipped[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        answer = shop.client.post(
            f"/v1/webhooks/stripe/{shop.connection.id}", data=bytes(flipped), headers=headers
        )
        assert answer.get_json()["error"] == "signature_invalid"
    assert shop.all(StripeEvent) == []


@pytest.mark.parametrize(
    ("seconds", "status"), [(299, 200), (-299, 200), (301, 400), (-301, 400), (86_400, 400)]
)
def test_the_tolerance_has_two_sides(shop: Shop, seconds: int, status: int) -> None:
    value = event("checkout.session.completed", session_object(shop.attempt))
    answer = shop.send(value, at=START + timedelta(seconds=seconds))
    assert answer.status_code == status
    if status == 400:
        assert answer.get_json()["error"] == "timestamp_out_of_tolerance"


def test_unknown_connections_and_bad_signatures_are_answered_alike(shop: Shop) -> None:
    value = event("checkout.session.completed", session_object(shop.attempt))
    bodies = []
    for answer in (shop.send(value, to="con_nobody"), shop.send(value, secret="whsec_wrong_0123456789ab")):
        told = answer.get_json()
        told.pop("request_id")
        bodies.append((answer.status_code, told, sorted(answer.headers.keys())))
    assert bodies[0] == bodies[1]
    assert bodies[0][1]["mode"] is None


@pytest.mark.parametrize(
    "body",
    [
        b"not json",
        b"[1,2]",
        b"null",
        b"{}",
        b'{"id":"evt_1"}',
        b'{"id":"evt_1","type":"x","object":"event"}',
        b'{"id":"evt_1","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered"}',
        b"[" * 5000,
        b"\xff\xfe",
    ],
)
def test_signed_bodies_that_are_no_event_are_kept_raw(shop: Shop, body: bytes) -> None:
    answer = shop.send(body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_event")
    assert [row.status for row in shop.all(StripeEvent)] == [EventStatus.INVALID]


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "evt_\ud800"), ("id", "evt_\x00"), ("type", "x\ud800"), ("type", "\x00"), ("created", True)],
)
def test_an_envelope_no_database_can_keep_is_no_event(shop: Shop, field: str, value: Any) -> None:
    spoilt = event("checkout.session.completed", session_object(shop.attempt))
    spoilt[field] = value
    answer = shop.send(spoilt)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_event")
    assert [row.status for row in shop.all(StripeEvent)] == [EventStatus.INVALID]


@pytest.mark.parametrize("word", ["a\ud800b", "a\x00b"])
def test_words_no_database_can_keep_lose_no_purchase(open_shop: Callable[..., Shop], word: str) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    buyer = {"email": f"{word}@example.com", "name": word}
    value = event("checkout.session.completed", session_object(shop.attempt, customer_details=buyer))
    value["api_version"] = word
    assert shop.send(value).status_code == 200
    assert [row.granted_units for row in shop.entitlements()] == [2000]
    odd = subscription_object(shop.attempt, id=f"sub_{word}", status=word)
    assert shop.send(event("customer.subscription.updated", odd)).status_code == 200
    assert len(shop.all(StripeEvent)) == 2


def test_strangers_at_the_tenant_address_are_slowed_down(shop: Shop) -> None:
    value = event("customer.created", {"id": "cus_1"})
    elsewhere = {"REMOTE_ADDR": "192.0.2.7"}
    codes = []
    for _ in range(40):
        body, headers = signed(value, "whsec_wrong_0123456789ab")
        answer = shop.client.post(
            "/v1/webhooks/stripe/tenant", data=body, headers=headers, environ_overrides=elsewhere
        )
        codes.append(answer.status_code)
    assert (codes[0], codes[-1]) == (400, 429)
    assert answer.headers["Retry-After"].isdigit()
    # Others, and the address that names its connection, are not slowed down.
    assert shop.send(value, to="tenant").status_code == 200


def test_size_and_method(shop: Shop) -> None:
    assert shop.send(b"x" * (1024 * 1024 + 1)).get_json()["error"] == "payload_too_large"
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert shop.client.open(f"/v1/webhooks/stripe/{shop.connection.id}", method=method).status_code == 405


def test_an_event_of_the_other_mode_is_kept_and_never_applied(open_shop: Callable[..., Shop]) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    value = event("checkout.session.completed", session_object(shop.attempt), livemode=True)
    assert shop.send(value).status_code == 200
    assert shop.send(value).status_code == 200
    assert [row.status for row in shop.all(StripeEvent)] == [EventStatus.WRONG_MODE]
    assert shop.entitlements() == []


def test_a_thin_event_is_refused_with_what_to_change(shop: Shop) -> None:
    thin = {
        "id": "evt_thin",
        "object": "v2.core.event",
        "type": "v1.checkout.session.completed",
        "created": "2026-11-30T08:00:00.000Z",
        "livemode": False,
        "related_object": {"id": "cs_1", "type": "checkout.session", "url": "/v1/checkout/sessions/cs_1"},
    }
    answer = shop.send(thin)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_event")
    assert "thin event" in answer.get_json()["message"]
    assert "payload style Snapshot" in answer.get_json()["hint"]
    (kept,) = shop.all(StripeEvent)
    assert (kept.status, kept.note) == (
        EventStatus.INVALID,
        "This is a thin event. Licenzy needs snapshot events.",
    )


@pytest.mark.parametrize("known_account", ["acct_tests", None])
def test_an_event_of_another_account_is_kept_and_never_applied(
    open_shop: Callable[..., Shop], runtime: Runtime, known_account: str | None
) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    with runtime.database.write() as db:
        connection = db.get(Connection, shop.connection.id)
        assert connection is not None
        connection.account_id, connection.proven_at = known_account, None
    value = event("checkout.session.completed", session_object(shop.attempt))
    theirs = {**value, "id": "evt_theirs", "account": "acct_connected"}
    assert shop.send(theirs).status_code == shop.send(theirs).status_code == 200
    (kept,) = shop.all(StripeEvent)
    assert (kept.status, kept.duplicates) == (EventStatus.WRONG_ACCOUNT, 1)
    assert kept.note == "It is from the Stripe account acct_connected."
    assert (shop.entitlements(), shop.all(Connection)[0].proven_at) == ([], None)
    work_once(runtime)
    replay = partial(replay_event, runtime.database, Scope.of(shop.connection), clock=StandingClock())
    with pytest.raises(NotFound):
        replay(event_id="evt_theirs")
    # Only what names another account is refused: the connection's own account may be named too.
    assert shop.send({**value, "account": known_account}).status_code == 200
    assert [row.granted_units for row in shop.entitlements()] == [2000]


def test_an_event_that_was_stored_before_its_account_counted_is_not_applied_again(
    open_shop: Callable[..., Shop], runtime: Runtime
) -> None:
    shop = open_shop(Kind.USAGE_PACK)
    value = event("checkout.session.completed", session_object(shop.attempt))
    assert shop.send({**value, "account": "acct_connected"}).status_code == 200
    with runtime.database.write() as db:
        db.exec(select(StripeEvent)).one().status = EventStatus.FAILED
    replayed = replay_event(
        runtime.database,
        Scope.of(shop.connection),
        event_id=value["id"],
        clock=StandingClock(),
    )
    assert (replayed.status, shop.entitlements()) == (EventStatus.WRONG_ACCOUNT, [])


def test_what_is_not_ours_is_ignored(shop: Shop) -> None:
    foreign = session_object(shop.attempt, id="cs_foreign", metadata={"licenzy_attempt": "att_nobody"})
    for value in (
        event("customer.created", {"id": "cus_9", "object": "customer"}),
        event("checkout.session.completed", foreign),
        event("checkout.session.completed", session_object(shop.attempt, mode="setup")),
        event("invoice.paid", invoice_object("sub_foreign")),
        event("customer.subscription.created", subscription_object(shop.attempt, id="sub_f", metadata={})),
    ):
        assert shop.send(value).status_code == 200
    assert {row.status for row in shop.all(StripeEvent)} == {EventStatus.IGNORED}
    assert shop.entitlements() == []


def test_an_attempt_named_by_another_project_is_not_theirs(shop: Shop, runtime: Runtime, cast: Cast) -> None:
    """Metadata is only a name: an attempt of ours, echoed on a stranger's account, grants nothing."""
    with runtime.database.write() as db:
        theirs = make_connection(
            db,
            project_id=cast.stranger.project_id,
            secret_box=runtime.secret_box,
            webhook_secret="whsec_theirs_0123456",
        )
    value = event("checkout.session.completed", session_object(shop.attempt, subscription="sub_1"))
    assert shop.send(value, secret="whsec_theirs_0123456", to=theirs.id).status_code == 200
    assert shop.send(value, secret=SECRET, to=theirs.id).status_code == 400
    assert shop.send(value, secret="whsec_theirs_0123456").status_code == 400
    assert shop.entitlements() == []
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.OPEN


def test_only_the_diagonal_of_connections_and_secrets_is_accepted(
    client: FlaskClient, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        connections = {}
        for project in (cast.project_id, cast.stranger.project_id):
            for mode in Mode:
                secret = f"whsec_{project[-6:]}_{mode}_0123456789"
                made = make_connection(
                    db, project_id=project, secret_box=runtime.secret_box, mode=mode, webhook_secret=secret
                )
                connections[made.id] = (mode, secret)
    for to, (mode, own) in connections.items():
        for _, secret in connections.values():
            value = event("customer.created", {"id": "cus_1"}, livemode=mode.livemode)
            body, headers = signed(value, secret)
            answer = client.post(f"/v1/webhooks/stripe/{to}", data=body, headers=headers)
            assert answer.status_code == (200 if secret == own else 400)


def test_the_tenant_address_finds_the_connection(shop: Shop) -> None:
    value = event("checkout.session.completed", session_object(shop.attempt, subscription="sub_1"))
    assert shop.send(value, to="tenant").status_code == 200
    assert [row.connection_id for row in shop.all(StripeEvent)] == [shop.connection.id]
    assert shop.send(value, to="tenant", secret="whsec_wrong_0123456789ab").status_code == 400
    live = event("checkout.session.completed", session_object(shop.attempt), livemode=True)
    assert shop.send(live, to="tenant").status_code == 400


def test_a_secret_shared_by_two_connections_proves_neither_at_the_tenant_address(
    shop: Shop, runtime: Runtime, cast: Cast
) -> None:
    with runtime.database.write() as db:
        make_connection(
            db, project_id=cast.stranger.project_id, secret_box=runtime.secret_box, webhook_secret=SECRET
        )
    value = event("customer.created", {"id": "cus_1"})
    assert shop.send(value, to="tenant").get_json()["error"] == "signature_invalid"
    assert shop.all(StripeEvent) == []


def test_an_event_that_cannot_be_applied_is_kept_and_tried_again(
    shop: Shop, runtime: Runtime, clock: StandingClock
) -> None:
    # Of all jobs this one alone: others would ask Stripe, which is not there, and wait.
    apply_due_events = partial(JOBS["apply due events"], runtime)
    broken = subscription_object(shop.attempt, items={"data": []})
    value = event("customer.subscription.updated", broken)
    assert shop.send(value).status_code == 200
    kept = shop.all(StripeEvent)[0]
    assert (kept.status, kept.tries) == (EventStatus.FAILED, 1)
    assert "without items" in kept.note
    assert shop.all(Fact) == []
    assert apply_due_events() == 0
    for tries in range(2, 9):
        clock.advance(hours=2)
        assert apply_due_events() == 1
        assert shop.all(StripeEvent)[0].tries == tries
    parked = shop.all(StripeEvent)[0]
    assert parked.parked_at == clock.now
    clock.advance(hours=2)
    assert apply_due_events() == 0


def test_a_poison_event_does_not_hold_up_others(shop: Shop, runtime: Runtime) -> None:
    shop.send(event("customer.subscription.updated", subscription_object(shop.attempt, status=None)))
    for each in subscription_events(shop):
        shop.send(each)
    assert [row.state for row in shop.entitlements()] == [State.ACTIVE]


def test_the_first_retry_comes_within_a_minute(shop: Shop, runtime: Runtime, clock: StandingClock) -> None:
    shop.send(event("customer.subscription.updated", subscription_object(shop.attempt, items={})))
    clock.advance(seconds=60)
    assert work_once(runtime) == 1


def test_a_redirect_without_its_webhook_grants_nothing(shop: Shop) -> None:
    for address in ("/checkout/done", f"/checkout/done?session_id={shop.attempt.stripe_checkout_session_id}"):
        assert shop.client.get(address).status_code == 200
    assert shop.entitlements() == []
    assert shop.all(CheckoutAttempt)[0].status is AttemptStatus.OPEN
