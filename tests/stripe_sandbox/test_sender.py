"""Webhooks: after the answer, signed, tried again, and never forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import httpx
import pytest
import stripe

from licenzy.stripe_sandbox.sender import STOP_SECONDS, sign
from tests.stripe_sandbox.conftest import Stand, free_port, make_sandbox
from tests.stripe_sandbox.shop import Receiver, Shop
from tests.support.ports import answers, wait_until
from tests.support.servers import served


def test_a_signature_is_what_the_library_verifies() -> None:
    payload = b'{"object": "event", "id": "evt_1"}'
    at = int(time.time())
    header = sign(payload, "whsec_a", at=at)
    assert stripe.Webhook.construct_event(payload, header, "whsec_a").id == "evt_1"
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(payload + b" ", header, "whsec_a")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(payload, header, "whsec_b")


def test_events_go_to_those_who_asked_for_them(shop: Shop, receiver: Receiver) -> None:
    endpoint = receiver.listen(shop, "price.created", api_version="2026-10-28.endive")
    price = shop.price()
    receiver.wait_for("price.created")
    assert receiver.types() == ["price.created"]
    event = receiver.events[0]
    assert (event.data.object["id"], event.livemode, event.pending_webhooks) == (price.id, False, 1)
    assert event.api_version == endpoint.api_version
    assert receiver.headers[0]["Content-Type"] == "application/json; charset=utf-8"
    shop.stripe.webhook_endpoints.update(endpoint.id, {"disabled": True})
    shop.price()
    shop.stripe.webhook_endpoints.update(endpoint.id, {"disabled": False})
    last = shop.price()
    receiver.wait_for("price.created", times=2)
    assert [event.data.object["id"] for event in receiver.events] == [price.id, last.id]


def test_a_post_is_never_made_inside_the_request(shop: Shop, receiver: Receiver) -> None:
    """The receiver calls back into the sandbox and waits: inside the request that would wait for itself."""
    receiver.listen(shop, "price.created")
    receiver.before_answer = lambda: shop.stripe.prices.list()
    began = time.monotonic()
    shop.price()
    assert time.monotonic() - began < 5
    receiver.wait_for("price.created")


def test_signatures_use_real_time_though_the_clock_is_ahead(shop: Shop, receiver: Receiver) -> None:
    shop.act("advance_clock", seconds=400 * 86400)
    receiver.listen(shop, "price.created")
    shop.price()
    receiver.wait_for("price.created")
    assert receiver.events[0].created > time.time() + 399 * 86400


def test_a_post_is_tried_until_it_is_taken(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    receiver.statuses = [500, 302]
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created", times=3)
    assert len({event.id for event in receiver.events}) == 1
    wait_until(
        lambda: shop.stripe.events.list().data[0].pending_webhooks == 0,
        seconds=3,
        what="it counts as delivered",
    )


def test_tries_come_to_an_end_and_an_operator_can_resend(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    receiver.statuses = [500] * 4
    shop.stripe.products.create({"name": "x"})
    receiver.wait_for("product.created", times=4)
    time.sleep(0.5)
    assert len(receiver.events) == 4, "one try and three more"
    event = shop.stripe.events.list({"delivery_success": False}).data[0]
    assert shop.act("resend_event", event=event.id) == []
    receiver.wait_for("product.created", times=5)


def test_events_arrive_in_their_order(shop: Shop, receiver: Receiver) -> None:
    receiver.listen(shop, "product.created")
    made = [shop.stripe.products.create({"name": str(n)}).id for n in range(12)]
    receiver.wait_for("product.created", times=12)
    assert [event.data.object["id"] for event in receiver.events] == made


def test_two_endpoints_each_get_their_own(shop: Shop, receiver: Receiver) -> None:
    other = Receiver()
    try:
        receiver.listen(shop, "product.created")
        other.listen(shop, "product.created", "price.created")
        shop.price()
        other.wait_for("price.created")
        receiver.wait_for("product.created")
        assert receiver.types() == ["product.created"]
        assert receiver.secret != other.secret
        assert other.complaints == []
    finally:
        other.close()


def test_a_deleted_endpoint_gets_nothing_more(stand: Stand, shop: Shop, receiver: Receiver) -> None:
    shop.inject_faults(webhooks={"delay_seconds": 60})
    endpoint = receiver.listen(shop, "product.created")
    shop.stripe.products.create({"name": "x"})
    assert waiting(stand, endpoint.id) == 1
    shop.stripe.webhook_endpoints.delete(endpoint.id)
    assert waiting(stand, endpoint.id) == 0


def waiting(stand: Stand, endpoint: str) -> int:
    with stand.app.services.store.reading() as db:
        row = db.execute("SELECT COUNT(*) FROM posts WHERE endpoint = ?", (endpoint,)).fetchone()
    return int(row[0])


def test_what_was_not_sent_before_a_restart_is_sent_after_it(tmp_path: Path, receiver: Receiver) -> None:
    port = free_port()
    app = make_sandbox(tmp_path / "s.sqlite3", port=port, start=False)
    with served(app, port=port) as url:
        shop = Shop(url)
        receiver.listen(shop, "checkout.session.completed")
        session = shop.bought()
    app.close()
    assert receiver.events == []
    again = make_sandbox(tmp_path / "s.sqlite3", port=port)
    with served(again, port=port):
        receiver.wait_for("checkout.session.completed")
        assert receiver.events[0].data.object["id"] == session.id
        assert shop.stripe.checkout.sessions.retrieve(session.id).payment_status == "paid"
        assert httpx.get(shop.console_link()).status_code == 303
    again.close()


def test_a_receiver_that_hangs_keeps_no_sandbox_from_closing(tmp_path: Path, receiver: Receiver) -> None:
    port, begun, let_go = free_port(), threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        let_go.wait(60)

    app = make_sandbox(tmp_path / "s.sqlite3", port=port)
    with served(app, port=port) as url:
        shop = Shop(url)
        receiver.listen(shop, "price.created")
        receiver.before_answer = hang
        shop.price()
        assert begun.wait(10)
    closing_at = time.monotonic()
    app.close()
    assert time.monotonic() - closing_at < STOP_SECONDS + 3
    let_go.set()
    receiver.wait_for("price.created")
    app.close()


def test_a_killed_sandbox_has_lost_nothing_that_it_answered(tmp_path: Path) -> None:
    port, code = (
        free_port(),
        """
        import sys
        from pathlib import Path
        import waitress
        from licenzy.stripe_sandbox import create_sandbox
        port = int(sys.argv[2])
        app = create_sandbox(Path(sys.argv[1]), control_token="control-token", public_url=f"http://127.0.0.1:{port}")
        waitress.serve(app, host="127.0.0.1", port=port, _quiet=True)
    """,
    )

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "s.sqlite3"), str(port)],
            cwd=Path(__file__).parents[2],
        )
        wait_until(lambda: answers(port), seconds=15, what="the sandbox listens")
        return process

    process = start()
    try:
        shop = Shop(f"http://127.0.0.1:{port}")
        made = [shop.stripe.products.create({"name": str(n)}).id for n in range(20)]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process = start()
        assert [p.id for p in shop.stripe.products.list({"limit": 100}).data] == made[::-1]
    finally:
        process.kill()
        process.wait()
