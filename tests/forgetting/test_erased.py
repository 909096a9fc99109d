"""A customer is erased: nothing that names them is left anywhere, and all else is as it was."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.entitlements.models import Entitlement
from licenzy.errors import CustomerErased, InvalidRequest, NotFound
from licenzy.forgetting import actions
from licenzy.forgetting.names import Names, scrubbed
from licenzy.forgetting.steps import STEPS
from licenzy.imports.actions import keep_file
from licenzy.imports.csv_files import checked_csv, without_lines_of
from licenzy.stripe_events.models import EventStatus, StripeEvent
from licenzy.subjects.models import Erasure, Subject
from licenzy.subjects.queries import subject_by_ref
from tests.forgetting.customers import Market, Person
from tests.support.endpoints import make_endpoint
from tests.support.receivers import Receiver, Request, receiver

ADA = Person("ada_canary_ref_7", "ada.canary@example.com", "Ada Canary of Canary Lane asked on the phone")
BOB = Person("bob_other_ref_8", "bob.other@example.com", "Bob asked")


@pytest.fixture
def echo() -> Iterator[Receiver]:
    """A receiver that answers with what it was sent, and a failure for every other one."""

    def answer(sock: socket.socket, request: Request) -> None:
        status = b"200 OK" if len(made.requests) % 2 else b"500 No"
        length = str(len(request.body)).encode()
        sock.sendall(
            b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\nConnection: close\r\n\r\n"
        )
        sock.sendall(request.body)

    with receiver(answer) as made:
        yield made


@pytest.fixture
def sold(market: Market, sell: Callable[..., Product], echo: Receiver) -> Market:
    """Two customers who did the same things."""
    sell("PRO", Kind.SUBSCRIPTION)
    sell("CREDITS", Kind.USAGE_PACK, units=1000)
    parts = market.parts
    with parts.database.write() as db:
        make_endpoint(
            db,
            project_id=market.account.shop.project_id,
            secret_box=parts.secret_box,
            url=echo.url,
            now=market.clock(),
        )
    for person in (ADA, BOB):
        live_through(market, person)
    csv = "subject_ref,email\n" + "".join(f"{each.ref},{each.email}\n" for each in (ADA, BOB))
    import_id = market.account.read(map_csv=csv)
    with parts.database.write() as db:
        access = "subject_ref,product_code\n" + "".join(f"{each.ref},PRO\n" for each in (ADA, BOB))
        keep_file(
            db, market.scope, import_id=import_id, file=checked_csv("compare", "a.csv", access.encode())
        )
    market.send()
    return market


def live_through(market: Market, person: Person) -> None:
    """Everything that leaves a trace: purchases, use, a refund, grants, imports, what failed."""
    shop = market.account.shop
    market.buy(person, "PRO")
    session = shop.stripe.v1.checkout.sessions.retrieve(market.buy(person, "CREDITS"))
    customer = shop.stripe.v1.customers.update(
        str(session.customer), {"name": person.note, "metadata": {"user": person.ref}}
    )
    consumed = {"subject_ref": person.ref, "units": 30}
    for _call in range(2):
        answer = market.post("/v1/usage/consume", consumed, key=f"use-{person.ref}-1")
        assert answer.json["consumed"] == 30
    market.post("/v1/usage/consume", {**consumed, "units": 10**6})
    for ending in ("commit", "release", None):
        made = market.post("/v1/usage/reserve", {**consumed, "units": 5, "ttl_seconds": 600})
        assert made.status_code == 201, made.text
        if ending is not None:
            path = f"/v1/usage/reservations/{made.json['reservation_id']}/{ending}"
            assert market.post(path, {"units": 5} if ending == "commit" else {}).status_code == 200
    refuse(market, person)
    market.buy_past_licenzy(person, "CREDITS")
    market.grant(person, "CREDITS")
    shop.stripe.v1.refunds.create({"payment_intent": str(session.payment_intent), "amount": 100})
    market.post_events()
    unreadable = {
        "id": f"evt_broken_{len(person.note)}",
        "object": "event",
        "type": "customer.subscription.updated",
        "created": int(market.clock().timestamp()),
        "livemode": False,
        "data": {
            "object": {"id": subscription_of(market, person), "customer": customer.id, "note": person.note}
        },
    }
    market.receive(unreadable)
    old = market.account.customer(email=person.email, metadata={"user": person.ref})
    market.account.subscribe(old, market.account.price(777))


def refuse(market: Market, person: Person) -> None:
    """Calls that name the customer and are refused, and reads of what they have."""
    named = {"subject_ref": person.ref}
    unknown = {**named, "product_code": "NONE", "customer_email": person.email}
    assert market.post("/v1/checkout/session", unknown).status_code == 404
    assert market.post("/v1/usage/consume", {**named, "units": -1}).status_code == 400
    assert market.post("/v1/access/check", {**named, "email": person.email}).status_code == 400
    again = {**named, "product_code": "PRO", "customer_email": f"other.{person.email}"}
    assert market.post("/v1/checkout/session", again, key=f"checkout-{person.ref}-PRO").status_code == 409
    assert market.get(f"/v1/entitlements/{person.ref}").status_code == 200
    assert market.get(f"/v1/customer/access/{person.ref}").status_code == 200


def subscription_of(market: Market, person: Person) -> str:
    with market.parts.database.read() as db:
        subject = subject_by_ref(db, market.scope, subject_ref=person.ref)
        assert subject is not None
        rows = db.exec(select(Entitlement).where(Entitlement.subject_id == subject.id)).all()
    return next(str(row.stripe_subscription_id) for row in rows if row.stripe_subscription_id)


def cancel(market: Market, person: Person) -> None:
    market.account.act("cancel", subscription=subscription_of(market, person))
    market.post_events()


def names_of(market: Market, person: Person) -> tuple[str, ...]:
    with market.parts.database.read() as db:
        subject = subject_by_ref(db, market.scope, subject_ref=person.ref)
        assert subject is not None
        assert subject.stripe_customer_id is not None
    return *person.canaries, subject.stripe_customer_id


def rows_with(rows: dict[str, list[str]], names: tuple[str, ...]) -> dict[str, list[str]]:
    found = {
        table: [row for row in each if any(name in row for name in names)] for table, each in rows.items()
    }
    return {table: each for table, each in found.items() if each}


SUMS = {
    "entitlements": "SELECT sum(granted_units), sum(used_units), count(*) FROM entitlements",
    "ledger": "SELECT sum(units), count(*) FROM usage_ledger",
    "money": "SELECT sum(amount_total), count(*) FROM checkout_attempts WHERE status = 'paid'",
    "facts": "SELECT count(*), count(DISTINCT purchase_key) FROM facts WHERE purchase_key IS NOT NULL",
}


def sums(market: Market) -> dict[str, Any]:
    with market.parts.database.read() as db:
        return {name: tuple(db.execute(text(each)).one()) for name, each in SUMS.items()}


def test_nothing_that_names_the_customer_is_left_and_all_else_is_as_it_was(
    sold: Market, caplog: pytest.LogCaptureFixture
) -> None:
    cancel(sold, ADA)
    sold.send()
    names, others = names_of(sold, ADA), names_of(sold, BOB)
    before, counted, of_bob = sold.rows(), sums(sold), rows_with(sold.rows(), others)
    where = set(rows_with(before, names))
    # So that the test cannot pass by storing nothing.
    assert where >= {
        "subjects", "facts", "checkout_attempts", "stripe_events", "outbound_events", "delivery_attempts",
        "idempotency_keys", "audit_log", "import_rows", "import_files", "untracked_checkouts",
    }  # fmt: skip

    with caplog.at_level(logging.DEBUG, "licenzy"):
        assert sold.forget(ADA).was_before is False
        access = sold.post("/v1/access/check", {"subject_ref": ADA.ref})
        assert access.json["allowed"] is False
        sold.erase()

    rows = sold.rows()
    assert rows_with(rows, names) == {}
    stored = sold.bytes_of_files()
    assert BOB.ref.encode() in stored
    assert [name for name in names if name.encode() in stored] == []
    assert [name for name in names if name in caplog.text] == []
    shared = {"import_files"}  # The merchant's own CSV lists both.
    assert of_bob.keys() >= where - {"lab_steps"}
    after = rows_with(rows, others)
    assert {t: r for t, r in after.items() if t not in shared} == {
        t: r for t, r in of_bob.items() if t not in shared
    }
    assert sums(sold) == counted
    assert sold.forget(ADA).was_before is True


def test_later_events_are_ignored_and_leave_no_byte(sold: Market) -> None:
    names = names_of(sold, ADA)
    session = next(
        each for each in sold.account.shop.sessions() if each.mode == "payment" and each.customer == names[-1]
    )
    cancel(sold, ADA)
    sold.forget(ADA)
    sold.erase()
    shop = sold.account.shop
    shop.stripe.v1.refunds.create({"payment_intent": str(session.payment_intent), "amount": 50})
    shop.stripe.v1.customers.update(names[-1], {"name": f"{ADA.note} again"})
    sold.account.subscribe(names[-1], sold.account.price(900))
    counted, known = sums(sold), sold.rows()["stripe_events"]
    sold.post_events()
    with sold.parts.database.read() as db:
        events = db.exec(select(StripeEvent).where(StripeEvent.payload == "")).all()
        late = [each for each in events if json.dumps(each.id) not in "".join(known)]
    assert {each.status for each in late} == {EventStatus.IGNORED}
    assert {"customer.updated", "charge.refunded", "customer.subscription.created"} <= {
        each.type for each in late
    }
    assert rows_with(sold.rows(), names) == {}
    # A payment of an invoice names nobody, so that it is kept.
    assert {**sums(sold), "facts": None} == {**counted, "facts": None}


def test_the_ref_is_refused_afterwards(sold: Market) -> None:
    cancel(sold, ADA)
    sold.forget(ADA)
    sold.erase()
    for path, body in (
        ("/v1/checkout/session", {"product_code": "PRO"}),
        ("/v1/billing/portal-session", {"return_url": "https://shop.example"}),
    ):
        answer = sold.post(path, {"subject_ref": ADA.ref, **body}, key=f"again-{path[4:12]}")
        assert (answer.status_code, answer.json["error"]) == (404, "customer_not_found"), answer.text
    consumed = sold.post("/v1/usage/consume", {"subject_ref": ADA.ref, "units": 1}, key=f"use-{ADA.ref}-1")
    assert (consumed.status_code, consumed.json["error"]) == (409, "insufficient_usage")
    with pytest.raises(CustomerErased):
        sold.grant(ADA, "CREDITS")


def test_a_live_subscription_is_in_the_way(sold: Market) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sold.forget(ADA)
    assert subscription_of(sold, ADA) in refused.value.message
    assert subscription_of(sold, BOB) not in refused.value.message
    with sold.parts.database.read() as db:
        assert db.exec(select(Erasure)).all() == []
        assert db.exec(select(Subject).where(Subject.erased_at != None)).all() == []  # noqa: E711


def test_what_was_reserved_is_returned(sold: Market) -> None:
    cancel(sold, ADA)
    forgotten = sold.forget(ADA)
    with sold.parts.database.read() as db:
        rows = db.exec(select(Entitlement).where(Entitlement.subject_id == forgotten.subject_id)).all()
    assert sum(row.reserved_units for row in rows) == 0


def test_nobody_is_not_found(market: Market) -> None:
    with pytest.raises(NotFound):
        market.forget(ADA)


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_any_step_another_process_goes_on(
    sold: Market, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cancel(sold, ADA)
    names = names_of(sold, ADA)
    sold.forget(ADA)

    def killed(*_: Any) -> None:
        raise SystemError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(actions, "STEPS", {**STEPS, step: killed})
        with pytest.raises(SystemError):
            sold.go_on()
    assert not sold.go_on()
    sold.clock.advance(seconds=90)
    sold.erase()
    assert rows_with(sold.rows(), names) == {}


CSV = """subject_ref,email
someone_else,other@example.com
ada_canary_ref_7,ada@example.com
"two
lines",quoted@example.com
user_9,ADA.Canary@example.com
last,x@example.com"""


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_only_lines_that_name_the_customer_go_from_a_file(delimiter: str) -> None:
    """However spreadsheets save it: with semicolons, tabs, and what keeps a cell from being a formula."""
    text = CSV.replace(",", delimiter)
    expected = [line for line in text.splitlines(keepends=True) if "ada" not in line.lower()]
    assert len(expected) == len(text.splitlines()) - 2
    assert without_lines_of(text, {ADA.ref, ADA.email}) == "".join(expected)
    assert without_lines_of(text.replace("\n", "\r\n"), {"nobody"}) == text.replace("\n", "\r\n")
    phone = f"subject_ref{delimiter}email\n'+4915112345678{delimiter}a@example.com\n"
    assert without_lines_of(phone, {"+4915112345678"}) == f"subject_ref{delimiter}email\n"
    assert without_lines_of(text, {"email", "subject_ref"}) == text, "the header names nobody"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("No such customer: cus_123456.", "No such customer: [erased]."),
        ("cus_1234567 is another", "cus_1234567 is another"),
        ("Müller_77 and m\\u00fcller_77", "[erased] and [erased]"),
        ("/done?for=m%C3%BCller_77&to=m%c3%bcller_77", "/done?for=[erased]&to=[erased]"),
        ("pro is a product", "pro is a product"),
    ],
)
def test_names_are_replaced_as_whole_words(text: str, clean: str) -> None:
    pattern = Names("müller_77", ("cus_123456",), ("pro",)).pattern()
    assert scrubbed({"said": [text]}, pattern) == {"said": [clean]}
