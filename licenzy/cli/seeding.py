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
from licenzy.catalog.queries import has_trials, product_by_code
from licenzy.catalog.rules import Draft
from licenzy.cli.running_instance import address_status
from licenzy.connections import actions as connections
from licenzy.connections.models import Connection
from licenzy.connections.rules import endpoint_address
from licenzy.connections.sandbox_customers import add_existing_customers, existing_customers
from licenzy.db.schema import check, require
from licenzy.errors import LicenzyError, StripeUnavailable
from licenzy.kit.hosts import is_loopback
from licenzy.projects.actions import create_project
from licenzy.projects.models import Project
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.settings import Settings
from licenzy.stripe_gateway.sandbox_control import ExistingCustomers
from licenzy.workspace.actions import Actor, ensure_first_workspace

PROJECT_NAME = "Licenzy demo"
_CLI = Actor()


@dataclass(frozen=True, slots=True)
class _DemoOffer:
    """A product of the demo and the price it is sold at."""

    draft: Draft
    title: str
    unit_amount: int
    interval: str | None = None


_OFFERS = (
    _DemoOffer(
        Draft("PRO_MONTHLY", Kind.SUBSCRIPTION, "", features=("export",)), "Pro, monthly", 1200, "month"
    ),
    _DemoOffer(Draft("DAY_PASS", Kind.TIME_PASS, "", duration_seconds=86_400), "Day pass", 300),
    _DemoOffer(Draft("CREDITS_1000", Kind.USAGE_PACK, "", units=1000), "1000 credits", 900),
)

# What the existing customers pay for besides; their classic plan is no product's.
_EXISTING_OFFERS = (
    _DemoOffer(
        Draft("PRO_YEARLY", Kind.SUBSCRIPTION, "", features=("export",)), "Pro, yearly", 12_000, "year"
    ),
    _DemoOffer(Draft("TEAM_MONTHLY", Kind.SUBSCRIPTION, ""), "Team, monthly", 4900, "month"),
    _DemoOffer(Draft("EXTRA_STORAGE", Kind.SUBSCRIPTION, ""), "Extra storage, monthly", 500, "month"),
)


@dataclass(frozen=True, slots=True)
class SeededProduct:
    """A product as the demo's object lists it."""

    product_code: str
    kind: str
    stripe_price_id: str | None
    """None where somebody has retired its price."""


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
    sandbox_key: str | None = field(repr=False)
    """The account's secret key, while the sandbox listens on this machine alone."""
    products: list[SeededProduct]
    existing: ExistingCustomers | None = None
    """The customers that the account had before, where such were asked for."""

    def as_dict(self) -> dict[str, object]:
        plain = asdict(self)
        existing = plain.pop("existing")
        if existing is not None:
            plain |= {"existing": existing["subscriptions"], "existing_sessions": existing["sessions"]}
        return plain


def seed(runtime: Runtime, *, existing: int | None = None) -> Seeded:
    """Make the demo project, or complete the one of an earlier call.

    With `existing` its sandbox account is completed to so many subscriptions made elsewhere, and the project
    to the products that most of them pay for.

    Raises ClickException on an installation that has a live connection, has its sandbox off, or
    is not running.
    """
    _check_allowed(runtime)
    settings = runtime.settings
    project_id = _project(runtime)
    connection = _connection(runtime, project_id)
    if existing is not None:
        add_existing_customers(runtime.secret_box, settings, connection, count=existing)
    offers = _OFFERS if existing is None else _OFFERS + _EXISTING_OFFERS
    products = [_product(runtime, connection, offer) for offer in offers]
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
        sandbox_key=sandbox_key(runtime, connection),
        products=products,
        existing=None if existing is None else existing_customers(settings, connection),
    )


def sandbox_key(runtime: Runtime, connection: Connection) -> str | None:
    """The secret key of the connection's sandbox account; None where other machines reach the sandbox."""
    if not is_loopback(runtime.settings.sandbox_host):
        return None
    return connections.stripe_key(runtime.secret_box, connection)


def has_live_connection(db: Session) -> bool:
    """Whether anything here could charge real cards."""
    return db.exec(select(Connection.id).where(Connection.mode == Mode.LIVE).limit(1)).first() is not None


def is_served(runtime: Runtime) -> bool:
    """Whether the product and the sandbox of this installation answer."""
    return _answers(runtime.settings.base_url) and _answers(runtime.settings.sandbox_url)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/", timeout=5, trust_env=False).status_code < 500
    except httpx.HTTPError:
        return False


def _check_allowed(runtime: Runtime) -> None:
    settings = runtime.settings
    if not settings.sandbox:
        raise click.ClickException(
            "The demo needs the Stripe sandbox, which is off. Set LICENZY_SANDBOX=on and restart Licenzy."
        )
    if not _answers(settings.base_url):
        raise click.ClickException(f"The demo needs a running Licenzy. {address_status(settings)}")
    if not _answers(settings.sandbox_url):
        raise click.ClickException(_no_sandbox(settings))
    require(check(runtime.database.engine))
    with runtime.database.read() as db:
        if has_live_connection(db):
            raise click.ClickException(
                "This installation has a live Stripe connection. The demo runs only without one."
            )


def _no_sandbox(settings: Settings) -> str:
    return (
        f"The demo needs the Stripe sandbox, and nothing answers at {settings.sandbox_url}. "
        "Start Licenzy with `licenzy serve`, which runs both."
    )


def _project(runtime: Runtime) -> str:
    now = runtime.clock()
    with runtime.database.write() as db:
        workspace_id = ensure_first_workspace(db, now=now)
        mine = select(Project.id).where(
            Project.workspace_id == workspace_id,
            Project.name == PROJECT_NAME,
            col(Project.archived_at).is_(None),
            col(Project.deleted_at).is_(None),
        )
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
        raise click.ClickException(_no_sandbox(runtime.settings)) from None
    return connections.register_endpoint(
        runtime.database,
        runtime.gateway,
        runtime.secret_box,
        Scope(project_id, Mode.TEST),
        base_url=runtime.settings.base_url,
        has_trials=has_trials,
        actor=_CLI,
        now=runtime.clock(),
    )


def _product(runtime: Runtime, connection: Connection, offer: _DemoOffer) -> SeededProduct:
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
    price = product.main_price
    return SeededProduct(code, product.kind.value, price.stripe_price_id if price is not None else None)


def _price(runtime: Runtime, connection: Connection, offer: _DemoOffer) -> str:
    """The id of the offer's price at the sandbox, made as one makes it at Stripe; found by its lookup key."""
    key = connections.stripe_key(runtime.secret_box, connection)
    lookup = f"licenzy_demo_{offer.draft.product_code.lower()}"
    with httpx.Client(
        base_url=f"{runtime.settings.sandbox_url}/v1", auth=(key, ""), timeout=10, trust_env=False
    ) as stripe:
        found = _json_of(stripe.get("/prices", params={"lookup_keys[0]": lookup}))["data"]
        if found:
            return str(found[0]["id"])
        product = _json_of(stripe.post("/products", data={"name": offer.title}))
        price = {
            "product": product["id"],
            "currency": "usd",
            "unit_amount": str(offer.unit_amount),
            "lookup_key": lookup,
        }
        if offer.interval:
            price["recurring[interval]"] = offer.interval
        return str(_json_of(stripe.post("/prices", data=price))["id"])


def _json_of(answer: httpx.Response) -> dict[str, Any]:
    if answer.is_error:
        raise LicenzyError(
            f"The Stripe sandbox refused a call of the demo with status {answer.status_code}.",
            hint="Check the log of `licenzy serve`.",
        )
    body: dict[str, Any] = answer.json()
    return body
