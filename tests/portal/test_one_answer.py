"""Whoever is asked whether a subject may proceed says the same, and for the same reason."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.db.unit_of_work import Database
from licenzy.entitlements.models import State
from tests.portal.set_up_side import SidePages, side_pages
from tests.support.cast import Cast
from tests.support.clock import START, StandingClock
from tests.usage.buying import Customer, customer_with, reserve

DAY = timedelta(days=1)
LONG, SHORT = 86_400, 60


@dataclass
class Stage:
    """Where one situation is set up: a subject of its own, in test and in live."""

    client: FlaskClient
    here: Customer
    elsewhere: Customer

    def hold(self, **columns: Any) -> None:
        self.here.buys(0, **{"kind": Kind.SUBSCRIPTION, "ends_at": START + 30 * DAY, **columns})

    def hold_elsewhere(self, **columns: Any) -> None:
        self.elsewhere.buys(0, **{"kind": Kind.SUBSCRIPTION, "ends_at": START + 30 * DAY, **columns})

    def hold_in_both(
        self, here: dict[str, Any] | None = None, elsewhere: dict[str, Any] | None = None
    ) -> None:
        self.hold(**(here or {}))
        self.hold_elsewhere(**(elsewhere or {}))

    def reserve_all(self, customer: Customer, *, ttl_seconds: int) -> None:
        customer.buys(10)
        assert reserve(self.client, customer, 10, ttl_seconds=ttl_seconds).status_code == 201


Situation = tuple[Callable[[Stage], Any], str | None]
OVER: dict[str, Any] = {"starts_at": START - 60 * DAY, "ends_at": START - DAY}

PLAIN: dict[str, Situation] = {
    "nothing": (lambda on: None, "no_entitlement"),
    "held": (lambda on: on.hold(), None),
    "held in the other mode": (lambda on: on.hold_elsewhere(), "held_in_other_mode"),
    "held in both modes": (lambda on: on.hold_in_both(), None),
    "ended in the other mode": (lambda on: on.hold_elsewhere(**OVER), "no_entitlement"),
    "ended here, held there": (lambda on: on.hold_in_both(OVER), "expired"),
    "ended": (lambda on: on.hold(**OVER), "expired"),
    "not renewed": (lambda on: on.hold(**OVER, ends_as="renewal_unconfirmed"), "renewal_unconfirmed"),
    "within grace": (lambda on: on.hold(state=State.PAST_DUE, ends_as="past_due"), None),
    "grace over": (lambda on: on.hold(**OVER, state=State.PAST_DUE, ends_as="past_due"), "past_due"),
    "disputed": (lambda on: on.hold(state=State.SUSPENDED, reason="disputed"), "disputed"),
    "unpaid": (lambda on: on.hold(state=State.SUSPENDED, reason="past_due"), "past_due"),
    "paused": (lambda on: on.hold(state=State.PAUSED), "paused"),
    "refunded": (lambda on: on.hold(state=State.CANCELED, reason="refunded"), "refunded"),
    "canceled": (lambda on: on.hold(state=State.CANCELED), "canceled"),
    "not started": (lambda on: on.hold(kind=Kind.TIME_PASS, starts_at=START + DAY), "not_started"),
    "units left": (lambda on: on.here.buys(10), None),
    "units used up": (lambda on: on.here.buys(10, used_units=10), "exhausted"),
    "all units reserved": (lambda on: on.reserve_all(on.here, ttl_seconds=LONG), "exhausted"),
    "a reservation is over": (lambda on: on.reserve_all(on.here, ttl_seconds=SHORT), None),
    "all reserved in the other mode": (
        lambda on: on.reserve_all(on.elsewhere, ttl_seconds=LONG), "no_entitlement",
    ),
    "a reservation is over in the other mode": (
        lambda on: on.reserve_all(on.elsewhere, ttl_seconds=SHORT), "held_in_other_mode",
    ),
}  # fmt: skip

NARROWED: dict[str, tuple[*Situation, dict[str, str]]] = {
    "no such product": (lambda on: on.hold(), "product_not_held", {"product_code": "NEVER_MADE"}),
    "no such product, and nothing held": (
        lambda on: None, "no_entitlement", {"product_code": "NEVER_MADE"},
    ),
    "the product": (lambda on: on.hold(), None, {"product_code": "PRO_MONTHLY"}),
    "the product in the other mode": (
        lambda on: on.hold_in_both({"product_code": "OTHER"}),
        "held_in_other_mode", {"product_code": "PRO_MONTHLY"},
    ),
    "the feature": (lambda on: on.hold(features=["export"]), None, {"feature": "export"}),
    "another feature": (
        lambda on: on.hold(features=["export"]), "feature_not_held", {"feature": "import"},
    ),
    "the feature in the other mode": (
        lambda on: on.hold_in_both(elsewhere={"features": ["export"]}),
        "held_in_other_mode", {"feature": "export"},
    ),
    "the feature of what has ended": (
        lambda on: on.hold(**OVER, features=["export"]), "expired", {"feature": "export"},
    ),
}  # fmt: skip


@pytest.fixture
def pages(app: Flask, cast: Cast) -> SidePages:
    return side_pages(app, cast)


def stage(client: FlaskClient, database: Database, cast: Cast, ref: str) -> Stage:
    here, elsewhere = (customer_with(database, cast, mode=mode, ref=ref) for mode in (Mode.TEST, Mode.LIVE))
    return Stage(client, here, elsewhere)


def asked(client: FlaskClient, customer: Customer, address: str, **body: Any) -> Any:
    answer = client.post(address, json=body, headers=customer.headers)
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def by_api(client: FlaskClient, customer: Customer, **wanted: str) -> tuple[bool, str | None]:
    """What the checks say; that they all say the same is asserted here."""
    ref = customer.subject.subject_ref
    explained = asked(client, customer, "/v1/access/check?explain=true", subject_ref=ref, **wanted)
    plain = asked(client, customer, "/v1/access/check", subject_ref=ref, **wanted)
    many = asked(client, customer, "/v1/access/check-batch", subject_refs=[ref], **wanted)
    allowed = {explained["allowed"], plain["allowed"], many["results"][0]["allowed"]}
    if not wanted:
        read = client.get(f"/v1/customer/access/{ref}", headers=customer.headers).get_json()
        allowed.add(read["has_access"])
    assert len(allowed) == 1, ref
    return explained["allowed"], explained["explain"]["reason"]


def by_page(pages: SidePages, customer: Customer) -> tuple[bool, str | None]:
    """What the customer's page says, and the list of customers with it."""
    page = pages.get(f"/customers/{customer.subject.id}").text
    allowed = re.search(r'"allowed": (true|false)', page)
    reason = re.search(r"Reason <code>(\w+)</code>", page)
    assert allowed
    found = pages.get("/customers", query_string={"search": customer.subject.subject_ref}).text
    row = next(each for each in found.split("<tr>") if f"/customers/{customer.subject.id}" in each)
    assert (">access<" in row) is (allowed[1] == "true")
    assert ("in the other mode" in row) is (reason is not None and reason[1] == "held_in_other_mode")
    return allowed[1] == "true", reason[1] if reason else None


def test_every_door_gives_the_same_answer(
    client: FlaskClient, pages: SidePages, database: Database, cast: Cast, clock: StandingClock
) -> None:
    stages = {name: stage(client, database, cast, f"plain-{n}") for n, name in enumerate(PLAIN)}
    for name, on in stages.items():
        PLAIN[name][0](on)
    clock.advance(seconds=2 * SHORT)
    expected = {name: (reason is None, reason) for name, (_set_up, reason) in PLAIN.items()}
    assert {name: by_api(client, on.here) for name, on in stages.items()} == expected
    assert {name: by_page(pages, on.here) for name, on in stages.items()} == expected


def test_every_check_gives_the_same_narrowed_answer(
    client: FlaskClient, database: Database, cast: Cast
) -> None:
    for n, (name, (set_up, reason, wanted)) in enumerate(NARROWED.items()):
        on = stage(client, database, cast, f"narrowed-{n}")
        set_up(on)
        assert by_api(client, on.here, **wanted) == (reason is None, reason), name


def test_each_mode_is_decided_at_its_own_time(
    client: FlaskClient, pages: SidePages, database: Database, cast: Cast
) -> None:
    """The clock of a sandbox account that was moved ends nothing in live."""
    on = stage(client, database, cast, "moved")
    on.hold_elsewhere()
    on.here.connects(clock_offset_seconds=40 * 86_400)
    assert by_api(client, on.here) == by_page(pages, on.here) == (False, "held_in_other_mode")
    on.hold()
    assert by_api(client, on.here) == by_page(pages, on.here) == (False, "expired")
