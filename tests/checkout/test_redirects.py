"""Which redirect addresses a checkout may return to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from licenzy.alignment.modes import Mode
from licenzy.catalog.models import Kind, Product
from licenzy.checkout.rules import redirect_problem
from tests.checkout.conftest import Shop


@pytest.mark.parametrize(
    "url",
    [
        *("https://%00/", "https://%2e/", "https://.", "https://a..b/", "https://a b/", "https://<script>/"),
        *(
            "https://\u202ea.com/",
            "https://a.com/\u2066x",
            "https://@a.com/",
            "https://a:80@b.com/",
            "https://",
        ),
        *("https://a.com:/x", "https://a.com:", "http://localhost:/", "https://[2001:db8::1]:/x"),
        *("HTTPS://a.com/", "https:a.com", "https://[::1", "http://[::ffff:127.0.0.1]/", "https://'or'1/"),
    ],
)
def test_what_names_no_host_is_refused(url: str) -> None:
    assert redirect_problem(url, mode=Mode.TEST, hosts=[]) is not None


@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://a.com",
            "https://shop_1.example.com:8443/ok?s={CHECKOUT_SESSION_ID}#x",
            "https://xn--nxa/",
        ),
        *("https://exämple.com/ä", "http://localhost:3000/", "http://[::1]:3000/", "https://[2001:db8::1]/"),
    ],
)
def test_hosts_of_any_script_and_addresses_are_taken(url: str) -> None:
    assert redirect_problem(url, mode=Mode.TEST, hosts=[]) is None


def test_a_lone_surrogate_is_refused_like_any_other_bad_address(
    shop: Shop, sell: Callable[..., Product]
) -> None:
    sell("P", Kind.SUBSCRIPTION)
    answer = shop.client.post(
        "/v1/checkout/session",
        data=rb'{"subject_ref": "u", "product_code": "P", "success_url": "https://a.example/\ud800"}',
        content_type="application/json",
        headers={"Authorization": f"Bearer {shop.token}", "Idempotency-Key": "k"},
    )
    assert (answer.status_code, answer.get_json()["error"]) == (400, "invalid_redirect_url")
