"""A project whose test side is connected to the running sandbox, with something of each kind to buy."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import stripe

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind
from licenzy.catalog.queries import has_trials
from licenzy.checkout.actions import open_session
from licenzy.checkout.preparation import CheckoutRequest, RequestedItem, Seller
from licenzy.connections.actions import connect_sandbox, register_endpoint, stripe_key
from licenzy.idempotency.actions import CallKey
from licenzy.lab.actions import Lab, let_happen
from licenzy.lab.queries import Bench, bench
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.workspace.audit import Actor
from tests.support.cast import Cast, make_product
from tests.support.ports import wait_until

_SOLD: dict[str, tuple[str, Kind, dict[str, Any]]] = {
    "licenzy_demo_pro_monthly": ("PRO_MONTHLY", Kind.SUBSCRIPTION, {"grace_days": 0}),
    "licenzy_demo_day_pass": ("DAY_PASS", Kind.TIME_PASS, {}),
    "licenzy_demo_credits_1000": ("CREDITS_1000", Kind.USAGE_PACK, {}),
}


@dataclass
class Playground:
    """The lab of a project, and the account behind it."""

    runtime: Runtime
    project_id: str
    stripe: stripe.StripeClient

    @property
    def scope(self) -> Scope:
        return Scope(self.project_id, Mode.TEST)

    @property
    def lab(self) -> Lab:
        parts = self.runtime
        return Lab(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings)

    def checkout(self, product_code: str = "PRO_MONTHLY", subject_ref: str = "user_lab") -> str:
        """An open checkout; the id of its attempt."""
        parts = self.runtime
        seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
        call_key = CallKey(Scope(self.project_id, Mode.TEST), "checkout/session", secrets.token_hex(8))
        asked = CheckoutRequest(subject_ref=subject_ref, product_code=product_code)
        return str(open_session(seller, request=asked, call_key=call_key, body_hash="x").answer["attempt_id"])

    def checkout_of(self, *items: RequestedItem, subject_ref: str = "user_lab") -> str:
        """An open checkout of several products; the id of its attempt."""
        parts = self.runtime
        seller = Seller(parts.database, parts.gateway, parts.secret_box, parts.clock, parts.settings.base_url)
        call_key = CallKey(Scope(self.project_id, Mode.TEST), "checkout/session", secrets.token_hex(8))
        asked = CheckoutRequest(subject_ref=subject_ref, items=items)
        return str(open_session(seller, request=asked, call_key=call_key, body_hash="x").answer["attempt_id"])

    def bought(self, product_code: str = "PRO_MONTHLY", subject_ref: str = "user_lab") -> str:
        """A checkout that is paid, and known to be."""
        attempt_id = self.checkout(product_code, subject_ref)
        self.let("pay_session", attempt_id)
        return attempt_id

    def let(self, action: str, attempt_id: str, **how: Any) -> Bench:
        """Let something happen and wait for what it tells."""
        let_happen(self.lab, self.scope, attempt_id=attempt_id, action=action, **how)
        wait_until(lambda: not self.bench(attempt_id).moving, seconds=40, what=f"{action} has arrived")
        return self.bench(attempt_id)

    def bench(self, attempt_id: str) -> Bench:
        with self.runtime.database.read() as db:
            return bench(db, self.scope, attempt_id=attempt_id, now=self.runtime.clock())


def make_playground(runtime: Runtime, cast: Cast) -> Playground:
    """Connected, with its webhook set up and the sample prices mapped."""
    actor = Actor(user_id=cast.owner.user_id)
    parts = (runtime.database, runtime.gateway, runtime.secret_box)
    connection = connect_sandbox(
        *parts,
        runtime.settings,
        project_id=cast.project_id,
        project_name="Our project",
        actor=actor,
        now=runtime.clock(),
    )
    register_endpoint(
        *parts,
        scope=Scope(cast.project_id, Mode.TEST),
        base_url=runtime.settings.base_url,
        has_trials=has_trials,
        actor=actor,
        now=runtime.clock(),
    )
    at_stripe = stripe.StripeClient(
        stripe_key(runtime.secret_box, connection),
        base_addresses={"api": runtime.settings.sandbox_url},
    )
    prices = {price.lookup_key: price.id for price in at_stripe.v1.prices.list({"limit": 100}).data}
    with runtime.database.write() as db:
        for lookup_key, (code, kind, columns) in _SOLD.items():
            make_product(
                db,
                project_id=cast.project_id,
                product_code=code,
                kind=kind,
                stripe_price_id=prices[lookup_key],
                **columns,
            )
    return Playground(runtime, cast.project_id, at_stripe)
