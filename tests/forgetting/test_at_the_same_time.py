"""A customer is erased while their payment is told of, and while they use what they have."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import httpx
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.subjects.models import Subject
from tests.forgetting.customers import Market, Person
from tests.forgetting.test_erased import rows_with
from tests.support.sizes import sizes
from tests.support.threads import join


@sizes("rounds", sqlite=(4,), postgres=(4,), soak=(40,))
def test_nothing_of_them_is_left(market: Market, sell: Callable[..., Product], rounds: int) -> None:
    sell("CREDITS", Kind.USAGE_PACK, units=1000)
    people = [
        Person(f"race_canary_{n:03}", f"race.{n:03}@canary.example", f"Note {n:03}") for n in range(rounds)
    ]
    for person in people:
        market.grant(person, "CREDITS")
        events = paid_events(market, person)
        at_once(
            partial(market.forget, person),
            partial(receive_all, market, events),
            partial(use, market, person),
            partial(open_checkout, market, person),
        )
    market.clock.advance(seconds=120)
    while market.go_on():
        market.clock.advance(seconds=5)
    market.clock.advance(seconds=120)
    while market.go_on():
        pass
    with market.parts.database.read() as db:
        subjects = db.exec(select(Subject)).all()
        assert len(subjects) == rounds
        assert all(subject.erased_at is not None for subject in subjects)
    customers = market.account.shop.stripe.v1.customers.list({"limit": 100}).data
    names = (*(name for person in people for name in person.canaries), *(each.id for each in customers))
    assert rows_with(market.rows(), names) == {}
    stored = market.bytes_of_files()
    assert [name for name in names if name.encode() in stored] == []


def paid_events(market: Market, person: Person) -> list[Any]:
    """What Stripe sends of a payment: nothing of it has been received."""
    known = {each.id for each in market.account.shop.stripe.v1.events.list({"limit": 100}).data}
    answer = open_checkout(market, person)
    paid = httpx.post(answer.json["checkout_url"], data={"action": "pay", "email": person.email})
    assert paid.status_code < 400
    events = market.account.shop.stripe.v1.events.list({"limit": 100}).data
    return [json.loads(str(each)) for each in events if each.id not in known]


def open_checkout(market: Market, person: Person) -> Any:
    asked = {"subject_ref": person.ref, "product_code": "CREDITS", "customer_email": person.email}
    return market.post("/v1/checkout/session", asked)


def receive_all(market: Market, events: Sequence[Any]) -> None:
    for event in events:
        assert market.receive(event).status_code == 200


def use(market: Market, person: Person) -> None:
    for call in range(6):
        answer = market.post(
            "/v1/usage/consume", {"subject_ref": person.ref, "units": 1}, key=f"{person.ref}-{call}"
        )
        assert answer.status_code in {200, 409}, answer.text


def at_once(*acts: Callable[[], object]) -> None:
    barrier, failed = threading.Barrier(len(acts)), list[BaseException]()

    def run(act: Callable[[], object]) -> None:
        barrier.wait(30)
        try:
            act()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    join(*threads, seconds=60)
    assert failed == []
