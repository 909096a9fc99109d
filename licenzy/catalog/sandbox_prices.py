"""Creating prices in the sandbox, where no Dashboard does it."""

from __future__ import annotations

from datetime import datetime

from licenzy.alignment.modes import Mode
from licenzy.alignment.shapes import shape_problem
from licenzy.catalog.included import lines_of, price_step_problem
from licenzy.catalog.models import Product
from licenzy.catalog.new_prices import NewPrice, price_idempotency_key, price_text
from licenzy.catalog.rules import ProductRefused
from licenzy.connections.actions import access
from licenzy.connections.models import Connection, Provider
from licenzy.connections.queries import connection_of
from licenzy.db.unit_of_work import Database
from licenzy.errors import NotFound
from licenzy.kit.secret_box import SecretBox
from licenzy.projects.scope import Scope
from licenzy.stripe_gateway.client import PriceFacts, StripeGateway
from licenzy.workspace.audit import Actor, record


def creates_prices(connection: Connection | None) -> bool:
    """Whether the pages create prices here. In an account of Stripe's own they are made in its Dashboard."""
    return (
        connection is not None
        and connection.provider is Provider.SANDBOX
        and connection.mode is Mode.TEST
        and connection.key_sealed is not None
    )


def create_sandbox_price(
    database: Database,
    gateway: StripeGateway,
    secret_box: SecretBox,
    scope: Scope,
    *,
    new: NewPrice,
    name: str,
    product: Product | None,
    submission_id: str,
    actor: Actor,
    now: datetime,
) -> PriceFacts:
    """Create a price in the sandbox: one more of a product, else the first of a new one with this name.

    It is not mapped to anything yet. Of one `submission_id` it is created once. Raises NotFound where the
    mode is not connected to the sandbox, ProductRefused for one that the product cannot be sold at, and
    Stripe's errors.
    """
    with database.read() as db:
        connection = connection_of(db, scope)
    if connection is None or not creates_prices(connection):
        raise NotFound("This mode is not connected to the sandbox.")
    sold_at = (product.selling_prices or product.prices) if product is not None else []
    if product is not None and (
        problem := shape_problem(product.kind, recurring=new.interval is not None, metered=False)
    ):
        raise ProductRefused({"interval": problem})
    # Before it is created: a price that cannot be added would be left over in the sandbox.
    if product is not None and (problem := price_step_problem(lines_of(product.included), new)):
        raise ProductRefused({"interval": problem})
    params = new.params(
        stripe_product_id=sold_at[0].stripe_product_id if sold_at else None,
        name=product.product_code if product is not None else name,
    )
    key = price_idempotency_key(scope, {**params, "submission_id": submission_id})
    made = gateway.create_price(access(gateway, secret_box, connection), params, idempotency_key=key)
    with database.write() as db:
        record(
            db,
            actor=actor,
            action="price.created",
            project_id=scope.project_id,
            mode=scope.mode,
            about=made.id,
            after={"price": price_text(new), "name": made.product_name},
            now=now,
        )
    return made
