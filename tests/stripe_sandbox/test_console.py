"""The console, driven by its own forms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from licenzy.stripe_sandbox import create_sandbox
from tests.stripe_sandbox.conftest import Stand
from tests.stripe_sandbox.shop import CONTROL, Receiver, Shop
from tests.support.ports import wait_until

Form = dict[str, str]


def forms(page: str) -> list[Form]:
    """Every form of the page with its hidden fields."""
    found = []
    for form in re.findall(r"<form method=\"post\".*?</form>", page, re.S):
        found.append(dict(re.findall(r'name="([a-z_]+)" value="([^"]*)"', form)))
    return found


def press(shop: Shop, action: str) -> httpx.Response:
    """Press the first button of that action, which must be there."""
    wanted = [
        form for form in forms(shop.at_console("GET", shop.console_url).text) if form["action"] == action
    ]
    assert wanted, f"the console offers no {action}"
    return shop.at_console("POST", shop.console_url, data=wanted[0])


def offered(shop: Shop) -> set[str]:
    actions = {form["action"] for form in forms(shop.at_console("GET", shop.console_url).text)}
    return actions - {"advance_clock", "resend_event"}


def test_the_address_alone_opens_nothing(shop: Shop) -> None:
    for method, address in (("GET", ""), ("POST", ""), ("GET", "/events/evt_1"), ("GET", "/enter?ticket=x")):
        answer = httpx.request(method, shop.console_url + address, data={"action": "advance_clock"})
        assert answer.status_code == 403
        assert "Open the console from Licenzy" in answer.text
    assert shop.control("GET", "").json()["offset"] == 0


def test_a_link_lets_one_browser_in_for_a_while(
    stand: Stand, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = httpx.get(shop.console_link())
    assert entered.status_code == 303
    cookie = entered.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert f"Path={urlsplit(shop.console_url).path}" in cookie
    other, inside = Shop(stand.url), httpx.Client()
    inside.get(shop.console_link())
    assert inside.get(f"{other.console_url}/enter?{urlsplit(shop.console_link()).query}").status_code == 403
    visit = inside.cookies["sandbox_console"]
    assert httpx.get(other.console_url, cookies={"sandbox_console": visit}).status_code == 403
    late = shop.console_link()
    monkeypatch.setattr("licenzy.stripe_sandbox.console.LINK_SECONDS", -1)
    assert httpx.get(late).status_code == 403
    monkeypatch.setattr("licenzy.stripe_sandbox.console.VISIT_SECONDS", -1)
    assert inside.get(shop.console_url).status_code == 403
    inside.close()


def test_the_address_is_of_one_account(stand: Stand, shop: Shop) -> None:
    page = shop.at_console("GET", shop.console_url)
    assert page.status_code == 200
    assert page.headers["Content-Security-Policy"].endswith("form-action 'self'")
    assert shop.key not in page.text
    base, _, capability = shop.console_url.rpartition("/")
    assert httpx.get(f"{base}/{capability[::-1]}").status_code == 404
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
        made = client.post(f"/_sandbox/accounts/{opened['account']}/console_links", headers=CONTROL)
        link = made.get_json()["url"].removeprefix("http://sandbox.test")
        pages.append(client.get(link, follow_redirects=True).text)
    app.close()
    assert 'href="http://shop.test/projects/prj_1/lab"' in pages[0]
    assert "Lifecycle lab" not in pages[1]


def test_an_empty_account_says_what_to_do(shop: Shop) -> None:
    page = shop.at_console("GET", shop.console_url).text
    assert "Pay a checkout session for a recurring price" in page
    assert offered(shop) == set()


def test_each_subscription_offers_what_may_happen_to_it(shop: Shop) -> None:
    subscription = shop.subscribed()
    on_payment = {"refund", "refund_partially", "dispute", "inquire"}
    assert offered(shop) - on_payment == {"renew", "fail_renewal", "pause", "cancel_at_period_end", "cancel"}
    assert "Renew subscription: 9 events created." in press(shop, "renew").text
    press(shop, "fail_renewal")
    assert "past due" in shop.at_console("GET", shop.console_url).text
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
    assert "refunded $9.50" in shop.at_console("GET", shop.console_url).text
    press(shop, "refund")
    assert offered(shop) == {"fail_refund", "dispute", "inquire"}
    press(shop, "fail_refund")
    press(shop, "inquire")
    assert offered(shop) >= {"win_dispute", "escalate_inquiry"}
    press(shop, "escalate_inquiry")
    assert offered(shop) & {"refund", "win_dispute", "lose_dispute"} == {"win_dispute", "lose_dispute"}
    press(shop, "lose_dispute")
    assert "dispute" not in offered(shop)


def test_unpaid_invoices_are_paid_by_buttons(shop: Shop) -> None:
    sent: Any = {"collection_method": "send_invoice", "days_until_due": 14}
    subscriptions = [shop.started(**sent), shop.started(**sent)]
    assert "Unpaid invoices" in shop.at_console("GET", shop.console_url).text
    press(shop, "pay_invoice")
    press(shop, "pay_invoice_elsewhere")
    assert "Unpaid invoices" not in shop.at_console("GET", shop.console_url).text
    invoices = [shop.stripe.invoices.retrieve(str(each.latest_invoice)) for each in subscriptions]
    assert {invoice.amount_paid_off_stripe for invoice in invoices} == {0, 1900}


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
    press(shop, "advance_clock")
    wait_until(lambda: shop.control("GET", "").json()["offset"] == 3600, seconds=8, what="the clock arrives")
    page = shop.at_console("GET", f"{shop.console_url}?done=advance_clock").text
    assert "The clock has arrived." in page
    assert "ahead of real time" in page


def test_a_refusal_is_shown_in_place(shop: Shop) -> None:
    subscription = shop.subscribed()
    answer = shop.at_console(
        "POST", shop.console_url, data={"action": "recover", "subscription": subscription.id}
    )
    assert answer.status_code == 422
    assert "only a past_due one recovers" in answer.text
    assert shop.at_console("POST", shop.console_url, data={"action": "<b>x"}).status_code == 422
    assert (
        shop.at_console(
            "POST", shop.console_url, data={"action": "advance_clock", "seconds": "x"}
        ).status_code
        == 422
    )


def test_events_show_where_they_went(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    receiver.statuses = [503]
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created", times=2)
    page = shop.at_console("GET", shop.console_url).text
    assert "2 tries" in page or "retrying" in page
    event = shop.stripe.events.list().data[0]
    shown = shop.at_console("GET", f"{shop.console_url}/events/{event.id}")
    assert receiver.url in shown.text
    assert "prod_" in shown.text
    press(shop, "resend_event")
    receiver.wait_for("product.created", times=3)
    assert shop.at_console("GET", f"{shop.console_url}/events/evt_no").status_code == 404


@pytest.mark.parametrize("name", ["sandbox.css", "mark.svg"])
def test_what_the_pages_need_is_served(stand: Stand, name: str) -> None:
    assert httpx.get(f"{stand.url}/sandbox-static/{name}").status_code == 200
