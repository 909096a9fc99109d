"""How commands find the running product: by its file, as long as its process lives."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import Result

from licenzy.cli.running_instance import address_status, recorded, running_instance, with_running_address
from licenzy.runtime import Runtime
from licenzy.settings import Settings, load_settings
from tests.cli.test_commands import run
from tests.support.cast import Cast
from tests.support.confined import ROOT

__all__ = ["run"]
Run = Callable[..., Result]

RECORDS_AND_WAITS = """
import sys
from licenzy.cli.running_instance import recorded
from licenzy.settings import load_settings
with recorded(load_settings()):
    print("recorded", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As in a shell that sets no address."""
    return replace(settings, address_is_set=False)


@pytest.fixture
def settings_of(tmp_path: Path) -> Callable[..., Settings]:
    def load(**given: str) -> Settings:
        return load_settings(
            {"LICENZY_INSTANCE": str(tmp_path / "instance")}
            | {f"LICENZY_{name}": value for name, value in given.items()}
        )

    return load


@pytest.fixture
def healthy() -> Iterator[int]:
    """A port on which `/healthz` answers 200, and nothing else does."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Health)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_address_is_found_while_it_is_served_and_not_afterwards(
    settings_of: Callable[..., Settings],
) -> None:
    served = settings_of(PORT="9123", BASE_URL="https://licenzy.example", SANDBOX="off")
    command = settings_of()
    assert running_instance(command) is None
    with recorded(served):
        path = served.instance / "running-9123.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert json.loads(path.read_text())["pid"] == os.getpid()
        assert os.listdir(served.instance).count("running-9123.json") == 1
        found = with_running_address(command)
        assert (found.base_url, found.port, found.sandbox) == ("https://licenzy.example", 9123, False)
        assert found == replace(command, base_url=found.base_url, port=9123, sandbox=False)
    assert [name for name in os.listdir(served.instance) if "running" in name] == []
    assert with_running_address(command) is command


@pytest.mark.parametrize("given", [{"PORT": "9200"}, {"BASE_URL": "http://127.0.0.1:9200"}])
def test_an_address_that_is_set_goes_before_the_one_that_is_found(
    settings_of: Callable[..., Settings], given: dict[str, str]
) -> None:
    command = settings_of(**given)
    with recorded(settings_of(PORT="9123")):
        assert with_running_address(command) is command
        assert command.base_url == "http://127.0.0.1:9200"


def test_of_several_the_one_that_started_last_is_found(settings_of: Callable[..., Settings]) -> None:
    command = settings_of()

    def port() -> int:
        found = running_instance(command)
        assert found is not None
        return found.port

    with recorded(settings_of(PORT="9300")):
        with recorded(settings_of(PORT="9200")):
            assert port() == 9200
        assert port() == 9300
    assert running_instance(command) is None


def test_what_a_killed_process_leaves_behind_is_not_taken_for_running(
    settings_of: Callable[..., Settings],
) -> None:
    command = settings_of()
    process = subprocess.Popen(
        [sys.executable, "-c", RECORDS_AND_WAITS],
        cwd=ROOT,
        env={**os.environ, "LICENZY_INSTANCE": str(command.instance), "LICENZY_PORT": "9123"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"recorded\n"
        found = running_instance(command)
        assert found is not None
        assert (found.pid, found.port) == (process.pid, 9123)
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    assert (command.instance / "running-9123.json").exists()
    assert running_instance(command) is None
    with recorded(settings_of(PORT="9123")):
        assert running_instance(command) is not None
    assert not (command.instance / "running-9123.json").exists()


def test_one_that_another_has_replaced_is_left_alone(settings_of: Callable[..., Settings]) -> None:
    command = settings_of()
    first = recorded(settings_of(PORT="9123"))
    second = recorded(settings_of(PORT="9123", BASE_URL="https://licenzy.example"))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    found = running_instance(command)
    assert found is not None
    assert found.base_url == "https://licenzy.example"
    second.__exit__(None, None, None)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff", b'{"port": 1}'])
def test_a_file_of_something_else_is_passed_over(
    settings_of: Callable[..., Settings], content: bytes
) -> None:
    command = settings_of()
    with recorded(settings_of(PORT="9123")):
        (command.instance / "running-9123.json").write_bytes(content)
        (command.instance / "running-1.json").mkdir()
        assert running_instance(command) is None


def test_without_a_file_it_serves_all_the_same(
    settings_of: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    served = settings_of(PORT="9123")
    (served.instance / "running-9123.json").mkdir()
    with recorded(served):
        assert "Set LICENZY_BASE_URL for other commands" in capsys.readouterr().err
    assert [name for name in os.listdir(served.instance) if name.startswith(".running")] == []


def test_the_status_says_what_answers_and_what_to_do(
    settings_of: Callable[..., Settings], healthy: int
) -> None:
    command = settings_of()
    assert address_status(command) == (
        f"Licenzy is not running with the instance folder {command.instance}. "
        "Start it with `licenzy serve`, or set LICENZY_INSTANCE or LICENZY_BASE_URL."
    )
    set_by_hand = settings_of(PORT=str(healthy))
    assert address_status(set_by_hand) == f"Licenzy is running at http://127.0.0.1:{healthy}."
    assert address_status(settings_of(PORT="1")).startswith("Nothing answers at http://127.0.0.1:1. Start")
    public = settings_of(HOST="0.0.0.0", PORT=str(healthy), BASE_URL="https://licenzy.example")
    with recorded(public):
        found = with_running_address(command)
        assert address_status(found) == "Licenzy is running at https://licenzy.example."
    with recorded(settings_of(PORT="1")):
        assert address_status(with_running_address(command)).startswith("Licenzy is starting, or does not")


def test_commands_print_and_use_the_address_that_they_found(
    run: Run, runtime: Runtime, cast: Cast, healthy: int
) -> None:
    arguments = ("--project", cast.project_id, "--mode", "test", "--name", "k")
    assert "Licenzy is not running" in run("keys", "create", *arguments).stdout
    with recorded(replace(runtime.settings, base_url=f"http://127.0.0.1:{healthy}", port=healthy)):
        status = f"Licenzy is running at http://127.0.0.1:{healthy}.\n"
        assert status in run("keys", "create", *arguments).stdout
        assert status in run("doctor").stdout
        found = json.loads(run("doctor", "--json").stdout)["findings"]
        assert all(each["page"].startswith(f"http://127.0.0.1:{healthy}/") for each in found)
        refused = run("demo", "--seed")
        assert f"nothing answers at http://127.0.0.1:{healthy + 1}" in refused.stderr
    assert "The demo needs a running Licenzy. Licenzy is not running" in run("demo", "--seed").stderr
