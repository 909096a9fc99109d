"""Moves of the clock in the background: what they do, what they hold up, and what a restart does to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.stripe_sandbox.conftest import Stand, free_port, make_sandbox
from tests.stripe_sandbox.shop import Receiver, Shop
from tests.support.ports import wait_until
from tests.support.servers import served

DAY = 86_400
SUBSCRIPTIONS = 25


def begin(shop: Shop, id_: str = "stp_1", **named: Any) -> dict[str, Any]:
    begun = shop.control("POST", "/advances", json={"id": id_, **named})
    assert begun.status_code == 202, begun.text
    shown: dict[str, Any] = begun.json()
    return shown


def progress(shop: Shop, id_: str = "stp_1") -> dict[str, Any]:
    shown: dict[str, Any] = shop.control("GET", f"/advances/{id_}").json()
    return shown


def arrived(shop: Shop, id_: str = "stp_1") -> dict[str, Any]:
    wait_until(lambda: progress(shop, id_)["status"] != "advancing", seconds=30, what="the clock arrives")
    return progress(shop, id_)


def periods(shop: Shop) -> set[int]:
    listed = shop.stripe.subscriptions.list({"limit": 100}).data
    return {each["items"]["data"][0]["current_period_end"] for each in listed}


def test_a_year_of_renewals_runs_in_the_background(shop: Shop, receiver: Receiver) -> None:
    price = shop.price()
    for _ in range(SUBSCRIPTIONS - 1):
        shop.subscribed(price)
    mine = shop.bought(price)
    begun_at = shop.control("GET", "").json()
    receiver.listen(shop, "invoice.paid", "test_helpers.test_clock.ready", "checkout.session.completed")

    begun = begin(shop, action="advance_clock", seconds=367 * DAY, session=mine.id)
    assert begun["status"] == "advancing"
    done = arrived(shop)
    assert (done["status"], done["percent"], done["problem"]) == ("ready", 100, None)
    assert shop.control("GET", "").json()["offset"] == begun_at["offset"] + 367 * DAY
    types = [event["type"] for event in done["emitted"]]
    assert types.count("invoice.paid") == 12, "those of this purchase alone"
    assert types[-1] == "test_helpers.test_clock.ready"
    shop.bought(price)
    receiver.wait_for("checkout.session.completed")
    own = [event.id for event in receiver.events].index(
        next(event["id"] for event in done["emitted"] if event["type"] == "invoice.paid")
    )
    before = receiver.types().index("checkout.session.completed")
    assert own < before
    assert receiver.types().count("invoice.paid") < SUBSCRIPTIONS * 12, "the purchase went before the rest"
    receiver.wait_for("invoice.paid", times=SUBSCRIPTIONS * 12 + 1)


def test_renewals_of_one_subscription_keep_their_order(shop: Shop, receiver: Receiver) -> None:
    for _ in range(4):
        shop.subscribed()
    receiver.listen(shop, "invoice.paid")
    begin(shop, action="advance_clock", seconds=200 * DAY)
    arrived(shop)
    receiver.wait_for("invoice.paid", times=24)
    by_customer: dict[str, list[int]] = {}
    for event in receiver.events:
        body = event.data.object
        by_customer.setdefault(body["customer"], []).append(event.created)
    assert len(by_customer) == 4
    assert all(times == sorted(times) for times in by_customer.values())


def test_a_purchase_says_when_it_and_the_others_renew(shop: Shop) -> None:
    mine = shop.bought(shop.price(interval="year"))
    shop.subscribed()
    leaving = shop.subscribed()
    shop.act("cancel_at_period_end", subscription=leaving.id)
    shown = shop.control("GET", f"/purchases/{mine.id}").json()
    assert 364 * DAY < shown["renews_in"] <= 366 * DAY
    assert len(shown["others_renew_in"]) == 1
    assert 27 * DAY < shown["others_renew_in"][0] < 32 * DAY


def test_a_renewal_that_fails_can_be_reached_in_the_background(shop: Shop) -> None:
    mine = shop.bought(shop.price())
    begin(
        shop,
        action="fail_renewal_in_time",
        subscription=str(mine.subscription),
        session=mine.id,
        delivery="never",
    )
    assert "invoice.payment_failed" in [event["type"] for event in arrived(shop)["emitted"]]
    assert shop.stripe.subscriptions.retrieve(str(mine.subscription)).status == "past_due"


def test_what_is_no_move_of_the_clock_is_refused(shop: Shop) -> None:
    for body in (
        {},
        {"id": "a", "action": "renew", "subscription": "sub_1"},
        {"id": "a", "action": "advance_clock", "seconds": 3 * 366 * DAY},
        {"id": "a", "action": "advance_clock", "seconds": 5, "delivery": "sideways"},
        {"id": "a", "action": "advance_clock", "seconds": 5, "session": "cs_no"},
        {"id": "a", "action": "advance_clock"},
    ):
        assert shop.control("POST", "/advances", json=body).status_code in {400, 404}
    assert shop.control("GET", "/advances/a").status_code == 404


def test_a_restart_goes_on_with_the_move(tmp_path: Path) -> None:
    port = free_port()
    storage = tmp_path / "sandbox.sqlite3"

    app = make_sandbox(storage, port=port, start=False)  # Nothing moves but by `run_round`.
    with served(app, port=port, threads=4) as url:
        shop = Shop(url)
        price = shop.price()
        mine = shop.bought(price)
        for _ in range(9):
            shop.subscribed(price)
        offset = shop.control("GET", "").json()["offset"]
        move: dict[str, Any] = {"action": "advance_clock", "seconds": 732 * DAY, "session": mine.id}
        begin(shop, **move)
        app.services.advancer.run_round()
        halfway = begin(shop, **move)
        assert halfway["status"] == "advancing", "the same move, which is on its way"
        assert 0 < halfway["percent"] < 100
        assert "still moving" in shop.refused("renew", subscription=str(mine.subscription))
        second = shop.control("POST", "/advances", json={**move, "id": "stp_2"})
        assert "still moving" in second.json()["error"]["message"]
        clock = shop.stripe.test_helpers.test_clocks.list().data[0]
        assert clock.status == "advancing"
        assert clock.status_details.advancing is not None
        assert clock.status_details.advancing.target_frozen_time > clock.frozen_time
        with pytest.raises(stripe.InvalidRequestError, match="still moving"):
            shop.stripe.test_helpers.test_clocks.advance(clock.id, {"frozen_time": clock.frozen_time + DAY})
    app.close()

    app = make_sandbox(storage, port=port)
    with served(app, port=port, threads=4):
        done = arrived(shop)
        assert done["status"] == "ready"
        assert shop.control("GET", "").json()["offset"] == offset + 732 * DAY
        assert [event["type"] for event in done["emitted"]].count("invoice.paid") == 24, "each happened once"
        assert len(periods(shop)) <= 3
    app.close()


def test_what_is_due_during_a_move_is_left_to_the_move(tmp_path: Path) -> None:
    """More fall due in one second than one transaction takes, and the clock stands at that second."""
    port = free_port()
    app = make_sandbox(tmp_path / "sandbox.sqlite3", port=port, start=False)
    with served(app, port=port, threads=4) as url:
        shop = Shop(url)
        for _ in range(SUBSCRIPTIONS):
            shop.subscribed(shop.price(interval="day"))
        begin(shop, action="advance_clock", seconds=2 * DAY, delivery="never")
        app.services.advancer.run_round()
        assert progress(shop)["status"] == "advancing"
        assert app.scheduler.run_due() == 0
        while app.services.advancer.run_round():
            pass
        assert progress(shop)["status"] == "ready"
    app.close()


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    storage = tmp_path / "sandbox.sqlite3"
    make_sandbox(storage, port=1, start=False).close()
    with sqlite3.connect(storage) as db:
        db.execute("ALTER TABLE posts DROP COLUMN lane")
    db.close()
    make_sandbox(storage, port=1, start=False).close()
    with sqlite3.connect(storage) as db:
        assert "lane" in {row[1] for row in db.execute("PRAGMA table_info(posts)")}
    db.close()


def test_a_clock_that_stands_still_is_left_alone(stand: Stand) -> None:
    assert stand.app.services.advancer.run_round() == 0
