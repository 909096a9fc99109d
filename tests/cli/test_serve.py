"""`licenzy serve` as a process: greets, keeps its children alive, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlmodel import select

from licenzy.alignment.modes import Mode
from licenzy.db import migrate
from licenzy.factory import make_runtime
from licenzy.observations.models import CheckCount
from licenzy.settings import load_settings
from tests.bench.memory import descendants, memory_of
from tests.support.cast import make_connection, make_project, make_workspace
from tests.support.installation import STOP_SECONDS, Installation, Served, alive
from tests.support.ports import wait_until

pytestmark = pytest.mark.slow

MEMORY_MIB = 560
"""Of all processes, what each had at its peak added up: what they share counts once for each of the six."""


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(**settings: str) -> Served:
        started.append(Served(tmp_path, **settings))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.terminate()
            served.process.wait(STOP_SECONDS + 5)


def shows_the_guide(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/docs", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def _has_existing_customers(served: Served, seeded: dict[str, Any]) -> None:
    """Subscriptions made elsewhere are added on request, and completed to another number."""
    few = json.loads(served.licenzy("demo", "--seed", "--existing", "15", "--json").stdout)
    more = json.loads(served.licenzy("demo", "--seed", "--existing", "30", "--json").stdout)
    assert more["existing"][:15] == few["existing"]
    assert len(more["existing"]) == 30
    assert more["existing"][17]["metadata"] == {"user": "user_17"}
    mapped = {product["stripe_price_id"] for product in more["products"]}
    assert mapped > {product["stripe_price_id"] for product in seeded["products"]}
    elsewhere = [each for each in more["existing"] if each["stripe_price_id"] not in mapped]
    assert len(elsewhere) == 3
    assert [each["email"] for each in more["existing_sessions"]] == ["guest12@example.com"]
    said = served.licenzy("demo", "--seed", "--existing", "30").stdout
    assert "30 subscriptions that Licenzy did not sell (21 active," in said


def test_it_greets_is_seeded_and_stops_within_ten_seconds(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    instance = tmp_path / "instance"
    instance.mkdir()
    instance.chmod(0o755)
    served = serve()
    served.wait_until_ready()
    link = re.search(r"http://127\.0\.0\.1:\d+/claim/\S+", served.said())
    assert link is not None
    assert f"http://127.0.0.1:{served.port + 1}" in served.said()
    assert httpx.get(link.group(0), timeout=10).status_code == 200

    first = served.licenzy("demo", "--seed", "--json")
    assert first.returncode == 0, first.stderr
    seeded = json.loads(first.stdout)
    assert set(seeded) == {
        *("base_url", "project_id", "connection_id", "api_key", "webhook_secret", "webhook_url"),
        *("sandbox_url", "sandbox_key", "products"),
    }
    at_sandbox = httpx.get(f"{seeded['sandbox_url']}/v1/prices", auth=(seeded["sandbox_key"], ""), timeout=10)
    sold = {price["id"] for price in at_sandbox.json()["data"]}
    assert {product["stripe_price_id"] for product in seeded["products"]} <= sold
    assert [product["kind"] for product in seeded["products"]] == ["subscription", "time_pass", "usage_pack"]
    again = json.loads(served.licenzy("demo", "--seed", "--json").stdout)
    assert again["api_key"] != seeded["api_key"]
    assert {**again, "api_key": ""} == {**seeded, "api_key": ""}
    assert httpx.get(link.group(0), timeout=10).status_code == 200, "seeding leaves the claim link valid"

    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in instance.iterdir()}
    assert {
        "licenzy.sqlite3",
        "licenzy.sqlite3-wal",
        "sandbox.sqlite3",
        "sandbox.sqlite3-wal",
    } <= files.keys()
    assert set(files.values()) == {0o600}
    assert stat.S_IMODE(instance.stat().st_mode) == 0o700

    memory = memory_of(served.process.pid)
    assert memory.peak < MEMORY_MIB, memory
    _has_existing_customers(served, seeded)
    too_much = httpx.get(f"{seeded['base_url']}/healthz", headers={"X-Much": "a" * 65_536}, timeout=10)
    assert too_much.status_code == 431
    for _check in range(20):
        check(seeded["base_url"], seeded["api_key"])
    unset = without_an_address(tmp_path)
    assert f"Licenzy is running at {seeded['base_url']}." in unset.licenzy("doctor").stdout
    found = json.loads(unset.licenzy("demo", "--seed", "--json").stdout)
    assert {**found, "api_key": ""} == {**seeded, "api_key": ""}
    children = served.children()
    assert len(children) >= 5
    began = time.monotonic()
    served.process.terminate()
    served.process.wait(STOP_SECONDS)
    assert time.monotonic() - began < STOP_SECONDS
    assert alive(children) == []
    assert not (instance / f"running-{served.port}.json").exists()
    assert "Licenzy is not running" in unset.licenzy("doctor").stdout
    assert checks_counted(served) == 20, "what a process counted is written when it ends"


def without_an_address(folder: Path) -> Installation:
    """The same installation in a shell that sets no address."""
    unset = Installation(folder)
    del unset.environ["LICENZY_PORT"]
    return unset


def check(address: str, api_key: str) -> None:
    answer = httpx.post(
        f"{address}/v1/access/check",
        json={"subject_ref": "user_123"},
        headers={"Authorization": f"Bearer {api_key}"},
        timeout=10,
    )
    assert answer.status_code == 200


def checks_counted(installation: Installation) -> int:
    parts = make_runtime(load_settings(installation.environ))
    with parts.database.read() as db:
        counted = sum(row.allowed + row.denied for row in db.exec(select(CheckCount)))
    parts.database.close()
    return counted


def test_a_child_that_dies_is_started_again(serve: Callable[..., Served]) -> None:
    served = serve()
    served.wait_until_ready()
    web = next(pid for pid in served.children() if b"\0web\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
    workers = descendants(web)
    os.kill(web, signal.SIGKILL)
    wait_until(lambda: "web process ended" in served.said(), seconds=10, what="the death is noticed")
    wait_until(lambda: alive(workers) == [], seconds=10, what="what it left behind has ended")
    wait_until(lambda: shows_the_guide(served.port), seconds=20, what="the product answers again")


def test_nothing_is_left_when_it_is_killed(serve: Callable[..., Served]) -> None:
    served = serve()
    served.wait_until_ready()
    children = served.children()
    served.process.kill()
    served.process.wait(5)
    wait_until(lambda: alive(children) == [], seconds=STOP_SECONDS + 2, what="all children have ended")
    assert "Licenzy is not running" in without_an_address(served.folder).licenzy("doctor").stdout


def test_it_refuses_the_sandbox_with_a_live_connection(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    runtime = make_runtime(load_settings(installation.environ))
    migrate.upgrade(runtime.database.engine)
    with runtime.database.write() as db:
        project_id = make_project(db, workspace_id=make_workspace(db))
        make_connection(db, project_id=project_id, secret_box=runtime.secret_box, mode=Mode.LIVE)
    runtime.database.engine.dispose()
    refused = installation.licenzy("serve")
    assert refused.returncode == 1
    assert "LICENZY_SANDBOX=off" in refused.stderr


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    with socket.create_server(("127.0.0.1", installation.port)):
        second = installation.licenzy("serve")
    assert second.returncode == 1
    assert "LICENZY_PORT" in second.stderr
    assert "Traceback" not in second.stderr


def test_the_whole_story_in_the_terminal(serve: Callable[..., Served]) -> None:
    served = serve()
    served.wait_until_ready()
    story = served.licenzy("demo")
    assert story.returncode == 0, story.stdout + story.stderr
    for code in ("PRO_MONTHLY", "DAY_PASS", "CREDITS_1000"):
        assert code in story.stdout
    assert story.stdout.count('"allowed": false') == 3
    assert story.stdout.count('"allowed": true') == 3
    assert story.stdout.count("curl ") >= 15
