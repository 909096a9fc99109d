"""A Stripe that fails, hangs, breaks off or talks nonsense: one deadline, one sentence, no secret."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from licenzy.errors import LicenzyError, StripeError, StripeTimeout, StripeUnavailable
from licenzy.stripe_gateway import transport
from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.pace import Pace
from licenzy.stripe_gateway.translate import (
    StripeAnswerUnreadable,
    StripeKeyRejected,
    StripeObjectMissing,
    StripePermissionMissing,
    was_answered,
)
from tests.stripe_gateway.conftest import Account, Scripted
from tests.support.ports import free_port_pair, wait_until
from tests.support.threads import join

Serve = Callable[..., tuple[Scripted, StripeAccess]]
SUBSCRIPTION = json.dumps(
    {"id": "sub_1", "status": "active", "items": {"data": [{"id": "si_1", "price": {"id": "price_1"}}]}}
)
SECRET = "sk_test_51secretsecretsecret"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines a tenth of what they are."""
    monkeypatch.setattr(transport, "DEADLINE_SECONDS", 1.0)
    monkeypatch.setattr(transport, "_READ_SECONDS", 0.6)
    monkeypatch.setattr(transport, "_CONNECT_SECONDS", 0.2)


def refusal(ask: Callable[[], object]) -> LicenzyError:
    with pytest.raises(LicenzyError) as refused:
        ask()
    error = refused.value
    assert (error.code, error.status) in {
        ("stripe_error", 502),
        ("stripe_unavailable", 503),
        ("stripe_timeout", 504),
    }
    shown = f"{error} {error!r} {error.message} {error.hint} {error.fields} {error.extra} {error.headers}"
    for secret in (SECRET, SECRET[8:], "whsec_abc", "rk_live_51abc"):
        assert secret not in shown
    return error


def error_body(message: str = "No.", **fields: Any) -> str:
    return json.dumps({"error": {"type": "invalid_request_error", "message": message, **fields}})


def session_params(account: Account) -> dict[str, Any]:
    items = [{"price": account.price(), "quantity": 1}]
    return {"mode": "payment", "success_url": "https://example.com/done", "line_items": items}


def test_an_error_of_stripes_own(gateway: StripeGateway, account: Account) -> None:
    account.inject_faults(http_500=1)
    error = refusal(lambda: gateway.account(account.access))
    assert type(error) is StripeUnavailable
    assert was_answered(error)
    assert gateway.account(account.access).id == account.id


@pytest.mark.parametrize("status", [500, 502, 503, 504, 409])
def test_three_tries_and_no_more(gateway: StripeGateway, scripted: Serve, status: int) -> None:
    app, access = scripted((status, error_body()))
    assert type(refusal(lambda: gateway.account(access))) is StripeUnavailable
    assert len(app.calls) == 3


def test_the_tries_of_one_call_have_one_idempotency_key(gateway: StripeGateway, scripted: Serve) -> None:
    session = json.dumps({"id": "cs_1", "url": "https://checkout.example", "expires_at": 1})
    app, access = scripted((503, ""), (503, ""), (200, session))
    assert gateway.create_checkout_session(access, {}, idempotency_key="att_1:0").id == "cs_1"
    assert [call["HTTP_IDEMPOTENCY_KEY"] for call in app.calls] == ["att_1:0"] * 3


def test_a_long_retry_after_is_not_waited_for(gateway: StripeGateway, scripted: Serve) -> None:
    app, access = scripted((503, error_body()))
    app.headers = [("Retry-After", "60")]
    started = time.monotonic()
    refusal(lambda: gateway.account(access))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("status", "body", "kind", "answered"),
    [
        (400, error_body(), StripeError, True),
        (402, error_body(type="card_error"), StripeError, True),
        (404, error_body(code="resource_missing"), StripeObjectMissing, True),
        (400, error_body(type="idempotency_error"), StripeError, True),
        (401, error_body(), StripeKeyRejected, True),
        (403, error_body("Having the 'rak_price_read' permission would do."), StripePermissionMissing, True),
        (403, error_body("No reason."), StripePermissionMissing, True),
        (429, error_body(code="rate_limit"), StripeUnavailable, False),
        (429, error_body(code="lock_timeout"), StripeUnavailable, False),
        (400, error_body(code="rate_limit"), StripeUnavailable, True),
        (409, error_body(code="idempotency_key_in_use"), StripeUnavailable, False),
        (500, error_body(), StripeUnavailable, True),
        # What follows is not Stripe's: the call may have been done behind it, or not.
        (500, "", StripeUnavailable, False),
        (502, "<html>Bad gateway</html>", StripeUnavailable, False),
        (404, "<html>Not here</html>", StripeAnswerUnreadable, False),
        (200, "<html>A captive portal</html>", StripeAnswerUnreadable, False),
        (200, "", StripeAnswerUnreadable, False),
        (400, "[]", StripeAnswerUnreadable, False),
        (401, "null", StripeAnswerUnreadable, False),
        (402, '{"error":null}', StripeAnswerUnreadable, False),
        (403, '{"error":"invalid_grant"}', StripeAnswerUnreadable, False),
        (400, '{"error":[]}', StripeAnswerUnreadable, False),
        (400, '{"error":{"message":{"a":1}}}', StripeAnswerUnreadable, False),
        (400, '{"error":{"message":"No.","code":["x"]}}', StripeAnswerUnreadable, False),
        (400, "[" * 5000, StripeAnswerUnreadable, False),
        (400, error_body(payment_intent={"object": ["x"]}), StripeError, True),
        (429, "<html>Slower</html>", StripeUnavailable, False),
        (302, "", StripeAnswerUnreadable, False),
    ],
)
def test_answers_in_our_words(
    gateway: StripeGateway, scripted: Serve, status: int, body: str, kind: type, answered: bool
) -> None:
    _, access = scripted((status, body))
    error = refusal(lambda: gateway.price(access, "price_1"))
    assert type(error) is kind
    assert was_answered(error) is answered
    assert "<html>" not in error.message


def test_the_missing_permission_is_named(gateway: StripeGateway, scripted: Serve) -> None:
    _, access = scripted((403, error_body("Having the 'rak_price_read' permission would do.")))
    error = refusal(lambda: gateway.price(access, "price_1"))
    assert isinstance(error, StripePermissionMissing)
    assert error.permission == "rak_price_read"
    assert "rak_price_read" in error.message


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 429, 500])
def test_no_key_is_repeated_from_stripes_sentence(
    gateway: StripeGateway, scripted: Serve, status: int
) -> None:
    said = f'No {SECRET}, ({SECRET}) whsec_abcdefgh "{SECRET}" rk_live_51abcdefgh {"x" * 5000}'
    _, access = scripted((status, error_body(said)))
    error = refusal(lambda: gateway.price(access, "price_1"))
    assert len(error.message) < 400
    assert SECRET not in repr(access) + repr(gateway)


def test_a_hang_ends_with_the_deadline(gateway: StripeGateway, scripted: Serve, short: None) -> None:
    app, access = scripted((200, "{}"))
    app.hangs = 5
    started = time.monotonic()
    error = refusal(lambda: gateway.account(access))
    assert type(error) is StripeTimeout
    assert not was_answered(error)
    assert 0.9 < time.monotonic() - started < 1.4


def test_a_call_that_hung_once_is_repeated(gateway: StripeGateway, scripted: Serve, short: None) -> None:
    app, access = scripted((200, '{"id":"acct_1","object":"account"}'))
    app.hangs = 1
    assert gateway.account(access).id == "acct_1"
    assert len(app.calls) == 2


@pytest.mark.parametrize("fault", [{"drop_after_work": 1}, {"hang_seconds": 0.7, "hang_calls": 1}])
def test_an_answer_that_was_lost_is_asked_for_again(
    gateway: StripeGateway, account: Account, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]
) -> None:
    monkeypatch.setattr("stripe._http_client.HTTPClient.INITIAL_DELAY", 0.4)
    monkeypatch.setattr(transport, "_READ_SECONDS", 0.5)
    params = session_params(account)
    account.inject_faults(match="POST /v1/checkout/sessions", **fault)
    session = gateway.create_checkout_session(account.access, params, idempotency_key="att_1:0")
    assert [each.id for each in account.stripe.v1.checkout.sessions.list().data] == [session.id]


def test_nothing_listens(gateway: StripeGateway) -> None:
    access = StripeAccess(SECRET, f"http://127.0.0.1:{free_port_pair()}")
    error = refusal(lambda: gateway.account(access))
    assert type(error) is StripeUnavailable
    assert not was_answered(error)


def test_too_many_callers_are_turned_away_at_once(scripted: Serve) -> None:
    gateway = StripeGateway(stripe_base=None, sandbox_base=None, concurrent_calls=1)
    app, access = scripted((200, SUBSCRIPTION))
    app.hangs = 1
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.append(gateway.subscription(access, "sub_1").value["id"]))
    waiting.start()
    wait_until(lambda: len(app.calls) == 1, seconds=5, what="the first call is under way")
    error = refusal(lambda: gateway.subscription(access, "sub_1"))
    assert type(error) is StripeUnavailable
    assert not was_answered(error), "nothing was asked, so a repeat may use the same idempotency key"
    assert (len(app.calls), found) == (1, []), "it did not wait for the first, which still hangs"
    app.over.set()
    join(waiting, seconds=5)
    assert found == ["sub_1"]
    assert gateway.subscription(access, "sub_1").value["id"] == "sub_1"


def test_failures_give_their_place_back(account: Account) -> None:
    gateway = StripeGateway(stripe_base=None, sandbox_base=None, concurrent_calls=1)
    for _ in range(3):
        assert isinstance(refusal(lambda: gateway.price(account.access, "price_none")), StripeObjectMissing)
    assert gateway.account(account.access).id == account.id


def test_a_call_that_comes_too_often_is_repeated_and_then_worded(
    gateway: StripeGateway, scripted: Serve
) -> None:
    account = '{"id":"acct_1","object":"account"}'
    app, access = scripted((429, error_body(code="rate_limit")), (200, account))
    assert gateway.account(access).id == "acct_1"
    assert len(app.calls) == 2
    app, access = scripted((429, error_body(code="rate_limit")))
    error = refusal(lambda: gateway.account(access))
    assert (type(error), error.status, len(app.calls)) == (StripeUnavailable, 503, 3)


def test_a_retry_after_is_waited_for_where_the_deadline_allows_it(
    gateway: StripeGateway, scripted: Serve
) -> None:
    app, access = scripted((429, error_body(code="rate_limit")), (200, '{"id":"acct_1","object":"account"}'))
    app.headers = [("Retry-After", "1")]
    began = time.monotonic()
    assert gateway.account(access).id == "acct_1"
    assert time.monotonic() - began >= 1
    app, access = scripted((429, error_body(code="rate_limit")))
    app.headers = [("Retry-After", "60")]
    began = time.monotonic()
    error = refusal(lambda: gateway.account(access))
    assert (time.monotonic() - began < 5, error.retry_after, len(app.calls)) == (True, 60, 1)


def test_what_nobody_waits_for_has_patience_and_takes_its_turns(
    gateway: StripeGateway, scripted: Serve
) -> None:
    """The whole account rests when Stripe asks for fewer calls, and every request has a turn of its own."""
    turns: list[int] = []
    rests: list[float] = []
    paced = Pace(lambda: turns.append(1), rests.append)
    app, access = scripted((429, error_body(code="rate_limit")), (200, SUBSCRIPTION))
    found = gateway.subscription(replace(access, pace=paced), "sub_1").value
    assert (found["id"], len(turns), len(app.calls)) == ("sub_1", 2, 2)
    assert [1 <= seconds < 1.5 for seconds in rests] == [True]
    app, access = scripted((503, ""), (200, SUBSCRIPTION))
    turns.clear()
    gateway.subscription(replace(access, pace=paced), "sub_1")
    assert (len(turns), len(app.calls)) == (2, 2)
