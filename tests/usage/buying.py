"""A customer with packs and an API key to consume them with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from flask.testing import FlaskClient
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.models import ApiKey
from licenzy.catalog.models import Kind
from licenzy.connections.models import Connection
from licenzy.db.unit_of_work import Database
from licenzy.kit.secret_box import SecretBox
from licenzy.subjects.models import Subject
from tests.support.cast import Cast, make_connection, make_key, make_subject
from tests.support.purchases import make_entitlement

CONSUME = "/v1/usage/consume"
RESERVE = "/v1/usage/reserve"
_fresh = count()


@dataclass(frozen=True, slots=True)
class Customer:
    """A subject of one project and mode, and a key of that side."""

    database: Database
    subject: Subject
    key: ApiKey
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def buys(
        self, units: int, *, kind: Kind = Kind.USAGE_PACK, ends_at: datetime | None = None, **columns: Any
    ) -> str:
        """A pack of so many units; gives its id."""
        with self.database.write() as db:
            return make_entitlement(
                db, subject=self.subject, kind=kind, ends_at=ends_at, granted_units=units, **columns
            ).id

    def loses_key(self, **columns: Any) -> None:
        with self.database.write() as db:
            key = db.get_one(ApiKey, self.key.id)
            for name, value in columns.items():
                setattr(key, name, value)

    def connects(self, **columns: Any) -> None:
        with self.database.write() as db:
            secret_box = SecretBox(("UoAYSIhGbKOEoyuLvo4Ss7Yv2BFQYt3CPqTmmCyCeMM=",))
            make_connection(
                db,
                project_id=self.subject.project_id,
                mode=self.subject.mode,
                secret_box=secret_box,
                **columns,
            )

    def moves_clock_to(self, seconds: int) -> None:
        with self.database.write() as db:
            db.exec(select(Connection)).one().clock_offset_seconds = seconds


def customer_with(
    database: Database,
    cast: Cast,
    *,
    project_id: str | None = None,
    mode: Mode = Mode.TEST,
    ref: str = "user_123",
) -> Customer:
    """A new subject of the owner's project, or of another one."""
    with database.write() as db:
        where: dict[str, Any] = {"project_id": project_id or cast.project_id, "mode": mode}
        subject = make_subject(db, **where, subject_ref=ref)
        key, token = make_key(db, **where, scopes="runtime audit")
        return Customer(database, subject, key, token)


def consume(
    client: FlaskClient,
    customer: Customer,
    units: Any,
    *,
    key: str | None = None,
    ref: str | None = None,
    **more: Any,
) -> Any:
    """Call with a key of its own unless one is given; `more` is what else the body has."""
    body = {"subject_ref": ref or customer.subject.subject_ref, "units": units, **more}
    return post(client, customer, CONSUME, body, key=key or f"fresh-{next(_fresh)}")


def reserve(
    client: FlaskClient,
    customer: Customer,
    units: Any,
    *,
    ttl_seconds: Any = 60,
    key: str | None = None,
    **more: Any,
) -> Any:
    """Call with a key of its own unless one is given; `more` is what else the body has."""
    body = {"subject_ref": customer.subject.subject_ref, "units": units, "ttl_seconds": ttl_seconds, **more}
    return post(client, customer, RESERVE, body, key=key or f"fresh-{next(_fresh)}")


def post(client: FlaskClient, customer: Customer, address: str, body: Any, *, key: str | None = None) -> Any:
    headers = customer.headers | ({"Idempotency-Key": key} if key else {})
    return client.post(address, json=body, headers=headers)
