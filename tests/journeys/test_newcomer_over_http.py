"""From a fresh installation to a proven purchase, by HTTP alone, as somebody without JavaScript would."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import LiveServer
from tests.support.cast import PASSWORD
from tests.support.portal_person import PortalPerson
from tests.support.stripe_side import make_price

pytestmark = pytest.mark.slow

SUBJECT = "user_123"


def set_up(server: LiveServer, person: PortalPerson) -> tuple[str, str]:
    """The wizard's first four steps; gives the project's id and an API key."""
    person.open(f"/claim/{server.settings.derived_secret('claim')}")
    person.submit(
        str(person.page.url).rsplit("/", 1)[-1],
        name="Ada",
        email="ada@example.com",
        password=PASSWORD,
    )
    person.open("/projects/new")
    person.submit("/projects/new", name="A shop")
    found = re.search(r"/projects/(prj_\w+)/test/", str(person.page.url))
    assert found, person.page.url
    project_id = found.group(1)
    step = f"/projects/{project_id}/test/setup"
    person.open(f"{step}/connect")
    person.submit("/connection/sandbox")
    price_id = make_price(server.runtime, project_id=project_id, title="Pro", interval="month")
    person.open(f"{step}/webhook")
    person.submit("/connection/endpoint")
    person.open(f"{step}/products")
    person.submit("/products/new", price_id=price_id, kind="subscription", product_code="PRO_MONTHLY")
    person.open(f"{step}/api-key")
    person.submit("/api-keys", name="backend")
    shown = re.search(r"lz_test_[0-9A-Za-z]{49}", person.page.text)
    assert shown, person.said()
    return project_id, shown.group(0)


def call(server: LiveServer, key: str, path: str, body: dict[str, str], **headers: str) -> httpx.Response:
    return httpx.post(
        f"{server.url}{path}", json=body, headers={"Authorization": f"Bearer {key}", **headers}, timeout=20
    )


def allowed(server: LiveServer, key: str) -> bool:
    answer = call(server, key, "/v1/access/check", {"subject_ref": SUBJECT})
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["allowed"])


def wait_for_yes(server: LiveServer, key: str, *, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not allowed(server, key):
        assert time.monotonic() < deadline, f"no access {seconds:g} s after paying"
        time.sleep(0.05)


@pytest.fixture
def person(live_server: LiveServer) -> Iterator[PortalPerson]:
    with PortalPerson(live_server.url) as somebody:
        yield somebody


def test_from_claim_to_a_check_that_says_yes(live_server: LiveServer, person: PortalPerson) -> None:
    project_id, key = set_up(live_server, person)
    assert not allowed(live_server, key)

    session = call(
        live_server,
        key,
        "/v1/checkout/session",
        {"subject_ref": SUBJECT, "product_code": "PRO_MONTHLY"},
        **{"Idempotency-Key": "order-1"},
    )
    assert session.status_code == 201, session.text
    told = session.json()
    assert told["mode"] == "test"
    assert not allowed(live_server, key), "an open checkout is not access"

    paid = httpx.post(told["checkout_url"], data={"action": "pay"}, timeout=20)
    assert paid.status_code in {200, 302, 303}, paid.text
    wait_for_yes(live_server, key)

    held = httpx.get(
        f"{live_server.url}/v1/customer/access/{SUBJECT}", headers={"Authorization": f"Bearer {key}"}
    ).json()
    assert held["has_access"] is True
    assert held["entitlements"][0]["product_code"] == "PRO_MONTHLY"
    timeline = person.open(f"/projects/{project_id}/test/setup/purchase?attempt={told['attempt_id']}")
    assert "PRO_MONTHLY" in timeline


def test_the_claim_link_works_once(live_server: LiveServer, person: PortalPerson) -> None:
    link = f"/claim/{live_server.settings.derived_secret('claim')}"
    person.open(link)
    person.submit(link.rsplit("/", 1)[-1], name="Ada", email="ada@example.com", password=PASSWORD)
    stranger = httpx.get(live_server.url + link, timeout=20)
    assert stranger.status_code == 404
