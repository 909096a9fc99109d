"""A side whose catalog is edited: connected to the sandbox over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog import actions, prices, queries
from licenzy.catalog.models import Kind, Product
from licenzy.catalog.rules import Draft
from licenzy.connections import actions as connections
from licenzy.entitlements.queries import was_granted
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from tests.conftest import Sandbox
from tests.support.cast import Cast
from tests.support.clock import StandingClock


class Catalog:
    """The test side of a project that is connected to the sandbox over HTTP."""

    def __init__(self, runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> None:
        self.runtime, self.cast, self.sandbox, self.clock = runtime, cast, sandbox, clock
        self.parts = (runtime.database, runtime.gateway, runtime.secret_box)
        self.side = Scope(cast.project_id, Mode.TEST)
        self.actor = Actor(cast.owner.user_id)
        connection = connections.connect_sandbox(
            *self.parts,
            runtime.settings,
            project_id=cast.project_id,
            project_name="Our project",
            actor=self.actor,
            now=clock(),
        )
        self.key = connections.stripe_key(runtime.secret_box, connection)
        listed = prices.prices_at_stripe(*self.parts, scope=self.side)
        self.prices = {(price.lookup_key or "").removeprefix("licenzy_demo_"): price.id for price in listed}

    def stripe(self, path: str, **data: str) -> dict[str, Any]:
        """A call of the merchant's own to their account, behind our back."""
        answer = httpx.post(f"{self.sandbox.url}/v1{path}", data=data, auth=(self.key, ""), trust_env=False)
        told: dict[str, Any] = answer.raise_for_status().json()
        return told

    def create(self, draft: Draft, **side: Any) -> Product:
        return actions.create_product(
            *self.parts, replace(self.side, **side), draft=draft, actor=self.actor, now=self.clock()
        )

    def edit(self, product: Product, draft: Draft) -> Product:
        return actions.edit_product(
            *self.parts,
            scope=self.side,
            product_id=product.id,
            draft=draft,
            was_granted=was_granted,
            actor=self.actor,
            now=self.clock(),
        )

    def add(self, product: Product, price_id: str, label: str) -> Product:
        return prices.add_price(
            *self.parts,
            scope=self.side,
            product_id=product.id,
            price_id=price_id,
            label=label,
            actor=self.actor,
            now=self.clock(),
        )

    def now_has(self, product: Product) -> Product:
        """The product as it is stored now."""
        with self.runtime.database.read() as db:
            return queries.product(db, self.side, product_id=product.id)

    def subscription(self, code: str = "PRO_MONTHLY") -> Draft:
        return Draft(code, Kind.SUBSCRIPTION, self.prices["pro_monthly"])


@pytest.fixture
def catalog(runtime: Runtime, cast: Cast, sandbox: Sandbox, clock: StandingClock) -> Catalog:
    return Catalog(runtime, cast, sandbox, clock)
