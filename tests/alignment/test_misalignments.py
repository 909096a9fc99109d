"""Misalignments built through the sandbox, over HTTP: each gives exactly the findings that its row lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from licenzy.catalog.included import IncludedUnits
from licenzy.catalog.models import Kind
from licenzy.connections.actions import disconnect, end_secret_overlap
from licenzy.connections.credentials import secret_label
from licenzy.deliveries.models import WebhookEndpoint
from tests.alignment import event_rows
from tests.alignment.fixtures_alignment import NOBODY, ModePair, Side
from tests.support.cast import make_connection
from tests.support.ports import wait_until

Prepare = Callable[[ModePair], object]
Enter = Callable[[Prepare], Prepare]
ROWS: list[Any] = []
BODY = "51AbcDefGhiJklMnoPqrStuv"


def row(*test: str, live: tuple[str, ...] = (), both: bool = False, bare: bool = False) -> Enter:
    """Enter a row: which sides are aligned first, and what the doctor must find in test and in live."""

    def enter(prepare: Prepare) -> Prepare:
        name = prepare.__name__.strip("_")
        ROWS.append(pytest.param(prepare, sorted(test), sorted(live), both, bare, id=name))
        return prepare

    return enter


def rows(
    *cases: tuple[str, Prepare],
    test: tuple[str, ...] = (),
    live: tuple[str, ...] = (),
    both: bool = False,
    bare: bool = False,
) -> None:
    for name, prepare in cases:
        ROWS.append(pytest.param(prepare, sorted(test), sorted(live), both, bare, id=name))


# The connection


@row("connection_missing", bare=True)
def _nothing_at_all(_pair: ModePair) -> None:
    pass


@row("connection_missing")
def _disconnected(pair: ModePair) -> None:
    with pair.runtime.database.write() as db:
        disconnect(db, pair.test.scope, actor=NOBODY, now=pair.clock())


def _pasting(text: str) -> Prepare:
    return lambda pair: pair.test.paste(text)


rows(
    ("a publishable key pasted", _pasting(f"pk_test_{BODY}")),
    ("a live key pasted", _pasting(f"sk_live_{BODY}")),
    ("a restricted live key pasted", _pasting(f"rk_live_{BODY}")),
    ("a price id pasted", _pasting(f"price_{BODY}")),
    ("a product id pasted", _pasting(f"prod_{BODY}")),
    ("a signing secret pasted as key", _pasting(f"whsec_{BODY}")),
    ("an organization key pasted", _pasting(f"sk_org_{BODY}")),
    ("a key that Stripe does not know", _pasting(f"sk_test_{BODY}")),
    test=("connection_missing", "credential_refused"),
    bare=True,
)


def _keyed_then_secret(text: str) -> Prepare:
    def prepare(pair: ModePair) -> None:
        pair.test.connect()
        pair.test.paste_secret(text)

    return prepare


rows(("nothing sent as key", _pasting(" ")), test=("connection_missing",), bare=True)
rows(("nothing sent as secret", _keyed_then_secret("")), test=("webhook_secret_missing",), bare=True)
rows(
    ("a Stripe key pasted as secret", _keyed_then_secret(f"sk_test_{BODY}")),
    ("an endpoint's id pasted as secret", _keyed_then_secret("we_1AbcDefGhiJklMn")),
    ("a cut secret pasted", _keyed_then_secret("whsec_short")),
    test=("webhook_secret_missing", "credential_refused"),
    bare=True,
)


@row("webhook_secret_missing", bare=True)
def _key_without_secret(pair: ModePair) -> None:
    pair.test.connect()


@row(live=("webhook_secret_missing", "credential_refused", "product_only_in_one_mode"))
def _secret_of_test_pasted_in_live(pair: ModePair) -> None:
    pair.live.connect()
    pair.live.paste_secret(pair.test.secret())


@row("stripe_key_rejected")
def _key_rolled_at_stripe(pair: ModePair) -> None:
    roll(pair)


def roll(pair: ModePair) -> None:
    pair.test.change(key_masked="sk_test_…gone", key_sealed=_sealed_key(pair.test, f"sk_test_{BODY}"))


def _sealed_key(side: Side, key: str) -> str:
    return side.pair.runtime.secret_box.encrypt(key, bound_to=f"connection:{side.connection.id}:stripe_key")


@row("credentials_locked")
def _locked_out(pair: ModePair) -> None:
    pair.test.change(key_sealed="v1:not-sealed-by-us")


def _restricted(*lacking: str) -> Prepare:
    return lambda pair: pair.test.connect(pair.test.account.restricted(*lacking))


rows(("a restricted key with all it needs", _restricted()), ("secret events", lambda pair: pair.test.prove()))
for permission in (
    "rak_checkout_session_write",
    "rak_plan_read",
    "rak_product_read",
    "rak_subscription_read",
    "rak_invoice_read",
    "rak_charge_read",
    "rak_event_read",
    "rak_webhook_write",
):
    rows(
        (f"a restricted key without {permission}", _restricted(permission)),
        test=("stripe_permission_missing",),
    )
rows(
    ("a restricted key without webhooks", _restricted("rak_webhook_write", "rak_webhook_read")),
    ("without two", _restricted("rak_event_read", "rak_charge_read")),
    test=("stripe_permission_missing", "stripe_permission_missing"),
)


@row("stripe_account_unreadable")
def _restricted_key_that_may_not_read_its_account(pair: ModePair) -> None:
    pair.test.connect(pair.test.account.restricted("rak_accounts_kyc_basic_read"), confirmed=True)
    pair.test.set_up_webhook()
    pair.test.prove()


@row(live=("accounts_differ",), both=True)
def _accounts_differ(pair: ModePair) -> None:
    pair.live.account = pair.open_account(livemode=True)
    pair.live.connect(confirmed=True)
    pair.live.set_up_webhook()
    pair.live.remap(stripe_price_id=pair.live.account.price())
    pair.live.prove()


# The webhook


@row("webhook_never_proven", bare=True)
def _unproven(pair: ModePair) -> None:
    pair.test.connect()
    pair.test.set_up_webhook()


@row("webhook_never_proven")
def _secret_replaced_and_unproven(pair: ModePair) -> None:
    pair.test.set_up_webhook(rotate=True)


@row("webhook_signature_failed")
def _signed_with_a_stranger_s_secret(pair: ModePair) -> None:
    assert pair.test.deliver(pair.test.account.event(), secret="whsec_stranger") == 400


@row()
def _a_failure_then_a_good_event(pair: ModePair) -> None:
    pair.test.deliver(pair.test.account.event(), secret="whsec_stranger")
    pair.clock.advance(minutes=1)
    pair.test.prove()


@row("webhook_signature_failed", "webhook_never_proven")
def _signed_with_the_replaced_secret_after_its_overlap(pair: ModePair) -> None:
    old = pair.test.secret()
    pair.test.set_up_webhook(rotate=True)
    pair.clock.advance(hours=25)
    assert pair.test.deliver(pair.test.account.event(), secret=old) == 400


@row("webhook_never_proven")
def _signed_with_the_replaced_secret_when_its_overlap_was_ended_and_then_saved_anew(pair: ModePair) -> None:
    old = pair.test.secret()
    pair.test.set_up_webhook(rotate=True)
    with pair.runtime.database.write() as db:
        end_secret_overlap(db, pair.test.scope, actor=NOBODY, now=pair.clock())
    assert pair.test.deliver(pair.test.account.event(), secret=old) == 400
    pair.clock.advance(minutes=1)
    pair.test.set_up_webhook(rotate=True)


@row("webhook_signature_failed")
def _a_stripe_key_stored_as_secret(pair: ModePair) -> None:
    right = pair.test.secret()
    label = secret_label(pair.test.connection)
    pair.test.change(webhook_secret_sealed=pair.runtime.secret_box.encrypt(f"sk_test_{BODY}", bound_to=label))
    assert pair.test.deliver(pair.test.account.event(), secret=right) == 400


@row(live=("webhook_secret_of_other_mode",), both=True)
def _test_events_at_the_address_of_live(pair: ModePair) -> None:
    pair.live.deliver(pair.live.account.event(), secret=pair.test.secret())


@row("webhook_secret_of_other_mode", both=True)
def _live_events_at_the_address_of_test(pair: ModePair) -> None:
    pair.test.deliver(pair.test.account.event(), secret=pair.live.secret())


@row(live=("webhook_secret_shared",), both=True)
def _one_secret_in_both_modes(pair: ModePair) -> None:
    label = secret_label(pair.live.connection)
    pair.live.change(
        webhook_secret_sealed=pair.runtime.secret_box.encrypt(pair.test.secret(), bound_to=label)
    )


@row("webhook_signature_ambiguous")
def _one_secret_in_two_projects(pair: ModePair) -> None:
    with pair.runtime.database.write() as db:
        stranger = pair.cast.stranger.project_id
        make_connection(
            db, project_id=stranger, secret_box=pair.runtime.secret_box, webhook_secret=pair.test.secret()
        )
    assert pair.test.deliver(pair.test.account.event(), to="tenant") == 400


@row("endpoint_missing")
def _endpoint_deleted_at_stripe(pair: ModePair) -> None:
    pair.test.account.stripe.webhook_endpoints.delete(pair.test.connection.webhook_endpoint_id)


@row("endpoint_missing")
def _endpoint_moved_to_another_address(pair: ModePair) -> None:
    _update(pair, url="https://elsewhere.example.com/hook")


def _update(pair: ModePair, **changes: Any) -> None:
    pair.test.account.stripe.webhook_endpoints.update(pair.test.connection.webhook_endpoint_id, changes)


TENANT = "example.com/v1/webhooks/stripe/tenant"
rows(("endpoint at the address for all", lambda pair: _update(pair, url=f"https://licenzy.{TENANT}")))
rows(("such a one elsewhere", lambda t: _update(t, url=f"https://b.{TENANT}")), test=("endpoint_missing",))
rows(("endpoint disabled", lambda pair: _update(pair, disabled=True)), test=("endpoint_disabled",))
rows(("endpoint with all events", lambda pair: _update(pair, enabled_events=["*"])))
rows(
    ("endpoint with one event", lambda pair: _update(pair, enabled_events=["invoice.paid"])),
    ("endpoint without refunds", lambda pair: _update(pair, enabled_events=_without("refund.created"))),
    (
        "endpoint without deletions",
        lambda pair: _update(pair, enabled_events=_without("customer.subscription.deleted")),
    ),
    test=("endpoint_lacks_events",),
)


def _without(type_: str) -> list[str]:
    from licenzy.connections.rules import REQUIRED_EVENTS

    return [each for each in REQUIRED_EVENTS if each != type_]


def _replaced(**more: Any) -> Prepare:
    def prepare(pair: ModePair) -> None:
        old = pair.test.connection.webhook_endpoint_id
        pair.test.endpoint(**more)
        pair.test.account.stripe.webhook_endpoints.delete(old)

    return prepare


rows(
    ("endpoint of an old version", _replaced(api_version="2020-08-27")),
    ("endpoint of the account's default version", _replaced(api_version=None)),
    test=("endpoint_version_differs",),
)
rows(
    ("endpoint old and lacking events", _replaced(api_version="2020-08-27", enabled_events=["invoice.paid"])),
    test=("endpoint_version_differs", "endpoint_lacks_events"),
)


rows(
    ("endpoint twice", lambda pair: pair.test.endpoint()),
    ("endpoint twice, one of an old version", lambda pair: pair.test.endpoint(api_version="2020-08-27")),
    ("endpoint twice, once at an earlier host", lambda pair: pair.test.endpoint(host="before.example.com")),
    test=("endpoint_twice",),
)
rows(
    ("an endpoint of somebody else's", lambda pair: pair.test.endpoint(url="https://elsewhere.example.com/a"))
)


# The catalog


@row("price_inactive")
def _price_archived(pair: ModePair) -> None:
    price = pair.test.account.stripe.prices.list({"limit": 1}).data[0]
    pair.test.account.stripe.prices.update(price.id, {"active": False})


@row("price_inactive")
def _product_archived_at_stripe(pair: ModePair) -> None:
    product = pair.test.account.stripe.products.list({"limit": 1}).data[0]
    pair.test.account.stripe.products.update(product.id, {"active": False})


@row("price_not_found")
def _price_of_another_account(pair: ModePair) -> None:
    pair.test.remap(stripe_price_id=pair.open_account().price())


@row("price_not_found", both=True)
def _price_that_neither_mode_knows(pair: ModePair) -> None:
    pair.test.remap(stripe_price_id=f"price_{BODY}")


@row("price_mode_mismatch", both=True)
def _price_of_live_in_test(pair: ModePair) -> None:
    pair.test.remap(stripe_price_id=pair.live.account.price())


@row(live=("price_mode_mismatch",), both=True)
def _price_of_test_in_live(pair: ModePair) -> None:
    pair.live.remap(stripe_price_id=pair.test.account.price())


rows(
    (
        "subscription with a price paid once",
        lambda t: t.test.remap(stripe_price_id=t.test.account.price(interval=None)),
    ),
    (
        "time pass with a recurring price",
        lambda pair: pair.test.remap(kind=Kind.TIME_PASS, duration_seconds=60),
    ),
    ("usage pack with a recurring price", lambda pair: pair.test.remap(kind=Kind.USAGE_PACK, units=5)),
    test=("price_kind_mismatch",),
)


@row("price_mapped_twice")
def _two_products_with_one_price(pair: ModePair) -> None:
    pair.test.share_price("GOLD")


rows(
    ("a product in test alone", lambda pair: pair.test.sell("GOLD")),
    live=("product_only_in_one_mode",),
    both=True,
)
rows(
    ("a product in live alone", lambda pair: pair.live.sell("GOLD")),
    test=("product_only_in_one_mode",),
    both=True,
)


def _differing(kind: Kind, test: dict[str, Any], live: dict[str, Any]) -> Prepare:
    def prepare(pair: ModePair) -> None:
        pair.test.sell("GOLD", kind, **test)
        pair.live.sell("GOLD", kind, **live)

    return prepare


SUB, PASS, PACK = Kind.SUBSCRIPTION, Kind.TIME_PASS, Kind.USAGE_PACK
rows(
    ("another amount", _differing(SUB, {"amount": 900}, {"amount": 1900})),
    ("another currency", _differing(SUB, {"currency": "usd"}, {"currency": "eur"})),
    ("another interval", _differing(SUB, {"interval": "month"}, {"interval": "year"})),
    ("other units", _differing(PACK, {"units": 5}, {"units": 6})),
    ("another duration", _differing(PASS, {"duration_seconds": 60}, {"duration_seconds": 120})),
    live=("product_differs",),
    both=True,
)
IMAGES = {"included": (IncludedUnits("images", 5),)}
rows(("other units included", _differing(SUB, IMAGES, {})), live=("included_units_differ",), both=True)


@row(live=("product_differs",), both=True)
def _another_kind(pair: ModePair) -> None:
    pair.test.sell("GOLD", PASS, duration_seconds=60)
    pair.live.sell("GOLD", PACK, units=5)


# API keys


@row("api_key_missing", bare=True)
def _no_api_key(pair: ModePair) -> None:
    pair.test.connect()
    pair.test.set_up_webhook()
    pair.test.sell()
    pair.test.prove()


@row("api_key_never_used", bare=True)
def _api_key_never_used(pair: ModePair) -> None:
    _no_api_key(pair)
    pair.test.make_key(used=False)


@row(live=("connection_missing", "live_key_used_early", "product_only_in_one_mode"))
def _live_key_used_before_live_exists(pair: ModePair) -> None:
    pair.live.make_key(used=False)
    assert pair.live.check().status_code == 200


@row("api_key_in_browser")
def _call_from_a_browser(pair: ModePair) -> None:
    assert pair.test.check(Origin="https://shop.example.com").status_code == 200


def _ended(**how: Any) -> Prepare:
    def prepare(pair: ModePair) -> None:
        present = pair.test.token
        pair.test.make_key(expires_at=pair.clock() + timedelta(minutes=1))
        pair.clock.advance(minutes=2)
        assert pair.test.check().status_code == 401
        pair.test.token = present

    return prepare


rows(("an expired key still used", _ended()), test=("revoked_key_used",))


@row("revoked_key_used")
def _a_revoked_key_still_used(pair: ModePair) -> None:
    from licenzy.api_keys.actions import revoke_key

    key_id = pair.test.make_key()
    with pair.runtime.database.write() as db:
        revoke_key(db, pair.test.scope, key_id=key_id, actor=NOBODY, now=pair.clock())
    assert pair.test.check().status_code == 401
    pair.test.make_key()


# Traffic


@row("price_id_sent")
def _price_id_sent(pair: ModePair) -> None:
    answer = pair.test.checkout(pair.test.account.stripe.prices.list({"limit": 1}).data[0].id)
    assert "Send PRO as product_code" in answer.json["hint"]


@row("price_id_sent")
def _unmapped_price_id_sent(pair: ModePair) -> None:
    answer = pair.test.checkout(f"price_{BODY}")
    assert answer.json["error"] == "stripe_price_id_not_allowed"
    assert f"/projects/{pair.project_id}/test/products" in answer.json["hint"]


@row()
def _price_id_sent_and_then_the_product_code(pair: ModePair) -> None:
    pair.test.checkout(f"price_{BODY}")
    pair.clock.advance(minutes=1)
    assert pair.test.checkout(key="k2").status_code == 201


@row(live=("product_only_in_one_mode", "product_of_other_mode_asked"), both=True)
def _product_of_test_asked_with_the_live_key(pair: ModePair) -> None:
    pair.test.sell("GOLD")
    assert pair.live.checkout("GOLD").json["error"] == "product_mode_mismatch"


@row("untracked_checkout")
def _stripe_checkout_called_directly(pair: ModePair) -> None:
    price = pair.test.account.price(interval=None)
    asked = {
        "mode": "payment",
        "line_items": [{"price": price, "quantity": 1}],
        "success_url": "https://a.example/done",
    }
    _pay(pair.test.account.stripe.checkout.sessions.create(asked).url)
    pair.test.forward(type="checkout.session.completed")
    hint = pair.test.check(explain=True).json["explain"]["hint"]
    assert f"/projects/{pair.project_id}/test/untracked" in hint


def _pay(url: str) -> None:
    import httpx

    assert httpx.post(url, data={"action": "pay"}).status_code == 303


rows(("an event not applied", event_rows.broken_event), test=("event_not_applied",))
rows(("an event of live", event_rows.event_of_live), test=("event_of_other_mode",))
rows(("a thin event", event_rows.thin_event), test=("thin_events_received",))
rows(("events of connected accounts", event_rows.other_accounts), test=("event_of_other_account",))
rows(("another price sold as well", event_rows.other_price), test=("bought_without_product",))


@row("paid_without_event")
def _paid_and_no_event(pair: ModePair) -> None:
    _pay(pair.test.checkout().json["checkout_url"])
    pair.clock.advance(minutes=3)


@row()
def _paid_and_the_event_arrived(pair: ModePair) -> None:
    _pay(pair.test.checkout().json["checkout_url"])
    pair.clock.advance(minutes=3)
    pair.test.forward()


@row("price_not_mapped")
def _subscription_moved_to_a_price_without_product(pair: ModePair) -> None:
    _pay(pair.test.checkout().json["checkout_url"])
    pair.test.forward()
    at_stripe = pair.test.account.stripe
    item = at_stripe.subscriptions.list({"limit": 1}).data[0]
    new = pair.test.account.price(5000)
    at_stripe.subscriptions.update(item.id, {"items": [{"id": item["items"]["data"][0]["id"], "price": new}]})
    pair.test.forward(type="customer.subscription.updated")


@row("outbound_endpoint_failing")
def _own_endpoint_that_does_not_answer(pair: ModePair) -> None:
    now = pair.clock()
    with pair.runtime.database.write() as db:
        db.add(
            WebhookEndpoint(
                id="whe_1",
                project_id=pair.test.scope.project_id,
                mode=pair.test.scope.mode,
                url="https://merchant.example.com/hook",
                types=[],
                secret_masked="whsec_…",
                secret_saved_at=now,
                failing_since=now - timedelta(days=1),
                created_at=now,
            )
        )


@row("webhook_signature_failed", "price_id_sent", "endpoint_disabled")
def _several_at_once(pair: ModePair) -> None:
    pair.test.deliver(pair.test.account.event(), secret="whsec_stranger")
    pair.test.checkout(f"price_{BODY}")
    _update(pair, disabled=True)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("prepare", "in_test", "in_live", "both", "bare"), ROWS)
def test_exactly_the_findings_of_the_row(
    pair: ModePair, prepare: Prepare, in_test: list[str], in_live: list[str], both: bool, bare: bool
) -> None:
    if not bare:
        pair.test.align()
    if both:
        pair.live.align()
    pair.clock.advance(minutes=1)  # What went well before is not of the same moment.
    prepare(pair)
    expected = {"test": in_test, "live": in_live}
    pair.doctor(check=True)
    # What traffic does is written beside the requests, a moment later.
    wait_until(lambda: pair.codes() == expected, seconds=3, what=f"{expected}, not {pair.codes()}, is found")


def test_there_are_enough_of_them() -> None:
    assert len(ROWS) >= 60


@pytest.mark.parametrize("both", [False, True], ids=["test alone", "both modes"])
def test_the_aligned_set_up_gives_none(pair: ModePair, both: bool) -> None:
    pair.test.align()
    if both:
        pair.live.align()
    assert pair.codes(check=True) == {"test": [], "live": []}
