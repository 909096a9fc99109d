"""A merchant with an account at the sandbox, who uses it as anybody uses Stripe: with the official
library."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import stripe
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from tests.contract.description import wrong_with_event
from tests.support.ports import wait_until

CONTROL = {"Authorization": "Bearer control-token"}
SUCCESS = "https://shop.test/thanks?session={CHECKOUT_SESSION_ID}"
Json = dict[str, Any]

stripe.enable_telemetry = False


class Quiet(WSGIRequestHandler):
    """Werkzeug's handler without a line per request."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass


class Shop:
    """One account, its keys, and what its owner does."""

    def __init__(self, url: str, **asked: Any) -> None:
        self.url = url
        opened = httpx.post(f"{url}/_sandbox/accounts", json={"name": "Acme", **asked}, headers=CONTROL)
        assert opened.status_code == 201, opened.text
        told = opened.json()
        self.id, self.key, self.console_url = told["account"], told["secret_key"], told["console_url"]
        self.livemode = asked.get("livemode", False)
        self.stripe = self.client(self.key).v1

    def client(self, key: str, *, retries: int = 0, timeout: float = 10) -> stripe.StripeClient:
        return stripe.StripeClient(
            key,
            base_addresses={"api": self.url},
            max_network_retries=retries,
            http_client=stripe.RequestsClient(timeout=timeout),
        )

    def raw(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        return httpx.request(method, self.url + path, headers=headers, **more)

    def control(self, method: str, path: str, **more: Any) -> httpx.Response:
        live = {"livemode": "true"} if self.livemode else {}
        return httpx.request(
            method, f"{self.url}/_sandbox/accounts/{self.id}{path}", headers=CONTROL, params=live, **more
        )

    def console_link(self) -> str:
        """A link that opens the console for whoever follows it now."""
        made = self.control("POST", "/console_links")
        assert made.status_code == 201, made.text
        return str(made.json()["url"])

    def at_console(self, method: str, address: str, **more: Any) -> httpx.Response:
        """A call by a browser that was let into the console."""
        with httpx.Client(follow_redirects=True) as browser:
            assert browser.get(self.console_link()).status_code == 200
            return browser.request(method, address, **more)

    def act(self, action: str, **named: Any) -> list[str]:
        """Let an action happen; answers the types of the events that it gave off."""
        done = self.control("POST", "/actions", json={"action": action, **named})
        assert done.status_code == 200, done.text
        return [each["type"] for each in done.json()["emitted"]]

    def refused(self, action: str, **named: Any) -> str:
        done = self.control("POST", "/actions", json={"action": action, **named})
        assert done.status_code in (400, 404), done.text
        message: str = done.json()["error"]["message"]
        return message

    def inject_faults(self, **rule: Any) -> None:
        done = self.control("POST", "/misbehaviour", json=rule)
        assert done.status_code == 200, done.text

    def price(self, amount: int = 1900, *, interval: str | None = "month", **more: Any) -> stripe.Price:
        product = self.stripe.products.create({"name": "Pro"})
        recurring: Json = {"recurring": {"interval": interval}} if interval else {}
        asked: Any = {"product": product.id, "currency": "usd", "unit_amount": amount, **recurring, **more}
        return self.stripe.prices.create(asked)

    def session(self, price: stripe.Price, *, quantity: int = 1, **more: Any) -> stripe.checkout.Session:
        mode = "subscription" if price.recurring else "payment"
        asked: Any = {
            "mode": mode,
            "line_items": [{"price": price.id, "quantity": quantity}],
            "success_url": SUCCESS,
            "cancel_url": "https://shop.test/cart",
            **({"customer_creation": "always"} if mode == "payment" and "customer" not in more else {}),
            **more,
        }
        return self.stripe.checkout.sessions.create(asked)

    def answer(self, session: stripe.checkout.Session, action: str = "pay", **fields: str) -> httpx.Response:
        """What the buyer presses on the hosted page."""
        return httpx.post(f"{self.url}/pay/{session.id}", data={"action": action, **fields})

    def bought(self, price: stripe.Price | None = None, **more: Any) -> stripe.checkout.Session:
        """A session paid at once."""
        session = self.session(price or self.price(interval=None), **more)
        assert self.answer(session).status_code == 303
        return self.stripe.checkout.sessions.retrieve(session.id)

    def subscribed(self, price: stripe.Price | None = None, **more: Any) -> stripe.Subscription:
        session = self.bought(price or self.price(), **more)
        return self.stripe.subscriptions.retrieve(str(session.subscription))

    def started(self, *prices: stripe.Price, customer: str | None = None, **more: Any) -> stripe.Subscription:
        """A subscription made over the API, to one of each price."""
        named = customer or self.stripe.customers.create({"email": "buyer@example.com"}).id
        items = [{"price": price.id} for price in prices or (self.price(),)]
        asked: Any = {"customer": named, "items": items, **more}
        return self.stripe.subscriptions.create(asked)

    def events(self) -> list[str]:
        """The types of all events so far, oldest first."""
        return [str(event.type) for event in self.stripe.events.list({"limit": 100}).data][::-1]


def headers_of(made: stripe.StripeObject) -> Mapping[str, str]:
    """The headers of the answer that an object came with."""
    assert made.last_response is not None
    return made.last_response.headers


class Receiver:
    """A merchant's webhook address. Verifies every signature with the library, and each event with the
    description."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.events: list[stripe.Event] = []
        self.headers: list[dict[str, str]] = []
        self.complaints: list[str] = []
        self.secret = ""
        self.before_answer: Callable[[], object] = lambda: None
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.port}/hook"

    def listen(self, shop: Shop, *types: str, **more: Any) -> stripe.WebhookEndpoint:
        asked: Any = {"url": self.url, "enabled_events": list(types) or ["*"], **more}
        endpoint = shop.stripe.webhook_endpoints.create(asked)
        self.secret = str(endpoint.secret)
        return endpoint

    def types(self) -> list[str]:
        return [str(event.type) for event in self.events]

    def wait_for(self, type_: str, *, times: int = 1) -> None:
        wait_until(lambda: self.types().count(type_) >= times, seconds=8, what=f"{type_} comes {times} times")

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        body = request.get_data()
        try:
            event = stripe.Webhook.construct_event(body, request.headers["Stripe-Signature"], self.secret)
            self.complaints += wrong_with_event(json.loads(body))
            self.events.append(event)
            self.headers.append(dict(request.headers))
        except Exception as problem:
            self.complaints.append(f"{type(problem).__name__}: {problem}")
        self.before_answer()
        status = self.statuses.pop(0) if self.statuses else 200
        return Response("ok", status)(environ, start_response)
