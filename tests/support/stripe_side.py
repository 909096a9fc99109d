"""What a merchant does in Stripe's dashboard: making products and prices; here at the sandbox."""

from __future__ import annotations

import httpx

from licenzy.alignment.modes import Mode
from licenzy.connections.actions import stripe_key
from licenzy.connections.queries import connection_of
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime


def make_price(
    runtime: Runtime, *, project_id: str, title: str, unit_amount: int = 1200, interval: str | None = None
) -> str:
    """A price of the sandbox account that the project's test side is connected to; gives its id."""
    with runtime.database.read() as db:
        connection = connection_of(db, Scope(project_id, Mode.TEST))
    assert connection is not None, "connect first"
    key = stripe_key(runtime.secret_box, connection)
    address = f"{runtime.settings.sandbox_url}/v1"
    with httpx.Client(base_url=address, auth=(key, ""), timeout=10, trust_env=False) as stripe:
        product = stripe.post("/products", data={"name": title}).raise_for_status().json()
        price = {"product": product["id"], "currency": "usd", "unit_amount": str(unit_amount)}
        if interval:
            price["recurring[interval]"] = interval
        return str(stripe.post("/prices", data=price).raise_for_status().json()["id"])
