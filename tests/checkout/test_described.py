"""What the sandbox makes of the described calls is answered as described."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from licenzy.catalog.models import Kind
from tests.checkout.conftest import Shop
from tests.support.cast import make_subject
from tests.support.described import call_of


def test_sessions_are_as_described(shop: Shop, sell: Callable[..., Any]) -> None:
    document = shop.client.get("/v1/openapi.json").get_json()
    sell("PRO_MONTHLY", Kind.SUBSCRIPTION)
    session = call_of(document, "create_session").send(shop.client, shop.token)
    assert session.status_code == 201, session.text
    customer = shop.stripe.v1.customers.create({"email": "a@b.co"})
    with shop.runtime.database.write() as db:
        make_subject(db, project_id=shop.project_id, subject_ref="user_7", stripe_customer_id=customer.id)
    portal = call_of(document, "portal_session").send(shop.client, shop.token, json={"subject_ref": "user_7"})
    assert portal.status_code == 201, portal.text
    wrong = {"subject_ref": "user_7", "return_url": "javascript:alert(1)"}
    refused = call_of(document, "portal_session").send(shop.client, shop.token, json=wrong)
    assert refused.get_json()["error"] == "invalid_redirect_url"
