"""The control API: accounts, keys and who may ask for them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from licenzy.stripe_sandbox import create_sandbox
from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import CONTROL, Shop


def test_an_account_is_opened_with_a_key_and_a_console(stand: Stand) -> None:
    shop = Shop(stand.url, name="Acme Tools")
    account = shop.stripe.accounts.retrieve_current()
    assert shop.key.startswith("sk_test_")
    assert account.id == shop.id
    assert account.business_profile is not None
    assert account.business_profile.name == "Acme Tools"
    assert shop.stripe.accounts.retrieve(shop.id).id == shop.id
    assert httpx.get(shop.console_link()).status_code == 303


def test_the_same_reference_gives_the_same_account_and_key(stand: Stand) -> None:
    first, again = Shop(stand.url, reference="prj_1"), Shop(stand.url, reference="prj_1", name="Other")
    assert (first.id, first.key, first.console_url) == (again.id, again.key, again.console_url)
    assert Shop(stand.url, reference="prj_2").id != first.id


def test_one_reference_has_one_account_in_two_modes(stand: Stand) -> None:
    test, live = Shop(stand.url, reference="prj_3"), Shop(stand.url, reference="prj_3", livemode=True)
    assert test.id == live.id
    assert live.key.startswith("sk_live_")
    assert live.stripe.products.create({"name": "x"}).livemode is True
    assert test.stripe.products.list().data == []


def test_live_accounts_need_leave(tmp_path: Path) -> None:
    app = create_sandbox(tmp_path / "s.sqlite3", control_token="t", public_url="http://x", start=False)
    asked = app.test_client().post(
        "/_sandbox/accounts", json={"name": "x", "livemode": True}, headers={"Authorization": "Bearer t"}
    )
    assert asked.status_code == 400
    app.close()


def test_an_empty_control_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="control token"):
        create_sandbox(tmp_path / "s.sqlite3", control_token="", public_url="http://x")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer no"}, {"Authorization": "Bearer \xff"}])
def test_nothing_is_done_without_the_control_token(stand: Stand, shop: Shop, headers: dict[str, str]) -> None:
    for method, path in [
        ("POST", ""),
        ("GET", f"/{shop.id}"),
        ("POST", f"/{shop.id}/restricted_keys"),
        ("GET", f"/{shop.id}/misbehaviour"),
        ("GET", f"/{shop.id}/calls"),
        ("POST", f"/{shop.id}/actions"),
    ]:
        encoded = {k.encode("latin-1"): v.encode("latin-1") for k, v in headers.items()}
        answer = httpx.request(method, f"{stand.url}/_sandbox/accounts{path}", headers=encoded, json={})
        assert answer.status_code == 401
        assert answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "asked", [{}, {"name": ""}, {"name": 5}, {"name": "x", "livemode": "no"}, {"name": "x", "color": 1}, []]
)
def test_a_bad_account_is_refused(stand: Stand, asked: object) -> None:
    answer = httpx.post(f"{stand.url}/_sandbox/accounts", json=asked, headers=CONTROL)
    assert answer.status_code == 400


def test_an_unknown_account_or_action_is_refused(stand: Stand, shop: Shop) -> None:
    gone = httpx.post(f"{stand.url}/_sandbox/accounts/acct_no/actions", json={}, headers=CONTROL)
    assert gone.status_code == 404
    assert "renew" in shop.refused("dance")
    assert shop.refused("renew") == "Missing required param: subscription."
    assert shop.refused("renew", subscription="sub_1", x="1") == "Received unknown parameter: x"
    assert shop.refused("advance_clock", seconds="60") == "Invalid integer: seconds"
    assert shop.refused("advance_clock", seconds=0) == "seconds must be 1 or more"


def test_the_account_tells_its_time(shop: Shop) -> None:
    before = shop.control("GET", "").json()
    shop.act("advance_clock", seconds=3600)
    after = shop.control("GET", "").json()
    assert (before["offset"], after["offset"]) == (0, 3600)
    assert 3600 <= after["now"] - before["now"] < 3610


def test_calls_are_counted_by_account(stand: Stand, shop: Shop) -> None:
    customer = shop.stripe.customers.create({"email": "a@example.com"})
    for _ in range(2):
        shop.stripe.subscriptions.list({"limit": 100, "expand": ["data.customer"]})
    assert shop.raw("GET", f"/v1/customers/{customer.id}x").status_code == 404
    calls = shop.control("GET", "/calls").json()
    assert (calls["total"], calls["writes"]) == (4, 1)
    assert calls["counts"] == {
        "GET /v1/customers/<customer_id>": 1,
        "GET /v1/subscriptions": 2,
        "POST /v1/customers": 1,
    }
    assert calls["calls"][0] == "POST /v1/customers"
    assert calls["calls"][1].startswith("GET /v1/subscriptions?limit=100&expand")
    assert calls["calls"][3] == f"GET /v1/customers/{customer.id}x"
    assert Shop(stand.url).control("GET", "/calls").json()["total"] == 0
    assert shop.control("DELETE", "/calls").json() == {"total": 0, "writes": 0, "counts": {}, "calls": []}
