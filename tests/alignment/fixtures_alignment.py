"""A project whose two modes are connected to a Stripe sandbox as they should be, to be misaligned."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

import httpx
import stripe
from flask import Flask

from licenzy.alignment.modes import Mode
from licenzy.api_keys.actions import create_key, note_used
from licenzy.catalog.actions import create_product
from licenzy.catalog.models import Kind
from licenzy.catalog.queries import has_trials, products
from licenzy.catalog.rules import Draft
from licenzy.connections import actions
from licenzy.connections.credentials import webhook_secrets
from licenzy.connections.models import Connection
from licenzy.connections.queries import connection_of
from licenzy.connections.rules import CredentialRefused
from licenzy.projects.scope import Scope
from licenzy.runtime import Runtime
from licenzy.stripe_gateway.permissions import TRIALS
from licenzy.workspace.audit import Actor
from tests.support.cast import PRICE_COLUMNS, Cast, make_cast, make_product

CONTROL = {"Authorization": "Bearer control-token"}
NOBODY = Actor(None, None)
ALL = [trial.permission for trial in TRIALS]


@dataclass
class Account:
    """An account of the sandbox in one mode."""

    id: str
    key: str
    url: str

    @property
    def stripe(self) -> Any:
        return stripe.StripeClient(self.key, base_addresses={"api": self.url}).v1

    def price(self, amount: int = 1200, *, interval: str | None = "month", currency: str = "usd") -> str:
        recurring: dict[str, Any] = {"recurring": {"interval": interval}} if interval else {}
        asked = {"unit_amount": amount, "currency": currency, "product_data": {"name": "Pro"}, **recurring}
        return str(self.stripe.prices.create(asked).id)

    def restricted(self, *lacking: str, livemode: bool = False) -> str:
        """A restricted key with all that is needed but `lacking`."""
        answer = httpx.post(
            f"{self.url}/_sandbox/accounts/{self.id}/restricted_keys",
            params={"livemode": "true"} if livemode else {},
            json={"permissions": [name for name in ALL if name not in lacking]},
            headers=CONTROL,
        )
        return str(answer.raise_for_status().json()["restricted_key"])

    def inject_faults(self, **fault: Any) -> None:
        """Add faults for this account, see `stripe_sandbox.fault_injection`; without any, clear them."""
        address = f"{self.url}/_sandbox/accounts/{self.id}/misbehaviour"
        asked: Any = {"json": fault} if fault else {}
        httpx.request("POST" if fault else "DELETE", address, headers=CONTROL, **asked).raise_for_status()

    def event(self, type_: str | None = None) -> dict[str, Any]:
        """The account's newest event, of a type where one is named."""
        asked: Any = {"limit": 1, **({"type": type_} if type_ else {})}
        found = self.stripe.events.list(asked).data[0].to_dict()
        return dict(json.loads(json.dumps(found, default=str)))


class Side:
    """One mode of the project."""

    def __init__(self, pair: ModePair, mode: Mode, account: Account) -> None:
        self.pair, self.mode, self.account = pair, mode, account
        self.token = ""

    @property
    def scope(self) -> Scope:
        return Scope(self.pair.project_id, self.mode)

    @property
    def connection(self) -> Connection:
        with self.pair.runtime.database.read() as db:
            found = connection_of(db, self.scope)
        assert found is not None
        return found

    def connect(self, key: str | None = None, **more: Any) -> None:
        parts = self.pair.runtime
        actions.save_stripe_key(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            pasted=self.account.key if key is None else key,
            actor=NOBODY,
            now=parts.clock(),
            **more,
        )

    def set_up_webhook(self, *, rotate: bool = False) -> None:
        parts = self.pair.runtime
        actions.register_endpoint(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            base_url=parts.settings.base_url,
            rotate=rotate,
            has_trials=has_trials,
            actor=NOBODY,
            now=parts.clock(),
        )

    def save_secret(self, secret: str) -> None:
        """Save a signing secret by hand, as where Stripe cannot reach us."""
        parts = self.pair.runtime
        actions.paste_webhook_secret(
            parts.database, parts.secret_box, self.scope, pasted=secret, actor=NOBODY, now=parts.clock()
        )

    def sell(self, code: str = "PRO", kind: Kind = Kind.SUBSCRIPTION, **price: Any) -> str:
        """A product mapped to a new price; gives its price's id."""
        parts = self.pair.runtime
        price.setdefault("interval", "month" if kind is Kind.SUBSCRIPTION else None)
        more = {key: price.pop(key) for key in ("units", "duration_seconds", "included") if key in price}
        price_id = price.pop("price_id", None) or self.account.price(**price)
        draft = Draft(code, kind, price_id, **more)
        create_product(
            parts.database,
            parts.gateway,
            parts.secret_box,
            self.scope,
            draft=draft,
            actor=NOBODY,
            now=parts.clock(),
        )
        return str(price_id)

    def make_key(self, *, used: bool = True, **more: Any) -> str:
        """An API key; gives its id."""
        with self.pair.runtime.database.write() as db:
            key, self.token = create_key(
                db, self.scope, name="backend", created_by=None, now=self.pair.clock(), **more
            )
            if used:
                note_used(db, key_id=key.id, now=self.pair.clock())
        return key.id

    def align(self) -> None:
        """Everything that this side needs, proven."""
        self.connect()
        if self.pair.runtime.settings.base_url.startswith("https"):
            self.set_up_webhook()
        else:
            self.save_secret(f"whsec_of_the_{self.mode}_side_0123456789")
        self.sell()
        self.make_key()
        self.prove()

    def prove(self) -> None:
        assert self.deliver(self.account.event()) == 200

    def secret(self) -> str:
        return webhook_secrets(self.pair.runtime.secret_box, self.connection, now=self.pair.clock())[0]

    def deliver(self, event: dict[str, Any], *, secret: str | None = None, to: str | None = None) -> int:
        """Post a signed event as Stripe does; gives the status."""
        body = json.dumps(event).encode()
        stamp = int(self.pair.clock().timestamp())
        signed = f"{stamp}.".encode() + body
        signature = hmac.new((secret or self.secret()).encode(), signed, hashlib.sha256).hexdigest()
        answer = self.pair.client.post(
            f"/v1/webhooks/stripe/{to or self.connection.id}",
            data=body,
            headers={"Stripe-Signature": f"t={stamp},v1={signature}"},
            base_url=self.pair.runtime.settings.base_url,
        )
        return int(answer.status_code)

    def forward(self, **filters: Any) -> None:
        """Deliver the account's events so far, oldest first."""
        for event in reversed(self.account.stripe.events.list({"limit": 100, **filters}).data):
            self.deliver(json.loads(json.dumps(event.to_dict(), default=str)))

    def checkout(self, code: str = "PRO", key: str = "k", **headers: str) -> Any:
        return self.pair.client.post(
            "/v1/checkout/session",
            json={"subject_ref": "user_1", "product_code": code},
            headers={"Authorization": f"Bearer {self.token}", "Idempotency-Key": key, **headers},
            base_url=self.pair.runtime.settings.base_url,
        )

    def check(self, *, explain: bool = False, **headers: str) -> Any:
        return self.pair.client.post(
            f"/v1/access/check{'?explain=true' if explain else ''}",
            json={"subject_ref": "user_1"},
            headers={"Authorization": f"Bearer {self.token}", **headers},
            base_url=self.pair.runtime.settings.base_url,
        )

    def change(self, **columns: Any) -> None:
        """Change the connection's row, as only a hand in the database could."""
        with self.pair.runtime.database.write() as db:
            row = db.get_one(Connection, self.connection.id)
            for name, value in columns.items():
                setattr(row, name, value)
            db.add(row)

    def remap(self, **columns: Any) -> None:
        """Change the row of the product, or of its price, in the same way."""
        with self.pair.runtime.database.write() as db:
            product = products(db, self.scope)[0]
            for name, value in columns.items():
                setattr(product.prices[0] if name in PRICE_COLUMNS else product, name, value)
            db.add(product)

    def share_price(self, code: str) -> None:
        """Another product at the price of the first one, as earlier versions allowed."""
        with self.pair.runtime.database.write() as db:
            price = products(db, self.scope)[0].prices[0].stripe_price_id
            make_product(
                db, project_id=self.pair.project_id, mode=self.mode, product_code=code, stripe_price_id=price
            )

    def paste(self, text: str) -> None:
        try:
            self.connect(text)
        except CredentialRefused:
            return
        raise AssertionError("it was taken")

    def paste_secret(self, text: str) -> None:
        parts = self.pair.runtime
        try:
            actions.paste_webhook_secret(
                parts.database, parts.secret_box, self.scope, pasted=text, actor=NOBODY, now=parts.clock()
            )
        except CredentialRefused:
            return
        raise AssertionError("it was taken")

    def endpoint(self, *, host: str | None = None, **more: Any) -> Any:
        """Another endpoint at Stripe with this connection's address, at another host where one is named."""
        base_url = f"https://{host}" if host else self.pair.runtime.settings.base_url
        asked = {
            "url": f"{base_url}/v1/webhooks/stripe/{self.connection.id}",
            "enabled_events": ["*"],
            "api_version": stripe.api_version,
            **more,
        }
        return self.account.stripe.webhook_endpoints.create(
            {name: value for name, value in asked.items() if value is not None}
        )


class ModePair:
    """The project, the clock, and the accounts that it can be connected to."""

    def __init__(self, app: Flask, clock: Any, sandbox_url: str) -> None:
        self.app, self.clock, self.url = app, clock, sandbox_url
        self.runtime: Runtime = app.extensions["licenzy"]
        self.client = app.test_client()
        with self.runtime.database.write() as db:
            self.cast: Cast = make_cast(db, now=clock())
        self.project_id = self.cast.project_id
        name = self.project_id
        self.test = Side(self, Mode.TEST, self.open_account(reference=name))
        self.live = Side(self, Mode.LIVE, self.open_account(livemode=True, reference=name))

    def open_account(self, *, livemode: bool = False, reference: str | None = None) -> Account:
        asked = {"name": "Tea", "livemode": livemode, **({"reference": reference} if reference else {})}
        told = (
            httpx.post(f"{self.url}/_sandbox/accounts", json=asked, headers=CONTROL).raise_for_status().json()
        )
        return Account(told["account"], told["secret_key"], self.url)

    def doctor(self, *, check: bool = False) -> list[dict[str, Any]]:
        """What `licenzy doctor --json` finds in the project."""
        asked = ["doctor", "--json", "--project", self.project_id, *(["--check"] if check else [])]
        run = self.app.test_cli_runner().invoke(args=asked)
        found: list[dict[str, Any]] = json.loads(run.output)["findings"]
        assert run.exit_code == (1 if found else 0)
        return found

    def codes(self, *, check: bool = False) -> dict[str, list[str]]:
        found = self.doctor(check=check)
        return {mode: sorted(f["code"] for f in found if f["mode"] == mode) for mode in ("test", "live")}
