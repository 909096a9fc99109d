"""A shop in which a case happens: real calls of the API, real webhooks, real verbs, prices at the sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import stripe
from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.alignment.rules import findings
from licenzy.catalog.actions import create_product, edit_product
from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_code
from licenzy.catalog.rules import Draft
from licenzy.checkout.queries import attempt_by_id
from licenzy.connections.models import Connection, Provider
from licenzy.entitlements.queries import was_granted
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.setup.fact_collector import project_facts
from licenzy.stripe_events.mapped_prices import search_next
from licenzy.stripe_events.models import StripeEvent
from licenzy.stripe_events.replay import replay_event
from licenzy.stripe_events.settling import SETTLE_AFTER
from licenzy.stripe_events.snapshots import settle_next
from licenzy.stripe_sandbox.account_store import AccountStore
from licenzy.stripe_sandbox.accounts import find_account
from licenzy.workspace.audit import Actor
from tests.conftest import Sandbox
from tests.field.cases import Case, DeliveryOrder, Expected, Json, Step
from tests.support.cast import Cast, make_connection, make_key, make_project
from tests.support.clock import StandingClock
from tests.support.purchases import signed

SECRET = "whsec_of_the_field_0123456789abcdef"
ONE_TIME_CODE, ONE_TIME_SECONDS = "PASS", 30 * 86_400
NOBODY = Actor(None, None)
_MOST_READS = 50


class ShopFailed(Exception):
    """The shop did not get as far as the question: no verdict on what the product answers."""


@dataclass
class Town:
    """An installation and an account at the sandbox; every run of a case opens a shop of its own there."""

    client: FlaskClient
    runtime: Runtime
    clock: StandingClock
    cast: Cast
    sandbox: Sandbox
    account: Json = field(init=False)
    stripe: stripe.StripeClient = field(init=False)

    def __post_init__(self) -> None:
        opened = httpx.post(
            f"{self.sandbox.url}/_sandbox/accounts",
            json={"name": "The field's shops"},
            headers={"Authorization": f"Bearer {self.sandbox.control_token}"},
        )
        self.account = opened.raise_for_status().json()
        key = self.account["secret_key"]
        self.stripe = stripe.StripeClient(key, base_addresses={"api": self.sandbox.url})

    def with_prices(self, case: Case) -> Case:
        """The case with prices of this account in place of its own."""
        return case.with_ids({price: self.price(interval=case.interval(price)) for price in case.prices})

    def price(self, *, interval: str | None, unit_amount: int = 1200) -> str:
        asked: Any = {"unit_amount": unit_amount, "currency": "usd", "product_data": {"name": "Sold"}}
        if interval:
            asked["recurring"] = {"interval": interval}
        return str(self.stripe.v1.prices.create(asked).id)

    def run(self, case: Case, order: DeliveryOrder) -> list[str]:
        """Let the case happen in a new shop; what was answered wrongly, one sentence each."""
        self.clock.now = case.now
        with self.runtime.database.write() as db:
            workspace = self.cast.owner.workspace_id
            project_id = make_project(db, workspace_id=workspace, name=order.name, now=case.now)
            connection = make_connection(
                db,
                project_id=project_id,
                secret_box=self.runtime.secret_box,
                provider=Provider.SANDBOX,
                stripe_key=self.account["secret_key"],
                webhook_secret=SECRET,
                now=case.now,
            )
            token = make_key(db, project_id=project_id, now=case.now)[1]
        shop = Shop(self, case, connection, token)
        shop.map_products()
        shop.open_attempts()
        return [f"{order.name}: {each}" for each in shop.live_through(order)]


@dataclass
class Shop:
    """One project with its connection, in which `case` happens under the ids of its own attempts."""

    town: Town
    case: Case
    connection: Connection
    token: str

    @property
    def scope(self) -> Scope:
        return Scope(self.connection.project_id, Mode.TEST)

    # --- before ---------------------------------------------------------------------------------

    def map_products(self) -> None:
        for price, code in self.case.prices.items():
            if code is not None:
                self._create(Draft(code, Kind.SUBSCRIPTION, price, grace_days=self._grace(code)))
        if any(each["mode"] == "payment" for each in self.case.objects("checkout.session")):
            price = self.town.price(interval=None)
            self._create(Draft(ONE_TIME_CODE, Kind.TIME_PASS, price, duration_seconds=ONE_TIME_SECONDS))

    def open_attempts(self) -> None:
        """One checkout for each attempt of the case; its ids take the place of the case's own."""
        ids: dict[str, str] = {}
        for number, attempt in enumerate(self.case.attempts):
            price = self.case.first_price(attempt)
            code = ONE_TIME_CODE if price is None else self.case.prices[price]
            opened = self._post(
                "/v1/checkout/session",
                {"subject_ref": f"user_{number}", "product_code": code},
                status=201,
                **{"Idempotency-Key": f"checkout-{number}"},
            )
            ids[attempt] = opened["attempt_id"]
            ids[self.case.session_id(attempt)] = opened["stripe_checkout_session_id"]
        self.case = self.case.with_ids(ids)

    # --- what happens ---------------------------------------------------------------------------

    def live_through(self, order: DeliveryOrder) -> Iterator[str]:
        """Deliver the events in this order, do what operators do; what is answered wrongly on the way."""
        for place, number in enumerate(order.numbers):
            self.deliver(self.case.events[number])
            if number in order.numbers[place + 1 :]:
                continue
            self._do(number)
            if order.as_sent:
                yield from self._wrong(number)
        if order.name == "as sent" or self.case.steps:
            # The sandbox knows no such objects, so that one order suffices; reads keep Stripe's pace.
            self.settle()
        yield from self._wrong("last")
        if self._do("last"):
            yield from self._wrong("steps")
            self.replay()
            yield from self._wrong("steps", at="a replay")

    def deliver(self, event: Json) -> None:
        body, headers = signed(event, SECRET, at=self.town.clock.now)
        address = f"/v1/webhooks/stripe/{self.connection.id}"
        answer = self.town.client.post(address, data=body, headers=headers)
        if answer.status_code != 200:
            raise ShopFailed(f"{event['type']} was answered with {answer.status_code}: {answer.text}")

    def settle(self) -> None:
        """Let the worker do the settling reads that are due, at the case's own time for all that follows."""
        parts, clock = self.town.runtime, self.town.clock
        clock.now = self.case.now + SETTLE_AFTER + timedelta(seconds=1)
        for _ in range(_MOST_READS):
            if not settle_next(parts.database, parts.gateway, parts.secret_box, clock=clock):
                break
        else:
            raise ShopFailed("settling reads do not come to an end")
        clock.now = self.case.now

    def replay(self) -> None:
        """Replay the event that was sent last, and let the worker read what that asks for."""
        replay_event(
            self.town.runtime.database,
            Scope.of(self.connection),
            event_id=self.case.events[-1]["id"],
            clock=self.town.clock,
        )
        self.settle()

    # --- what operators do ----------------------------------------------------------------------

    def _do(self, after_event: int | str) -> bool:
        steps = [step for step in self.case.steps if step.after_event == after_event]
        for step in steps:
            _VERBS[step.verb](self, step)
        return bool(steps)

    def _create_product(self, step: Step) -> None:
        """Map a price that customers have already. Stripe can be asked about their subscriptions."""
        assert step.price is not None
        self._keep_at_sandbox("subscription")
        self._keep_at_sandbox("invoice")
        grace_days = self._grace(step.product_code)
        self._create(Draft(step.product_code, Kind.SUBSCRIPTION, step.price, grace_days=grace_days))
        while self.town.runtime.database.retrying(partial(search_next, now=self.town.clock())):
            pass
        self.settle()

    def _edit_product(self, step: Step) -> None:
        """Raise the price of a product: it is sold at a new price from now on."""
        (old,) = (price for price, code in self.case.prices.items() if code == step.product_code)
        price = self.town.price(interval=self.case.interval(old), unit_amount=step.unit_amount)
        parts = self.town.runtime
        with parts.database.read() as db:
            product = product_by_code(db, self.scope, product_code=step.product_code)
        assert product is not None
        draft = Draft(step.product_code, Kind.SUBSCRIPTION, price, grace_days=self._grace(step.product_code))
        edit_product(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            product_id=product.id,
            draft=draft,
            was_granted=was_granted,
            actor=NOBODY,
            now=self.town.clock(),
        )

    def _create(self, draft: Draft) -> None:
        parts = self.town.runtime
        create_product(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            draft=draft,
            actor=NOBODY,
            now=self.town.clock(),
        )

    def _grace(self, code: str) -> int:
        return self.case.grace_days.get(code, 0)

    def _keep_at_sandbox(self, kind: str) -> None:
        """Have the sandbox know the last state of each object of a kind, in place of an earlier shop's."""
        services = self.town.sandbox.app.services
        newest = {each["id"]: each for each in self.case.objects(kind)}
        with services.store.writing() as db:
            account = find_account(db, self.town.account["account"])
            assert account is not None
            session = AccountStore(db, account, services.public_url)
            for object_id, body in newest.items():
                known = session.find(kind, object_id)
                if known is None:
                    session.insert(body)
                else:
                    session.change(known, **body)

    # --- what is asked --------------------------------------------------------------------------

    def _wrong(self, after_event: int | str, *, at: str | None = None) -> Iterator[str]:
        """Where the answers differ from what is expected after an event, here or again `at` a later point."""
        for expected in self.case.expected:
            at_the_end = after_event == "last" and self.case.holds_at_the_end(expected)
            if expected.after_event != after_event and not at_the_end:
                continue
            found = self._found(expected)
            for name, right in expected.answers.items():
                if found[name] != right:
                    yield (
                        f"after {at or after_event}, {self._subject_ref(expected)}, "
                        f"{expected.product_code or 'any product'}: "
                        f"{name} is {found[name]!r} instead of {right!r}"
                    )

    def _found(self, expected: Expected) -> dict[str, Any]:
        """What the product answers, by the names of an expectation."""
        subject_ref = self._subject_ref(expected)
        asked = {"subject_ref": subject_ref}
        if expected.product_code is not None:
            asked["product_code"] = expected.product_code
        plain = self._post("/v1/access/check", asked)
        explained = self._post("/v1/access/check?explain=true", asked)
        if plain["allowed"] is not explained["allowed"]:
            raise ShopFailed(f"the check and its explanation disagree: {plain}, {explained}")
        deciding = explained["explain"]["entitlement"] or {}
        listed = {each["id"]: each for each in self._get(f"/v1/entitlements/{subject_ref}")["entitlements"]}
        return {
            "allowed": plain["allowed"],
            "reason": explained["explain"]["reason"],
            "status": deciding.get("status"),
            "quantity": listed.get(deciding.get("id"), {}).get("quantity"),
            **self._kept(expected),
        }

    def _kept(self, expected: Expected) -> dict[str, Any]:
        """What an operator sees: the attempt, its events and the project's findings."""
        answers: dict[str, Any] = {}
        parts = self.town.runtime
        with parts.database.read() as db:
            if "attempt_status" in expected.answers:
                attempt = attempt_by_id(db, self.scope, attempt_id=expected.attempt)
                answers["attempt_status"] = attempt.status.value if attempt else None
            if "event_status" in expected.answers:
                sent = {self.case.events[n]["id"] for n in self.case.events_of(expected.attempt)}
                mine = select(StripeEvent).where(StripeEvent.connection_id == self.connection.id)
                statuses = {row.status.value for row in db.exec(mine) if row.event_id in sent}
                answers["event_status"] = ", ".join(sorted(statuses))
            if "finding" in expected.answers:
                facts = project_facts(
                    db,
                    parts.secret_box,
                    project_id=self.scope.project_id,
                    base_url=parts.settings.base_url,
                    now=self.town.clock(),
                )
                codes = {found.code for found in findings(facts, Mode.TEST)}
                wanted = expected.answers["finding"]
                answers["finding"] = wanted if wanted in codes else ", ".join(sorted(codes))
        return answers

    def _subject_ref(self, expected: Expected) -> str:
        return f"user_{self.case.attempts.index(expected.attempt)}"

    def _get(self, address: str) -> Json:
        answer = self.town.client.get(address, headers={"Authorization": f"Bearer {self.token}"})
        return _body(answer, 200)

    def _post(self, address: str, body: Json, *, status: int = 200, **headers: str) -> Json:
        authorization = {"Authorization": f"Bearer {self.token}"}
        answer = self.town.client.post(address, json=body, headers={**authorization, **headers})
        return _body(answer, status)


_VERBS = {"create_product": Shop._create_product, "edit_product": Shop._edit_product}


def _body(answer: Any, status: int) -> Json:
    if answer.status_code != status:
        raise ShopFailed(f"answered with {answer.status_code}: {answer.text}")
    body: Json = json.loads(answer.data)
    return body
