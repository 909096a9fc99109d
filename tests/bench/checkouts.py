"""Customers who buy while Stripe does not answer."""

from __future__ import annotations

import http.client
import json
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.bench.shop import Shop

BUYERS = 64
_AGAIN = 1.0
"""Seconds after which somebody who was sent away tries again."""


@contextmanager
def hanging_checkouts(port: int, shop: Shop) -> Iterator[None]:
    """Many callers at a time who open checkouts at a Stripe that does not answer, again and again."""
    stop = threading.Event()
    trouble: list[str] = []
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=30) for _ in range(BUYERS)]

    def buy_on(connection: http.client.HTTPConnection) -> None:
        while not stop.is_set():
            try:
                status = _buy(connection, shop)
            except (OSError, http.client.HTTPException) as error:
                if not stop.is_set():  # At the end all of them are cut off.
                    trouble.append(repr(error))
            else:
                if status not in {503, 504}:
                    trouble.append(f"it was answered {status}")
            connection.close()
            stop.wait(_AGAIN)

    buyers = [threading.Thread(target=buy_on, args=(each,)) for each in connections]
    for buyer in buyers:
        buyer.start()
    try:
        yield
    finally:
        stop.set()
        for each in connections:
            if (connected := each.sock) is not None:
                with suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
        for buyer in buyers:
            buyer.join()
    assert not trouble, f"{len(trouble)} checkouts without Stripe went wrong, such as: {trouble[0]}"


def _buy(connection: http.client.HTTPConnection, shop: Shop) -> int:
    body = json.dumps({"subject_ref": "user_0", "product_code": "PRO_MONTHLY"}).encode()
    headers = {
        "Authorization": f"Bearer {shop.key}",
        "Content-Type": "application/json",
        "Idempotency-Key": secrets.token_hex(8),
    }
    connection.request("POST", "/v1/checkout/session", body, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status
