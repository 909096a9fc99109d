"""A demo project on the Stripe sandbox: connected, with three products and a fresh API key."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import click
import httpx
from sqlmodel import Session, col, select

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import create_key
from licenzy.catalog.actions import create_product
from licenzy.catalog.models import Kind
from licenzy.catalog.queries import product_by_code
from licenzy.catalog.rules import Draft
from licenzy.connections import actions as connections
from licenzy.connections.models import Connection
from licenzy.connections.rules import endpoint_address
from licenzy.db.schema import check, require
from licenzy.errors import LicenzyError, StripeUnavailable
from licenzy.projects.actions import create_project
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.actions import Actor, ensure_first_workspace

PROJECT_NAME = "Licenzy demo"
_CLI = Actor()
_NOT_RUNNING = "The demo needs a running server of this installation: start one with `licenzy serve`."


@dataclass(frozen=True, slots=True)
class _Offer:
    """A product of the demo and the price it is sold at."""

    draft: Draft
    title: str
    unit_amount: int
    interval: str | None = None


_OFFERS = (
    _Offer(Draft("PRO_MONTHLY", Kind.SUBSCRIPTION, "", features=("export",)), "Pro, monthly", 1200, "month"),
    _Offer(Draft("DAY_PASS", Kind.TIME_PASS, "", duration_seconds=86_400), "Day pass", 300),
    _Offer(Draft("CREDITS_1000", Kind.USAGE_PACK, "", units=1000), "1000 credits", 900),
)


@dataclass(frozen=True, slots=True)
class SeededProduct:
    """A product as the demo's object lists it."""

    product_code: str
    kind: str
    stripe_price_id: str


@dataclass(frozen=True, slots=True)
class Seeded:
    """What a program needs to use the demo project; the API key is a new one each time."""

    base_url: str
    project_id: str
    connection_id: str
    api_key: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    webhook_url: str
    sandbox_url: str
    products: list[SeededProduct]

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def seed(runtime: Runtime) -> Seeded:
    """Make the demo project, or complete the one of an earlier call.

    Raises ClickException on an installation that holds a live connection, has its sandbox off, or
    is not being served right now.
    """
    _check_allowed(runtime)
    settings = runtime.settings
    project_id = _project(runtime)
    connection = _connection(runtime, project_id)
    products = [_product(runtime, connection, offer) for offer in _OFFERS]
    now = runtime.clock()
    with runtime.database.write() as db:
        _key, token = create_key(
            db, Scope(project_id, Mode.TEST), name="licenzy demo", created_by=None, now=now
        )
    return Seeded(
        base_url=settings.base_url,
        project_id=project_id,
        connection_id=connection.id,
        api_key=token,
        webhook_secret=connections.webhook_secrets(runtime.secret_box, connection, now=now)[0],
        webhook_url=endpoint_address(settings.base_url, connection.id),
        sandbox_url=settings.sandbox_url,
        products=products,
    )


def has_live_connection(db: Session) -> bool:
    """Whether anything here could charge real cards."""
    return db.exec(select(Connection.id).where(Connection.mode == Mode.LIVE).limit(1)).first() is not None


def is_served(runtime: Runtime) -> bool:
    """Whether the product and the sandbox of this installation answer."""
    urls = (runtime.settings.base_url, runtime.settings.sandbox_url)
    try:
        with httpx.Client(timeout=5, trust_env=False) as client:
            return all(client.get(f"{url}/").status_code < 500 for url in urls)
    except httpx.HTTPError:
        return False


def _check_allowed(runtime: Runtime) -> None:
    if not runtime.settings.sandbox:
        raise click.ClickException("The demo needs the Stripe sandbox: set LICENZY_SANDBOX=on.")
    if not is_served(runtime):
        raise click.ClickException(_NOT_RUNNING)
    require(check(runtime.database.engine))
    with runtime.database.read() as db:
        if has_live_connection(db):
            raise click.ClickException(
                "This installation holds a live connection; the demo is only for installations without one."
            )


def _project(runtime: Runtime) -> str:
    now = runtime.clock()
    with runtime.database.write() as db:
        workspace_id = ensure_first_workspace(db, now=now)
        mine = select(Project.id).where(Project.workspace_id == workspace_id, Project.name == PROJECT_NAME)
        found = db.exec(mine.order_by(col(Project.created_at), col(Project.id))).first()
        if found is not None:
            return found
        return create_project(db, actor=_CLI, workspace_id=workspace_id, name=PROJECT_NAME, now=now).id


def _connection(runtime: Runtime, project_id: str) -> Connection:
    """The project's sandbox connection with its webhook set up."""
    try:
        connections.connect_sandbox(
            runtime.database,
            runtime.gateway,
            runtime.secret_box,
            runtime.settings,
            project_id=project_id,
            project_name=PROJECT_NAME,
            actor=_CLI,
            now=runtime.clock(),
        )
    except StripeUnavailable:
        raise click.ClickException(_NOT_RUNNING) from None
    return connections.register_endpoint(
        runtime.database,
        runtime.gateway,
        runtime.secret_box,
        Scope(project_id, Mode.TEST),
        base_url=runtime.settings.base_url,
        actor=_CLI,
        now=runtime.clock(),
    )


def _product(runtime: Runtime, connection: Connection, offer: _Offer) -> SeededProduct:
    code = offer.draft.product_code
    with runtime.database.read() as db:
        product = product_by_code(db, Scope(connection.project_id, Mode.TEST), product_code=code)
    if product is None:
        draft = replace(offer.draft, price_id=_price(runtime, connection, offer))
        product = create_product(
            runtime.database,
            runtime.gateway,
            runtime.secret_box,
            Scope(connection.project_id, Mode.TEST),
            draft=draft,
            actor=_CLI,
            now=runtime.clock(),
        )
    return SeededProduct(code, product.kind.value, product.stripe_price_id)


def _price(runtime: Runtime, connection: Connection, offer: _Offer) -> str:
    """The id of the offer's price at the sandbox, made as one makes it at Stripe; found by its lookup key."""
    key = connections.stripe_key(runtime.secret_box, connection)
    lookup = f"licenzy_demo_{offer.draft.product_code.lower()}"
    with httpx.Client(
        base_url=f"{runtime.settings.sandbox_url}/v1", auth=(key, ""), timeout=10, trust_env=False
    ) as stripe:
        found = _told(stripe.get("/prices", params={"lookup_keys[0]": lookup}))["data"]
        if found:
            return str(found[0]["id"])
        product = _told(stripe.post("/products", data={"name": offer.title}))
        price = {
            "product": product["id"],
            "currency": "usd",
            "unit_amount": str(offer.unit_amount),
            "lookup_key": lookup,
        }
        if offer.interval:
            price["recurring[interval]"] = offer.interval
        return str(_told(stripe.post("/prices", data=price))["id"])


def _told(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise LicenzyError(f"The sandbox refused to set the demo up (status {answer.status_code}).")
    told: dict[str, Any] = answer.json()
    return told
