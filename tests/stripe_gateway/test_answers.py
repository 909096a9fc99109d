"""Answers of status 200 that are not in Stripe's shape: every call says so, and none breaks on one."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from licenzy.stripe_gateway.client import StripeAccess, StripeGateway
from licenzy.stripe_gateway.permissions import TRIALS
from licenzy.stripe_gateway.translate import StripeAnswerUnreadable, was_answered
from tests.stripe_gateway.conftest import Scripted

Serve = Callable[..., tuple[Scripted, StripeAccess]]
Call = Callable[[StripeGateway, StripeAccess], Any]

SESSION = {
    "id": "cs_1", "object": "checkout.session", "url": "https://checkout.example",
    "expires_at": 1_800_000_000, "mode": "payment", "status": "complete", "payment_status": "paid",
    "metadata": {}, "line_items": {"data": [{"price": {"id": "price_1"}, "quantity": 1}]},
}  # fmt: skip
INVOICE = {"id": "in_1", "object": "invoice", "status": "paid", "amount_due": 1, "metadata": {}}
SUBSCRIPTION = {
    "id": "sub_1", "object": "subscription", "status": "active", "latest_invoice": INVOICE,
    "items": {"data": [{"id": "si_1", "price": {"id": "price_1"}, "current_period_end": 1_800_000_000}]},
}  # fmt: skip
PRICE = {
    "id": "price_1", "object": "price", "active": True, "livemode": False, "unit_amount": 1,
    "currency": "usd", "product": {"id": "prod_1", "name": "Pro", "active": True},
    "recurring": {"interval": "month", "interval_count": 1},
}  # fmt: skip
ACCOUNT = {
    "id": "acct_1", "object": "account", "email": None, "country": "DE", "charges_enabled": True,
    "settings": {"dashboard": {"display_name": "A shop"}}, "business_profile": {"name": None},
}  # fmt: skip
ENDPOINT = {
    "id": "we_1", "object": "webhook_endpoint", "url": "https://here.example", "status": "enabled",
    "enabled_events": ["*"], "livemode": False, "secret": "whsec_1", "api_version": None,
}  # fmt: skip
EVENT = {"id": "evt_1", "object": "event", "type": "invoice.paid"}
REFUND = {"id": "re_1", "object": "refund", "metadata": {}}


def listed(*entries: Any, has_more: Any = False) -> dict[str, Any]:
    return {"object": "list", "data": [*entries], "has_more": has_more}


# What each call is, and an answer that it takes.
CALLS: dict[str, tuple[Call, Any]] = {
    "account": (lambda g, at: g.account(at), ACCOUNT),
    "prices": (lambda g, at: g.prices(at), listed(PRICE)),
    "price": (lambda g, at: g.price(at, "price_1"), PRICE),
    "prices_by_lookup_key": (lambda g, at: g.prices_by_lookup_key(at, ["pro"]), listed(PRICE)),
    "create_price": (lambda g, at: g.create_price(at, {"currency": "usd"}, idempotency_key="k"), PRICE),
    "create_checkout_session": (
        lambda g, at: g.create_checkout_session(at, {"mode": "payment"}, idempotency_key="k"), SESSION,
    ),
    "close_checkout_session": (lambda g, at: g.close_checkout_session(at, "cs_1"), SESSION),
    "create_portal_session": (
        lambda g, at: g.create_portal_session(at, customer_id="cus_1", return_url=None),
        {"id": "bps_1", "url": "https://billing.example"},
    ),
    "checkout_session": (lambda g, at: g.checkout_session(at, "cs_1"), SESSION),
    "subscription": (lambda g, at: g.subscription(at, "sub_1"), SUBSCRIPTION),
    "payment": (lambda g, at: g.payment(at, "pi_1"), listed(SESSION)),
    "events": (lambda g, at: list(g.events(at, created_from=0)), listed(EVENT)),
    "latest_events": (lambda g, at: list(g.latest_events(at, created_from=0)), listed(EVENT)),
    "subscriptions": (lambda g, at: list(g.subscriptions(at)), listed(SUBSCRIPTION)),
    "subscriptions_page": (lambda g, at: g.subscriptions_page(at, with_ended=True), listed(SUBSCRIPTION)),
    "subscription_items": (lambda g, at: g.subscription_items(at, "sub_1"), listed({"id": "si_1"})),
    "invoices_of": (lambda g, at: list(g.invoices_of(at, "sub_1")), listed({"id": "in_1"})),
    "payments_of_invoice": (lambda g, at: g.payments_of_invoice(at, "in_1"), listed({"id": "inpay_1"})),
    "completed_sessions_page": (
        lambda g, at: g.completed_sessions_page(at, created_from=0, with_payments=True), listed(SESSION),
    ),
    "sessions": (lambda g, at: list(g.sessions(at, created_from=0)), listed(SESSION)),
    "session_lines": (lambda g, at: g.session_lines(at, "cs_1"), listed({"id": "li_1", "quantity": 1})),
    "sessions_of": (lambda g, at: g.sessions_of(at, "sub_1"), listed(SESSION)),
    "refunds": (lambda g, at: list(g.refunds(at, created_from=0)), listed(REFUND)),
    "refunds_of": (lambda g, at: g.refunds_of(at, "pi_1"), listed(REFUND)),
    "disputes_of": (lambda g, at: g.disputes_of(at, "pi_1"), listed(REFUND)),
    "disputes": (lambda g, at: list(g.disputes(at, created_from=0)), listed(REFUND)),
    "lacking": (lambda g, at: g.lacking(at, TRIALS[2]), listed(SESSION)),
    "webhook_endpoints": (lambda g, at: g.webhook_endpoints(at), listed(ENDPOINT)),
    "create_webhook_endpoint": (
        lambda g, at: g.create_webhook_endpoint(at, url="https://x.example", events=(), idempotency_key="k"),
        ENDPOINT,
    ),
    "update_webhook_endpoint": (lambda g, at: g.update_webhook_endpoint(at, "we_1", events=()), ENDPOINT),
    "delete_webhook_endpoint": (
        lambda g, at: g.delete_webhook_endpoint(at, "we_1"), {"id": "we_1", "deleted": True},
    ),
}  # fmt: skip
EVERY_CALL = pytest.mark.parametrize(("call", "right"), CALLS.values(), ids=CALLS)

NEVER_RIGHT = [
    "", "null", "[]", "[{}]", '"text"', "5", "true", "NaN", "<html>A captive portal</html>", "\xff\xfe", "{",
    "[" * 5000, '{"a":' * 5000,
]  # fmt: skip


def test_every_call_of_the_gateway_is_held() -> None:
    calls = {name for name in vars(StripeGateway) if not name.startswith("_")}
    assert calls - {"access"} == set(CALLS)


@EVERY_CALL
def test_what_is_in_shape_is_taken(gateway: StripeGateway, scripted: Serve, call: Call, right: Any) -> None:
    _, access = scripted((200, json.dumps(right)))
    call(gateway, access)


@EVERY_CALL
def test_what_is_no_answer_of_stripes_is_said_to_be_none(
    gateway: StripeGateway, scripted: Serve, call: Call, right: Any
) -> None:
    refuses(gateway, scripted, call, *NEVER_RIGHT)


@EVERY_CALL
def test_what_lacks_its_parts_is_said_to_be_unreadable(
    gateway: StripeGateway, scripted: Serve, call: Call, right: Any
) -> None:
    shapes = [{}, {"object": "list", "data": None}, {"error": {"message": "No."}}]
    if "data" in right:
        shapes += [listed(5), listed([]), listed(None), {**right, "has_more": "x"}, {**right, "data": {}}]
    if call is not CALLS["lacking"][0]:  # It only has to be an object, whatever stands in it.
        refuses(gateway, scripted, call, *map(json.dumps, shapes))


@EVERY_CALL
def test_no_wrong_kind_of_value_breaks_a_call(
    gateway: StripeGateway, scripted: Serve, call: Call, right: Any
) -> None:
    """Each value in turn is another kind of thing: the call takes it, or says that it is unreadable."""
    app, access = scripted((200, ""))
    for path in paths_in(right):
        for value in (None, 5, -1, 2**70, 1.5, True, "", "a\x00b", "\ud800", [], [5], {}, {"id": ["x"]}):
            app.answers = [(200, json.dumps(replaced(right, path, value)))]
            with suppress(StripeAnswerUnreadable):
                call(gateway, access)


REQUIRED: list[tuple[str, tuple[Any, ...]]] = [
    ("create_checkout_session", ("id",)),
    ("create_checkout_session", ("url",)),
    ("create_checkout_session", ("expires_at",)),
    ("create_portal_session", ("url",)),
    ("account", ("id",)),
    ("prices", ("data", 0, "id")),
    ("prices", ("data", 0, "product")),
    ("price", ("product", "id")),
    ("subscription", ("status",)),
    ("subscription", ("items", "data", 0, "price")),
    ("subscription", ("latest_invoice", "id")),
    ("checkout_session", ("payment_status",)),
    ("payment", ("data", 0, "mode")),
    ("events", ("data", 0, "id")),
    ("refunds_of", ("data", 0, "id")),
    ("webhook_endpoints", ("data", 0, "url")),
]


@pytest.mark.parametrize(("name", "path"), REQUIRED, ids=str)
def test_what_a_call_cannot_do_without(
    gateway: StripeGateway, scripted: Serve, name: str, path: tuple[Any, ...]
) -> None:
    call, right = CALLS[name]
    values: list[Any] = [None, [], {}, True, -1, *([""] if path[-1] in {"id", "url"} else [])]
    refuses(gateway, scripted, call, *(json.dumps(replaced(right, path, value)) for value in values))


ODD_IDS = ("gold plan", "50%_off", "back\\slash", "Café 10€/mo", "plan/slash?x=1", "ünï", "x" * 255)


@pytest.mark.parametrize("price_id", ODD_IDS, ids=range(len(ODD_IDS)))
def test_a_price_may_have_any_id(gateway: StripeGateway, scripted: Serve, price_id: str) -> None:
    odd = {**PRICE, "id": price_id, "product": {"id": price_id, "name": "Pro"}}
    _app, access = scripted((200, json.dumps(listed(odd, PRICE))))
    assert [(each.id, each.product_id) for each in gateway.prices(access)] == [
        (price_id, price_id),
        ("price_1", "prod_1"),
    ]


@pytest.mark.parametrize(
    "broken", [{"product": -1}, {"unit_amount": "12"}, {"currency": 5}], ids=["product", "amount", "currency"]
)
def test_a_price_that_cannot_be_read_is_left_out_of_the_list(
    gateway: StripeGateway, scripted: Serve, broken: dict[str, Any]
) -> None:
    _app, access = scripted((200, json.dumps(listed({**PRICE, "id": "price_2", **broken}, PRICE))))
    assert [each.id for each in gateway.prices(access)] == ["price_1"]


@pytest.mark.parametrize("entries", [[], [EVENT]], ids=["empty", "the same again"])
def test_a_list_that_never_ends_is_not_followed(
    gateway: StripeGateway, scripted: Serve, entries: list[Any]
) -> None:
    app, access = scripted((200, json.dumps(listed(*entries, has_more=True))))
    with pytest.raises(StripeAnswerUnreadable, match="does not end"):
        list(gateway.events(access, created_from=0))
    assert len(app.calls) == 1 + len(entries)


def refuses(gateway: StripeGateway, scripted: Serve, call: Call, *bodies: str) -> None:
    app, access = scripted((200, ""))
    for body in bodies:
        app.answers = [(200, body)]
        with pytest.raises(StripeAnswerUnreadable) as refused:
            call(gateway, access)
        error = refused.value
        assert (error.code, error.status) == ("stripe_error", 502), body[:50]
        assert not was_answered(error), "a repeat must carry the same idempotency key"
        assert "html" not in error.message


def paths_in(value: Any, *so_far: Any) -> list[tuple[Any, ...]]:
    """The way to every value within one."""
    inside = list(value.items()) if isinstance(value, dict) else []
    inside += list(enumerate(value)) if isinstance(value, list) else []
    return [path for key, each in inside for path in ((*so_far, key), *paths_in(each, *so_far, key))]


def replaced(value: Any, path: tuple[Any, ...], by: Any) -> Any:
    changed = copy.deepcopy(value)
    within = changed
    for step in path[:-1]:
        within = within[step]
    within[path[-1]] = by
    return changed


@pytest.mark.parametrize(
    ("headers", "at"),
    [
        ([("Date", "Fri, 15 Jan 2027 08:00:00 GMT")], datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ([("Date", "yesterday")], None),
        ([("Date", "Fri, 15 Jan 2027 08:00:00")], None),
        ([("Date", "Fri, 15 Foo 2027 08:00:00 GMT")], None),
    ],
)
def test_a_read_is_dated_by_the_answer(
    gateway: StripeGateway, scripted: Serve, headers: list[tuple[str, str]], at: datetime | None
) -> None:
    app, access = scripted((200, json.dumps(SUBSCRIPTION)))
    app.headers = headers
    assert gateway.subscription(access, "sub_1").at == at
