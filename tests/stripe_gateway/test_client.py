"""Calls to Stripe against the sandbox over HTTP: the answers in our words."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from licenzy.errors import StripeUnavailable
from licenzy.stripe_gateway import answers, transport
from licenzy.stripe_gateway.client import API_VERSION, StripeAccess, StripeGateway
from licenzy.stripe_gateway.translate import (
    StripeKeyRejected,
    StripeObjectMissing,
    StripePermissionMissing,
    was_answered,
)
from tests.stripe_gateway.conftest import Account

SESSION = {"mode": "payment", "success_url": "https://example.com/done"}


def test_the_account_behind_a_key(gateway: StripeGateway, account: Account) -> None:
    facts = gateway.account(account.access)
    assert (facts.id, facts.name, facts.denied) == (account.id, "The tests' shop", None)
    assert facts.charges_enabled is True


def test_the_account_behind_a_restricted_key(gateway: StripeGateway, account: Account) -> None:
    facts = gateway.account(account.restricted("rak_product_read"))
    assert (facts.id, facts.name, facts.denied) == (None, None, "rak_accounts_kyc_basic_read")
    facts = gateway.account(account.restricted("rak_accounts_kyc_basic_read"))
    assert (facts.id, facts.denied) == (account.id, None)


def test_a_key_that_lacks_a_permission(gateway: StripeGateway, account: Account) -> None:
    with pytest.raises(StripePermissionMissing) as refused:
        gateway.prices(account.restricted("rak_accounts_kyc_basic_read"))
    permission = refused.value.permission
    assert permission is not None
    assert permission.startswith("rak_")
    assert permission in refused.value.message
    assert refused.value.extra["stripe_permission"] == permission
    assert (refused.value.code, refused.value.status) == ("stripe_error", 502)
    assert gateway.prices(account.restricted(permission)) == []


@pytest.mark.parametrize(
    "key", ["sk_test_51" + "0" * 40, "rk_live_51" + "0" * 40, "x", "sk_test_€", "sk_test_1\nX: y"]
)
def test_a_key_that_stripe_does_not_know(gateway: StripeGateway, account: Account, key: str) -> None:
    with pytest.raises((StripeKeyRejected, StripeUnavailable)) as refused:
        gateway.account(StripeAccess(key, account.sandbox.url))
    if key.isascii() and key.isprintable():
        assert isinstance(refused.value, StripeKeyRejected)
        assert was_answered(refused.value)
    assert key not in str(refused.value) or key == "x"


def test_a_price_with_its_product(gateway: StripeGateway, account: Account) -> None:
    recurring = account.price("Pro", recurring={"interval": "month", "interval_count": 3}, lookup_key="pro")
    once = account.price("Pass", unit_amount=500, currency="jpy")
    found = gateway.price(account.access, recurring)
    assert (found.id, found.product_name, found.product_active, found.active) == (
        recurring,
        "Pro",
        True,
        True,
    )
    assert (found.unit_amount, found.currency, found.lookup_key) == (1200, "usd", "pro")
    assert (found.interval, found.interval_count, found.recurring, found.metered) == ("month", 3, True, False)
    assert found.livemode is False
    other = gateway.price(account.access, once)
    assert (other.interval, other.recurring, other.unit_amount, other.currency) == (None, False, 500, "jpy")


@pytest.mark.parametrize("price_id", ["price_none", "prïce", "a b?c=d", "x" * 300])
def test_a_price_that_is_not_there(gateway: StripeGateway, account: Account, price_id: str) -> None:
    with pytest.raises(StripeObjectMissing) as missing:
        gateway.price(account.access, price_id)
    assert was_answered(missing.value)
    assert missing.value.extra["stripe_code"] == "resource_missing"
    assert missing.value.extra["stripe_request_id"]


def test_prices_are_listed_beyond_the_first_page(gateway: StripeGateway, account: Account) -> None:
    product = account.stripe.v1.products.create({"name": "Pro"}).id
    made = [
        account.stripe.v1.prices.create({"unit_amount": n, "currency": "usd", "product": product}).id
        for n in range(1, 104)
    ]
    account.stripe.v1.prices.update(made[50], {"active": False})
    listed = [price.id for price in gateway.prices(account.access)]
    assert len(listed) == 102
    assert set(listed) == {*made} - {made[50]}
    assert listed[0] == made[-1]
    assert [price.id for price in gateway.prices(account.access, most=101)] == listed[:101]


def test_a_session_is_opened_once_for_each_idempotency_key(gateway: StripeGateway, account: Account) -> None:
    params = {**SESSION, "line_items": [{"price": account.price(), "quantity": 1}]}
    first = gateway.create_checkout_session(account.access, params, idempotency_key="att_1:0")
    again = gateway.create_checkout_session(account.access, params, idempotency_key="att_1:0")
    other = gateway.create_checkout_session(account.access, params, idempotency_key="att_2:0")
    assert first == again
    assert first.id != other.id
    assert first.url is not None
    assert first.expires_at.tzinfo is not None


def test_webhook_endpoints_come_and_go(gateway: StripeGateway, account: Account) -> None:
    made = gateway.create_webhook_endpoint(
        account.access, url="https://example.com/hook", events=("invoice.paid",), idempotency_key="e1"
    )
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert (made.api_version, made.enabled_events, made.status) == (API_VERSION, ("invoice.paid",), "enabled")
    (listed,) = gateway.webhook_endpoints(account.access)
    assert (listed.id, listed.secret) == (made.id, None)
    for _ in range(2):
        gateway.delete_webhook_endpoint(account.access, made.id)
    assert gateway.webhook_endpoints(account.access) == []


def test_the_access_is_to_the_sandbox_or_to_stripe(account: Account) -> None:
    both = StripeGateway(
        stripe_base="https://stripe.example", sandbox_base="http://127.0.0.1:1", concurrent_calls=1
    )
    assert both.access("sk_test_1", sandbox=True) == StripeAccess("sk_test_1", "http://127.0.0.1:1")
    assert both.access("sk_test_1", sandbox=False) == StripeAccess("sk_test_1", "https://stripe.example")
    assert "sk_test_1" not in repr(both.access("sk_test_1", sandbox=True))


@pytest.mark.parametrize("pages_kept", [1, 2, 4, 50])
def test_all_events_are_listed_once_and_oldest_first(
    gateway: StripeGateway, account: Account, monkeypatch: pytest.MonkeyPatch, pages_kept: int
) -> None:
    """However few pages are kept in memory, and although more happens while they are looked at."""
    monkeypatch.setattr(answers, "PAGES_KEPT", pages_kept)
    monthly = account.price(recurring={"interval": "month"})
    account.make_subscriptions(count=230, prices=[monthly], events=True)
    expected = [each.id for each in account.stripe.v1.events.list({"limit": 100}).auto_paging_iter()]
    listed: list[str] = []
    for page in gateway.events(account.access, created_from=0):
        account.price()
        listed += [each["id"] for each in page]
    assert len(listed) > 400
    assert listed == expected[::-1]


def test_a_key_of_the_sandbox_never_goes_to_stripe() -> None:
    off = StripeGateway(stripe_base=None, sandbox_base=None, concurrent_calls=1)
    with pytest.raises(StripeUnavailable, match="switched off"):
        off.access("sk_test_1", sandbox=True)
    assert off.access("sk_test_1", sandbox=False).base is None


def test_the_environments_proxy_is_not_asked_for_the_sandbox(
    gateway: StripeGateway, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert gateway.account(account.access).id == account.id


@pytest.mark.parametrize("direct", [True, False])
def test_a_netrc_does_not_replace_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked = requests.Request(
        "GET", "https://api.stripe.com/v1/account", {"Authorization": "Bearer sk_test_1"}
    )
    with transport.DeadlineSession(direct=direct) as session:
        assert session.prepare_request(asked).headers["Authorization"] == "Bearer sk_test_1"
