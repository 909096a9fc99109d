"""Something between us and Stripe that lets the work be done and then answers nonsense with status 200."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlmodel import select

from licenzy.catalog.models import Kind, Product
from licenzy.checkout.models import AttemptStatus, CheckoutAttempt
from licenzy.factory import sandbox_app
from licenzy.settings import Settings
from licenzy.stripe_gateway import transport
from licenzy.subjects.models import Subject
from tests.checkout.conftest import Shop
from tests.conftest import Sandbox
from tests.support.purchases import make_attempt
from tests.support.servers import served

Sell = Callable[..., Product]


class Garbler:
    """The sandbox, behind something that gives `answer` instead of its own while there is one."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.answer: bytes | None = None
        self.keys: list[str] = []
        """The Idempotency-Key of every call that has one."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if not environ["PATH_INFO"].startswith("/v1/"):
            return self.application(environ, start_response)
        if environ["REQUEST_METHOD"] == "POST":
            self.keys.append(environ["HTTP_IDEMPOTENCY_KEY"])
        if self.answer is None:
            return self.application(environ, start_response)
        b"".join(self.application(environ, lambda *_answered: lambda _body: None))
        start_response("200 OK", [("Content-Type", "text/html")])
        return [self.answer]


@pytest.fixture
def garbler(settings: Settings) -> Iterator[Garbler]:
    application = sandbox_app(settings)
    yield Garbler(application)
    application.close()
    transport.client_of.cache_clear()


@pytest.fixture
def sandbox(settings: Settings, garbler: Garbler) -> Iterator[Sandbox]:
    with served(garbler, port=settings.port + 1) as url:
        yield Sandbox(garbler.application, url, settings.derived_secret("sandbox control"))


def attempts(shop: Shop) -> list[CheckoutAttempt]:
    with shop.runtime.database.read() as db:
        return list(db.exec(select(CheckoutAttempt)))


NONSENSE = [
    b"<html>A captive portal</html>",
    b"",
    b"null",
    b"[]",
    b"[5]",
    b'{"object":"list","data":null}',
    b'{"error":{"message":"No."}}',
    b'{"id":"cs_1","object":"checkout.session","url":null,"expires_at":1800000000}',
    b'{"id":"cs_1","object":"checkout.session","url":5,"expires_at":1800000000}',
    b'{"object":"checkout.session","url":"https://x.example","expires_at":1800000000}',
    b'{"id":7,"object":"checkout.session","url":"https://x.example","expires_at":1800000000}',
    b'{"id":"cs_1","object":"checkout.session","url":"https://x.example"}',
    b'{"id":"cs_1","object":"checkout.session","url":"https://x.example","expires_at":1e300}',
]


@pytest.mark.parametrize("answer", NONSENSE, ids=[str(each)[:60] for each in NONSENSE])
def test_a_checkout_is_refused_and_its_repeat_gets_the_one_session(
    shop: Shop, sell: Sell, garbler: Garbler, answer: bytes
) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    garbler.answer = answer
    garbler.keys.clear()
    for _ in range(2):  # At once, without waiting for anything.
        refused = shop.checkout()
        assert (refused.status_code, refused.get_json()["error"]) == (502, "stripe_error"), refused.text
    garbler.answer = None
    found = shop.checkout()
    assert found.status_code == 201, found.text
    (attempt,) = attempts(shop)
    assert found.get_json()["attempt_id"] == attempt.id
    assert [session.id for session in shop.sessions()] == [found.get_json()["stripe_checkout_session_id"]]
    assert set(garbler.keys) == {f"{attempt.id}:0"}


def test_a_call_that_breaks_for_any_other_reason_frees_its_key_too(
    shop: Shop, sell: Sell, garbler: Garbler
) -> None:
    product = sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.checkout("k1", subject_ref="somebody_else")
    with shop.runtime.database.write() as db:
        make_attempt(
            db,
            connection=shop.connection,
            subject=db.exec(select(Subject)).one(),
            product=product,
            session_id="cs_test_of_another_attempt",
        )
    taken = {"id": "cs_test_of_another_attempt", "url": "https://x.example", "expires_at": 1_800_000_000}
    garbler.answer = json.dumps(taken).encode()
    assert shop.checkout("k2").status_code == 500
    garbler.answer = None
    found = shop.checkout("k2")
    assert found.status_code == 201, found.text
    assert {each.status for each in attempts(shop)} == {AttemptStatus.OPEN}


@pytest.mark.parametrize("answer", [*NONSENSE[:7], b'{"id":"bps_1","url":null}', b'{"id":"bps_1","url":[]}'])
def test_a_portal_session_is_refused(shop: Shop, sell: Sell, garbler: Garbler, answer: bytes) -> None:
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    shop.checkout()
    customer = shop.stripe.v1.customers.create({"email": "known@example.com"})
    with shop.runtime.database.write() as db:
        db.exec(select(Subject)).one().stripe_customer_id = customer.id
    garbler.answer = answer
    refused = shop.client.post(
        "/v1/billing/portal-session",
        json={"subject_ref": "user_123"},
        headers={"Authorization": f"Bearer {shop.token}"},
    )
    assert (refused.status_code, refused.get_json()["error"]) == (502, "stripe_error"), refused.text
