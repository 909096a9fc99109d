"""Processes that are told to stop do so, whatever they are doing and however often they are told."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from licenzy.settings import Settings
from tests.exactness import campaign, raw_rows
from tests.server.conftest import Shop
from tests.server.stops import DEADLINE_SECONDS, KINDS
from tests.support.installation import ROOT, Installation, Running
from tests.support.ports import answers, wait_until

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def stops(kind: str, count: int, mistake: str = "") -> dict[str, object]:
    """What a warm process of its own tells of so many stops."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.server.stops", kind, str(count), "7", mistake],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    print(told)
    assert done.stderr == ""
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count"), [("supervisor", 300), ("web", 200), ("sandbox", 150), ("worker", 50)]
)
def test_a_main_loop_always_stops(kind: str, count: int) -> None:
    told = stops(kind, count)
    assert (told["stops"], told["wrong"]) == (count, [])


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_a_main_loop_always_stops_20000_times(kind: str) -> None:
    told = stops(kind, 20_000)
    assert (told["stops"], told["wrong"]) == (20_000, [])


@pytest.mark.slow
def test_a_handler_that_sets_an_event_is_found() -> None:
    assert stops("supervisor", 5_000, "event_in_handler")["wrong"] == ["never stops"]


@on_sqlite
@pytest.mark.slow
def test_serve_stops_under_load(settings: Settings, tmp_path: Path) -> None:
    stop_often(settings, tmp_path, rounds=4)


@on_sqlite
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_serve_stops_under_load_50_times(settings: Settings, tmp_path: Path) -> None:
    stop_often(settings, tmp_path, rounds=50)


def stop_often(settings: Settings, folder: Path, *, rounds: int) -> None:
    """Stop `serve` again and again while clients consume, and weigh at the end what they were told."""
    token, subjects = campaign._open_accounts(settings, keys=rounds * 2_000)
    installation = Installation(
        folder,
        LICENZY_INSTANCE=str(settings.instance),
        LICENZY_DATABASE_URL=settings.database_url,
        LICENZY_PORT=str(settings.port),
        LICENZY_RATE_LIMIT="1000000",
    )
    logs = [folder / f"client{number}.jsonl" for number in range(2)]
    clients = [campaign._client(settings, log, token, subjects, number, 0) for number, log in enumerate(logs)]
    running: list[Running] = []
    try:
        chance = random.Random(rounds)
        for number in range(rounds):
            running.append(installation.starts("serve"))
            stop_at_random(running[-1], chance, while_starting=number % 2 == 0)
        running.append(installation.starts("serve"))
        running[-1].wait_until_it_answers(installation.port)
        time.sleep(1)
        (folder / "enough").touch()
        assert [client.wait(120) for client in clients] == [0, 0]
    finally:
        for client in clients:
            client.kill()
            client.wait()
        for each in running:
            each.ends()
    heard = [line for log in logs for line in raw_rows.lines(log.read_text())]
    acknowledged = sum(each.get("status") == 200 for each in heard)
    print(f"{rounds} stops, {acknowledged} calls acknowledged")
    assert acknowledged > rounds * 10
    assert raw_rows.problems(settings.database_url, heard) == []


def stop_at_random(serve: Running, chance: random.Random, *, while_starting: bool) -> None:
    """One to six signals; it must end well and leave nothing."""
    if while_starting:
        serve.wait_until_it_hears(signal.SIGTERM)
        time.sleep(chance.uniform(0, 2.5))
    else:
        serve.wait_until_it_answers(serve.installation.port)
        time.sleep(chance.uniform(0.2, 1.5))
    # A process manager tells all of them at once; from a terminal only `serve` hears.
    others = serve.children() if chance.random() < 0.3 else []
    most = chance.choice([200e-6, 2e-3, 0.2])
    began = time.monotonic()
    for _ in range(chance.randint(1, 6)):
        with suppress(ProcessLookupError):
            os.kill(serve.process.pid, chance.choice([signal.SIGTERM, signal.SIGINT]))
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        time.sleep(chance.uniform(0, most))
    status = serve.process.wait(max(0.0, began + DEADLINE_SECONDS - time.monotonic()))
    assert status == 0, serve.said()
    assert "Traceback" not in serve.said()
    assert serve.installation.processes() == []


@pytest.mark.slow
def test_web_processes_end_when_the_one_that_began_them_is_killed(
    shop: Shop, start: Callable[[Installation, str], Running]
) -> None:
    running = start(shop, "web")
    running.wait_until_it_answers(shop.port)
    running.process.kill()
    wait_until(lambda: shop.processes() == [], seconds=DEADLINE_SECONDS, what="nothing is left")


@pytest.mark.slow
def test_hanging_up_stops_nothing_that_serve_runs(
    shop: Shop, start: Callable[[Installation, str], Running]
) -> None:
    running = start(shop, "serve")
    running.wait_until_it_says("Ctrl-C")
    before = sorted(shop.processes())
    for _ in range(3):
        for pid in before:
            os.kill(pid, signal.SIGHUP)
    time.sleep(1.5)
    assert sorted(shop.processes()) == before
    assert shop.is_well()
    assert shop.checks() == 200
    assert answers(shop.port + 1)
    assert "started again" not in running.said()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["web", "worker", "sandbox"])
def test_a_command_by_itself_goes_on_when_hung_up_and_stops_when_told(
    shop: Shop, start: Callable[[Installation, str], Running], command: str
) -> None:
    running = start(shop, command)
    running.wait_until_it_hears(signal.SIGHUP)
    running.process.send_signal(signal.SIGHUP)
    if command != "worker":
        running.wait_until_it_answers(shop.port + (command == "sandbox"))
    for pid in shop.processes():
        os.kill(pid, signal.SIGHUP)
    time.sleep(1)
    assert running.process.poll() is None, running.said()
    if command == "web":
        assert shop.checks() == 200
    elif command == "sandbox":
        assert answers(shop.port + 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        running.process.send_signal(number)
    assert running.process.wait(DEADLINE_SECONDS) == 0, running.said()
    assert running.said() == ""
    assert shop.processes() == []
