"""The people of every test, and plain functions that make what tests need.

The owner and the colleague share a workspace; the stranger has one of their own. Each workspace has a
project. All `make_…` functions write rows directly, so that a test of one room rests on no other.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Insert, insert
from sqlmodel import Session

from licenzy.alignment.modes import Mode
from licenzy.api_keys import rules as key_rules
from licenzy.api_keys.models import ApiKey
from licenzy.catalog.models import DEFAULT_LABEL, Kind, PriceBackfill, Product, ProductPrice, ProductTerms
from licenzy.catalog.rules import terms_of
from licenzy.connections.models import Connection, Provider
from licenzy.db.tables import Table
from licenzy.kit.ids import new_id
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.models import Project, ProjectSide
from licenzy.subjects.models import Subject
from licenzy.subjects.rules import search_text
from licenzy.workspace.models import Installation, Membership, Role, User, Workspace
from licenzy.workspace.passwords import passwords
from tests.support.clock import START

PASSWORD = "correct horse battery staple 9"
WEBHOOK_SECRET = "whsec_of_the_tests_0123456789abcdef"
"""With which the events for the connections of `make_connection` are signed."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can sign in with `PASSWORD`."""

    user_id: str
    email: str
    workspace_id: str
    project_id: str


@dataclass(frozen=True, slots=True)
class Cast:
    """Who is there: `owner` and `colleague` (a viewer) of one project, `stranger` of another."""

    owner: Person
    colleague: Person
    stranger: Person

    @property
    def project_id(self) -> str:
        return self.owner.project_id


def make_cast(db: Session, *, now: datetime = START) -> Cast:
    """A claimed installation with the three people and their two projects."""
    ours, theirs = make_workspace(db, now=now), make_workspace(db, name="Elsewhere", now=now)
    our_project = make_project(db, workspace_id=ours, name="Our project", now=now)
    their_project = make_project(db, workspace_id=theirs, name="Their project", now=now)
    owner, colleague, stranger = (
        Person(make_user(db, email=email, workspace_id=home, role=role, now=now), email, home, project)
        for email, home, role, project in (
            ("owner@example.com", ours, Role.OWNER, our_project),
            ("colleague@example.com", ours, Role.VIEWER, our_project),
            ("stranger@example.com", theirs, Role.OWNER, their_project),
        )
    )
    _insert(db, Installation, {"id": 1, "workspace_id": ours, "claimed_at": now, "claimed_by": owner.user_id})
    return Cast(owner, colleague, stranger)


def make_workspace(db: Session, *, name: str = "Our workspace", now: datetime = START) -> str:
    workspace_id = new_id("wsp")
    _insert(db, Workspace, {"id": workspace_id, "name": name, "created_at": now})
    return workspace_id


def make_user(
    db: Session,
    *,
    email: str,
    workspace_id: str,
    role: Role = Role.OWNER,
    password: str = PASSWORD,
    now: datetime = START,
) -> str:
    user_id = new_id("usr")
    user = {
        "id": user_id,
        "email": email,
        "name": email.partition("@")[0].title(),
        "password_hash": _hashed(password),
        "password_changed_at": now,
        "created_at": now,
    }
    _insert(db, User, user)
    _insert(
        db, Membership, {"workspace_id": workspace_id, "user_id": user_id, "role": role, "created_at": now}
    )
    return user_id


def make_project(db: Session, *, workspace_id: str, name: str = "A project", now: datetime = START) -> str:
    project_id = new_id("prj")
    _insert(db, Project, {"id": project_id, "workspace_id": workspace_id, "name": name, "created_at": now})
    # As if something had been consumed before: the first call that names no unit takes one commit more.
    rest = {"redirect_hosts": [], "default_unit_used_at": now}
    sides = ({"project_id": project_id, "mode": mode, **rest} for mode in Mode)
    _insert(db, ProjectSide, *sides)
    return project_id


def _insert(db: Session, table: type[Table], *rows: dict[str, Any]) -> None:
    """Rows that nobody wants back. Past the session: almost every test has people, and they add up."""
    db.connection().execute(_insert_into(table), rows)


@cache
def _insert_into(table: type[Table]) -> Insert:
    return insert(table.__table__)  # type: ignore[attr-defined]


@cache
def _hashed(password: str) -> str:
    return passwords(cheap=True).hash(password)


def make_key(
    db: Session,
    *,
    project_id: str,
    mode: Mode = Mode.TEST,
    name: str = "a key",
    now: datetime = START,
    **columns: Any,
) -> tuple[ApiKey, str]:
    """The row, and the key itself."""
    token = key_rules.make_key(mode, secrets.token_bytes(key_rules.SECRET_BYTES))
    key = ApiKey(
        id=new_id("key"),
        project_id=project_id,
        mode=mode,
        name=name,
        key_hash=key_rules.presented_hash(token),
        last_four=token[-4:],
        created_at=now,
        **columns,
    )
    db.add(key)
    db.flush()
    return key, token


def make_subject(
    db: Session,
    *,
    project_id: str,
    mode: Mode = Mode.TEST,
    subject_ref: str = "user_123",
    email: str | None = None,
    now: datetime = START,
    **columns: Any,
) -> Subject:
    values = {"search_text": search_text(subject_ref, email), **columns}
    subject = Subject(
        id=new_id("sbj"),
        project_id=project_id,
        mode=mode,
        subject_ref=subject_ref,
        email=email,
        created_at=now,
        **values,
    )
    db.add(subject)
    db.flush()
    return subject


def make_connection(
    db: Session,
    *,
    project_id: str,
    secret_box: SecretBox,
    mode: Mode = Mode.TEST,
    provider: Provider = Provider.STRIPE,
    stripe_key: str | None = None,
    webhook_secret: str | None = WEBHOOK_SECRET,
    now: datetime = START,
    **columns: Any,
) -> Connection:
    """A connection with a key that looks right; give `stripe_key=""` or `webhook_secret=None` for none."""
    connection_id = new_id("con")
    if stripe_key is None:
        stripe_key = f"sk_{mode.value}_of_the_tests_0123456789abcdef"
    connection = Connection(
        id=connection_id,
        project_id=project_id,
        mode=mode,
        provider=provider,
        account_id="acct_tests",
        account_name="The tests' shop",
        country="US",
        charges_enabled=True,
        verified_at=now,
        created_at=now,
        updated_at=now,
        **columns,
    )
    if stripe_key:
        connection.key_sealed = secret_box.encrypt(
            stripe_key, bound_to=f"connection:{connection_id}:stripe_key"
        )
        connection.key_masked = f"sk_{mode.value}_…{stripe_key[-4:]}"
        connection.key_saved_at = now
    if webhook_secret:
        connection.webhook_secret_sealed = secret_box.encrypt(
            webhook_secret, bound_to=f"connection:{connection_id}:webhook_secret"
        )
        connection.webhook_secret_masked = f"whsec_…{webhook_secret[-4:]}"
        connection.webhook_secret_saved_at = now
    db.add(connection)
    db.flush()
    return connection


SOLD_KINDS = tuple(kind for kind in Kind if kind is not Kind.FREE)
"""The kinds of product that have a price."""

_RECURRING: dict[Kind, str | None] = {Kind.SUBSCRIPTION: "month"}


def make_product(
    db: Session,
    *,
    project_id: str,
    mode: Mode = Mode.TEST,
    product_code: str = "PRO_MONTHLY",
    kind: Kind = Kind.SUBSCRIPTION,
    now: datetime = START,
    **columns: Any,
) -> Product:
    """A product with its first terms and one price, which looks as its kind wants it; a free one with none.

    `columns` are those of the product and of its price.
    """
    values: dict[str, Any] = {
        "units": 1000 if kind is Kind.USAGE_PACK else None,
        "duration_seconds": 86_400 if kind is Kind.TIME_PASS else None,
        "created_at": now,
        "updated_at": now,
    }
    priced = {name: columns.pop(name) for name in (*PRICE_COLUMNS,) if name in columns}
    product = Product(
        id=new_id("prd"),
        project_id=project_id,
        mode=mode,
        product_code=product_code,
        kind=kind,
        prices=[],
        **{**values, **columns},
    )
    db.add(product)
    db.flush()
    terms = ProductTerms(
        project_id=project_id, product_id=product.id, version=1, from_=now, terms=terms_of(product)
    )
    db.add(terms)
    if kind is not Kind.FREE:
        make_product_price(db, product, now=now, **priced)
    return product


PRICE_COLUMNS = tuple(
    name for name in ProductPrice.model_fields if name not in {"project_id", "id", "mode", "product_id"}
)
"""What a test may say of a product's price."""


def make_product_price(
    db: Session, product: Product, *, now: datetime = START, **columns: Any
) -> ProductPrice:
    """Another price of a product, which it is sold at under its label."""
    interval = _RECURRING.get(product.kind)
    values: dict[str, Any] = {
        "stripe_price_id": f"price_{new_id('x')[2:]}",
        "label": DEFAULT_LABEL,
        "added_at": now,
        "stripe_product_id": f"prod_{new_id('x')[2:]}",
        "stripe_product_name": product.product_code.title(),
        "unit_amount": 1200,
        "currency": "usd",
        "interval": interval,
        "interval_count": 1 if interval else None,
        "livemode": product.mode.livemode,
        "active": True,
        "product_active": True,
        "checked_at": now,
    }
    price = ProductPrice(
        id=new_id("ppr"),
        project_id=product.project_id,
        mode=product.mode,
        product_id=product.id,
        **{**values, **columns},
    )
    product.prices = [*product.prices, price]
    db.add(product)
    db.flush()
    return price


def make_backfill(db: Session, price: ProductPrice, **columns: Any) -> PriceBackfill:
    """The search for subscriptions that hold a price, requested and not begun."""
    backfill = PriceBackfill(
        project_id=price.project_id,
        price_id=price.id,
        mode=price.mode,
        product_id=price.product_id,
        stripe_price_id=price.stripe_price_id,
        **{"requested_at": price.added_at, **columns},
    )
    db.add(backfill)
    db.flush()
    return backfill
