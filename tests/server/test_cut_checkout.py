"""A checkout that a stop cuts while it waits for Stripe goes on when its Idempotency-Key is repeated."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.installation import Installation, Running
from tests.support.ports import wait_until

LEASE_SECONDS = 30
"""How long the key of a call that was cut counts as taken."""


@pytest.mark.slow
def test_a_cut_checkout_goes_on_when_its_key_is_repeated(
    tmp_path: Path, start: Callable[[Installation, str], Running]
) -> None:
    shop = Installation(tmp_path, LICENZY_WORKERS="1")
    assert shop.licenzy("db", "upgrade").returncode == 0
    sandbox, web = start(shop, "sandbox"), start(shop, "web")
    for running, port in ((sandbox, shop.port + 1), (web, shop.port)):
        running.wait_until_it_answers(port)
    seeded = json.loads(shop.licenzy("demo", "--seed", "--json").stdout)

    def buy() -> httpx.Response:
        return httpx.post(
            f"http://127.0.0.1:{shop.port}/v1/checkout/session",
            json={"subject_ref": "user_1", "product_code": seeded["products"][0]["product_code"]},
            headers={"Authorization": f"Bearer {seeded['api_key']}", "Idempotency-Key": "once"},
            timeout=20,
        )

    os.kill(sandbox.process.pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as client:
            first = client.submit(buy)
            time.sleep(1)
            stopped_at = time.monotonic()
            web.process.terminate()
            cut = first.result(20)
            assert web.process.wait(15) == 0
            assert time.monotonic() - stopped_at < 11
    finally:
        os.kill(sandbox.process.pid, signal.SIGCONT)
    assert (cut.status_code, cut.json()["error"]) == (503, "overloaded")

    start(shop, "web").wait_until_it_answers(shop.port)
    answers: list[httpx.Response] = []

    def is_over() -> bool:
        answers.append(buy())
        return bool(answers[-1].json().get("error") != "idempotency_in_progress")

    wait_until(is_over, seconds=LEASE_SECONDS + 10, what="the lease of the call that was cut ran out")
    assert answers[-1].status_code == 201
    assert outcome_of(buy()) == outcome_of(answers[-1]), "a session for each key, and no more"


def outcome_of(answer: httpx.Response) -> Any:
    return answer.status_code, answer.json()["attempt_id"], answer.json()["stripe_checkout_session_id"]
