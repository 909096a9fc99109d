"""The console, driven by its own forms."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from licenzy.stripe_sandbox import create_sandbox
from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import CONTROL, Receiver, Shop

Form = dict[str, str]


def forms(page: str) -> list[Form]:
    """Every form of the page with its hidden fields."""
    found = []
    for form in re.findall(r"<form method=\"post\".*?</form>", page, re.S):
        found.append(dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', form)))
    return found


def press(shop: Shop, action: str) -> httpx.Response:
    """Press the first button of that action, which must be there."""
    wanted = [form for form in forms(httpx.get(shop.console_url).text) if form["action"] == action]
    assert wanted, f"the console offers no {action}"
    return httpx.post(shop.console_url, data=wanted[0], follow_redirects=True)


def offered(shop: Shop) -> set[str]:
    actions = {form["action"] for form in forms(httpx.get(shop.console_url).text)}
    return actions - {"advance_clock", "resend_event"}


def test_the_address_is_the_key(stand: Stand, shop: Shop) -> None:
    page = httpx.get(shop.console_url)
    assert page.status_code == 200
    assert "Set-Cookie" not in page.headers
    assert page.headers["Content-Security-Policy"].endswith("form-action 'self'")
    assert shop.key not in page.text
    base, _, capability = shop.console_url.rpartition("/")
    assert httpx.get(f"{base}/{capability[:-1]}x").status_code == 404
    other = Shop(stand.url).console_url.rpartition("/")[2]
    assert httpx.get(f"{base}/{other}").status_code == 404
    assert httpx.post(f"{base}/{other}", data={"action": "advance_clock", "seconds": "5"}).status_code == 404


def test_it_leads_to_the_merchants_own_page_about_it(tmp_path: Path) -> None:
    app = create_sandbox(
        tmp_path / "s.sqlite3",
        control_token="control-token",
        public_url="http://sandbox.test",
        lab_url="http://shop.test/projects/{reference}/lab",
        start=False,
    )
    client = app.test_client()
    pages = []
    for reference in ("prj_1", None):
        asked = {"name": "Acme", "reference": reference}
        opened = client.post("/_sandbox/accounts", json=asked, headers=CONTROL).get_json()
        pages.append(client.get(opened["console_url"].removeprefix("http://sandbox.test")).text)
    app.close()
    assert 'href="http://shop.test/projects/prj_1/lab"' in pages[0]
    assert "Lifecycle lab" not in pages[1]


def test_an_empty_account_says_what_to_do(shop: Shop) -> None:
    page = httpx.get(shop.console_url).text
    assert "Pay a checkout session for a recurring price" in page
    assert offered(shop) == set()


def test_each_subscription_offers_what_may_happen_to_it(shop: Shop) -> None:
    subscription = shop.subscribed()
    on_payment = {"refund", "refund_partially", "dispute", "inquire"}
    assert offered(shop) - on_payment == {"renew", "fail_renewal", "pause", "cancel_at_period_end", "cancel"}
    assert "Renew subscription: 9 events created." in press(shop, "renew").text
    press(shop, "fail_renewal")
    assert "past due" in httpx.get(shop.console_url).text
    assert offered(shop) >= {"recover", "fail_renewal", "cancel"}
    press(shop, "recover")
    press(shop, "cancel_at_period_end")
    assert "keep" in offered(shop)
    assert "renew" not in offered(shop)
    press(shop, "keep")
    press(shop, "pause")
    assert offered(shop) - on_payment == {"resume", "cancel"}
    press(shop, "resume")
    press(shop, "cancel")
    assert offered(shop) - on_payment == set()
    assert shop.stripe.subscriptions.retrieve(subscription.id).status == "canceled"


def test_each_payment_offers_what_may_happen_to_it(shop: Shop) -> None:
    shop.bought()
    assert offered(shop) == {"refund", "refund_partially", "dispute", "inquire"}
    press(shop, "refund_partially")
    assert "refunded $9.50" in httpx.get(shop.console_url).text
    press(shop, "refund")
    assert offered(shop) == {"fail_refund", "dispute", "inquire"}
    press(shop, "fail_refund")
    press(shop, "inquire")
    assert offered(shop) >= {"win_dispute", "escalate_inquiry"}
    press(shop, "escalate_inquiry")
    assert offered(shop) & {"refund", "win_dispute", "lose_dispute"} == {"win_dispute", "lose_dispute"}
    press(shop, "lose_dispute")
    assert "dispute" not in offered(shop)


def test_sessions_settle_and_expire(shop: Shop) -> None:
    late = shop.session(shop.price(interval=None))
    shop.answer(late, "pay_later")
    assert offered(shop) == {"settle_session", "fail_session"}
    press(shop, "settle_session")
    assert shop.stripe.checkout.sessions.retrieve(late.id).payment_status == "paid"
    shop.session(shop.price())
    press(shop, "expire_session")
    assert shop.stripe.checkout.sessions.list({"status": "expired"}).data


def test_the_clock_advances_by_a_button(shop: Shop) -> None:
    answer = press(shop, "advance_clock")
    assert "Advance clock: 1 event created." in answer.text
    assert "ahead of real time" in answer.text


def test_a_refusal_is_shown_in_place(shop: Shop) -> None:
    subscription = shop.subscribed()
    answer = httpx.post(shop.console_url, data={"action": "recover", "subscription": subscription.id})
    assert answer.status_code == 422
    assert "only a past_due one recovers" in answer.text
    assert httpx.post(shop.console_url, data={"action": "<b>x"}).status_code == 422
    assert httpx.post(shop.console_url, data={"action": "advance_clock", "seconds": "x"}).status_code == 422


def test_events_show_where_they_went(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    receiver.statuses = [503]
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created", times=2)
    page = httpx.get(shop.console_url).text
    assert "2 tries" in page or "retrying" in page
    event = shop.stripe.events.list().data[0]
    shown = httpx.get(f"{shop.console_url}/events/{event.id}")
    assert receiver.url in shown.text
    assert "prod_" in shown.text
    press(shop, "resend_event")
    receiver.wait_for("product.created", times=3)
    assert httpx.get(f"{shop.console_url}/events/evt_no").status_code == 404


@pytest.mark.parametrize("name", ["sandbox.css", "mark.svg"])
def test_what_the_pages_need_is_served(stand: Stand, name: str) -> None:
    assert httpx.get(f"{stand.url}/sandbox-static/{name}").status_code == 200
